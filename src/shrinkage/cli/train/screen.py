"""What ``shrinkage train`` shows: a bar while it trains, then the epochs that matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from shrinkage.cli import screens
from shrinkage.cli.widths import show_score
from shrinkage.errors import counted

if TYPE_CHECKING:
    from rich.console import Console

    from shrinkage.training import Moment, Trained


@contextmanager
def epoch_progress(console: Console) -> Iterator[Callable[[Moment], None]]:
    """Yield the callback that moves a bar; without a terminal it prints a line per epoch."""
    from rich import progress as rich

    live = console.is_terminal and not console.quiet
    with rich.Progress(
        rich.TextColumn("{task.description}"),
        rich.BarColumn(bar_width=max(6, min(30, console.width - 60))),
        rich.TextColumn("{task.fields[where]}"),
        rich.TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        disable=not live,
    ) as bars:
        task = bars.add_task("Training", total=None, where="")

        def show(now: Moment) -> None:
            finished = len(now.curves)
            where = f"epoch {now.epoch}/{now.epochs}"
            if finished and console.width >= screens.NARROW:
                where += f", {_losses(now.curves[-1])}"
            done = finished * now.steps + now.step
            bars.update(task, total=now.epochs * now.steps, completed=done, where=where)
            if now.step == 0 and not live:
                brief = console.width < screens.TINY
                console.print(f"epoch {finished}/{now.epochs}  {_losses(now.curves[-1], brief)}")

        yield show


def show_epochs(console: Console, trained: Trained, test: dict[str, float], rows: int) -> None:
    """Print the best and the last epoch, and the test of the best."""
    last, best = trained.curves[-1], trained.curves[trained.best_epoch - 1]
    epochs = len(trained.curves)
    ended = counted(epochs, "epoch") + ", stopped early" * trained.stopped_early
    screens.show_title(console, "Trained", ended)
    facts = {f"Epoch {best['epoch']}": f"{_losses(best)}, the best: its weights are kept"}
    if last is not best:
        facts[f"Epoch {last['epoch']}"] = f"{_losses(last)}, the last"
    name = "accuracy" if "accuracy" in test else "R2"
    score = f"{name} {show_score(name, test[name])}"
    facts["Test"] = (
        f"loss {test['loss']:.4f}, {score}, on {counted(rows, 'row')} not used until now"
    )
    screens.show_facts(console, facts)


def show_penalized(console: Console, trained: Trained, said: Sequence[str]) -> None:
    """Print which tensors were penalized, without the notes that were said before."""
    if trained.summary is not None:
        screens.show_title(console, "Penalized", "")
        notes = tuple(note for note in trained.summary.notes if note not in said)
        console.print(replace(trained.summary, notes=notes))


def _losses(row: dict[str, float], brief: bool = False) -> str:
    text = f"validation {row['valid_loss']:.4f}"
    text = text if brief else f"loss {row['train_loss']:.4f}, {text}"
    return text + (f" ({row['valid_accuracy']:.1%})" if "valid_accuracy" in row else "")
