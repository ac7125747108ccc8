"""What the command shows: a header, live progress, notes, titles. Rich and torch load on use."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from shrinkage.errors import ShrinkageWarning
from shrinkage.labels import printable_lines

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

    from shrinkage.engine.plan.outcome import Progress

Facts = Mapping[str, Any]

STAGES = {
    "check": "Checking the model",
    "compile": "Compiling, once per shape",
    "train": "Training",
}
ANSWERS = {"helped": "bold green", "did not help": "bold yellow", "cannot tell": "bold cyan"}
TINY, NARROW = 56, 80


def make_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Return a console that takes every text literally: no markup, no emoji, no highlighting.

    What is not printable in it, such as an escape sequence in the name of a file, is replaced.
    """
    from rich.console import Console

    class Literal(Console):
        def render_str(self, text: str, **settings: Any) -> Text:
            return super().render_str(printable_lines(text), **settings)

    return Literal(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False)


def show_facts(console: Console, facts: Mapping[str, str | Text]) -> None:
    """Print one labeled line per fact."""
    from rich.table import Table

    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column()
    for label, text in facts.items():
        grid.add_row(label, text)
    console.print(grid)


@contextmanager
def busy(console: Console, what: str) -> Iterator[None]:
    """Show that something is on its way."""
    if console.is_terminal and not console.quiet:
        with console.status(what, spinner="line"):
            yield
    else:
        yield


@contextmanager
def loading(console: Console) -> Iterator[None]:
    """Show that PyTorch is on its way; no search for garbage goes through what stays to the end."""
    gc.disable()
    try:
        with busy(console, "Loading PyTorch"):
            yield
        gc.freeze()
    finally:
        gc.enable()


@contextmanager
def live_progress(console: Console) -> Iterator[Callable[[Progress], None]]:
    """Yield the callback that draws stage, epoch, members and time left; gone afterwards.

    Without a terminal only the notes are printed.
    """
    from rich import progress as rich

    with rich.Progress(
        rich.TextColumn("{task.description}"),
        rich.BarColumn(bar_width=max(6, min(40, console.width - 50))),
        rich.TextColumn("{task.fields[where]}"),
        rich.TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        disable=not console.is_terminal or console.quiet,
    ) as bars:
        task = bars.add_task("Looking for strengths", total=None, where="")

        def show(now: Progress) -> None:
            if now.note:
                show_note(console, now.note)
            training = now.stage == "train"
            done = f"{now.members_done}/" if now.members_done else ""
            where = f"epoch {now.epoch}/{now.epochs}"
            where += "" if console.width < TINY else f", {done}{now.members_total} members"
            bars.update(
                task,
                description=STAGES[now.stage],
                total=now.steps_total if training else None,
                completed=now.steps_done,
                where=where if training else "",
            )

        yield show


def show_note(console: Console, text: str) -> None:
    """Print what is good to know."""
    console.print(f"Note: {text}", style="yellow")


@contextmanager
def warnings_as_notes(console: Console) -> Iterator[list[str]]:
    """Show each warning of this package as a note at once, without its place in the code.

    Yields:
        What was shown.
    """
    said: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always", ShrinkageWarning)
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if not issubclass(category, ShrinkageWarning):
                usual(message, category, *place, **more)
                return
            said.append(str(message).partition(" Silence:")[0])
            show_note(console, said[-1])

        warnings.showwarning = show
        yield said


def show_title(console: Console, title: str, explanation: str) -> None:
    """Print what the next table is about."""
    from rich.text import Text

    console.print()
    console.print(Text.assemble((f"{title}  ", "bold"), (explanation, "dim")))


def color_verdict(verdict: Facts) -> Text:
    """Return the verdict's sentence, its answer in color."""
    from rich.text import Text

    sentence = Text(verdict["sentence"])
    sentence.stylize(ANSWERS[verdict["answer"]], 0, len(verdict["answer"]))
    return sentence


def show_files(console: Console, files: Mapping[str, str]) -> None:
    """Print paths, one a line and never broken, with what they hold."""
    width = max(map(len, files))
    for path, content in files.items():
        line = f"{path:{width}}  {content}"
        console.print(line if len(line) <= console.width else path, soft_wrap=True)


def show_time(seconds: float) -> str:
    """Return a duration as text: 8.3 s, 2 min 5 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {round(seconds % 60)} s"
