"""What the command shows: a header, live progress, tables. Rich and torch are loaded on use."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from shrinkage.engine.outcome import Progress

Facts = Mapping[str, Any]

STAGES = {
    "check": "Checking the model",
    "compile": "Compiling, once per shape",
    "train": "Training",
}
RULES = {
    "no_penalty": "no penalty",
    "minimum": "minimum",
    "one_standard_error": "one standard error",
}
SHORT = {"no_penalty": "no penalty", "minimum": "min", "one_standard_error": "1 SE"}
STYLES = {"no_penalty": "cyan", "minimum": "bold green", "one_standard_error": "bold magenta"}
ANSWERS = {"helped": "bold green", "did not help": "bold yellow", "cannot tell": "bold cyan"}
TINY, NARROW, WIDE, PICTURE = 56, 80, 119, 30


def make_console(*, stderr: bool = False, quiet: bool = False) -> Console:
    """Return a console that takes every text literally: no markup, no emoji, no highlighting."""
    from rich.console import Console

    return Console(stderr=stderr, quiet=quiet, markup=False, emoji=False, highlight=False)


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
                console.print(f"Note: {now.note}", style="yellow")
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


def show_path(console: Console, rows: Sequence[Facts], choices: Mapping[str, Facts]) -> None:
    """Print one line per strength; strength 0 and the chosen ones are marked.

    Args:
        console: Where to.
        rows: ``strengths`` of `summarize`.
        choices: ``choices`` of the same.
    """
    narrow, wide = console.width < NARROW, console.width >= WIDE
    tiny = console.width < TINY
    score = "accuracy" if "accuracy" in rows[0] else "R2"
    sparse = not tiny and any(row["zeros"] > 0 for row in rows)
    digits = decimals([row["standard_error"] for row in rows])
    head = ["strength", "CV loss" if tiny else f"CV loss {plus_minus(console)} SE", score]
    head += [] if narrow else ["train loss", "norm"]
    head += ["zeros"] if sparse else []
    table = make_table(console, head)
    axis, picture = _picture(console, rows, digits) if wide else ("", [])
    if axis:
        table.add_column(axis, justify="left", no_wrap=True)
    table.add_column("", justify="left", no_wrap=not tiny)
    for index, row in enumerate(rows):
        cells: list[str] = [
            show_strength(row["strength"]),
            with_error(console, row["loss"], row["standard_error"], digits),
            show_score(score, row[score]),
        ]
        cells += (
            [] if narrow else [show_number(row["fit_loss"], digits), show_number(row["norm"], 2)]
        )
        cells += [show_score("accuracy", row["zeros"])] if sparse else []
        cells += [picture[index]] if axis else []
        rules = [rule for rule, choice in choices.items() if choice["index"] == index]
        marks = [SHORT[rule] for rule in rules]
        marks += [f"{row['diverged']} diverged"] if row["diverged"] else []
        marks += [f"dropped, epoch {row['dropped']}"] if row.get("dropped", 0) > 0 else []
        table.add_row(*cells, ", ".join(marks), style=STYLES[rules[-1]] if rules else None)
    console.print(table)


def show_test(console: Console, rows: Sequence[Facts]) -> None:
    """Print test loss and score of the model without penalty and of the chosen ones.

    Args:
        console: Where to.
        rows: ``test`` of `summarize`.
    """
    score = "accuracy" if "accuracy" in rows[0] else "R2"
    digits = decimals([row["loss_sd"] for row in rows])
    test = "" if console.width < TINY else "test "
    table = make_table(console, ["choice", "strength", f"{test}loss", f"{test}{score}"])
    table.columns[0].justify = "left"
    for row in rows:
        spread = row[f"{score}_sd"]
        table.add_row(
            (SHORT if console.width < NARROW else RULES)[row["rule"]],
            show_strength(row["strength"]),
            with_error(console, row["loss"], row["loss_sd"], digits),
            show_score(score, row[score])
            + (
                f" {plus_minus(console)} {show_score(score, spread)}"
                if test and math.isfinite(spread)
                else ""
            ),
            style=STYLES[row["rule"]],
        )
    console.print(table)


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


def show_strength(strength: float) -> str:
    """Return a strength as text: 1.00e-03, and 0 for none."""
    return f"{strength:.2e}" if strength else "0"


def show_time(seconds: float) -> str:
    """Return a duration as text: 8.3 s, 2 min 5 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {round(seconds % 60)} s"


def make_table(console: Console, head: Sequence[str]) -> Table:
    """Return an empty table of numbers."""
    from rich import box
    from rich.table import Table

    dashes = box.Box("    \n    \n -- \n    \n    \n    \n    \n    \n", ascii=True)
    lines = dashes if console.options.ascii_only else box.SIMPLE_HEAD
    table = Table(box=lines, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0))
    for title in head:
        table.add_column(title, justify="right", no_wrap=True)
    return table


def _picture(console: Console, rows: Sequence[Facts], digits: int) -> tuple[str, list[str]]:
    """Draw loss and standard error of each row on one common axis, without the hopeless ones.

    Returns:
        The ends of the axis, or "" if there is nothing to draw, and a line for each row.
    """
    bar, dot, beyond = "-o>" if console.options.ascii_only else "─●→"
    finite = [row for row in rows if math.isfinite(row["loss"] + row["standard_error"])]
    if not finite:
        return "", []
    best = min(finite, key=lambda row: float(row["loss"]))
    low = best["loss"] - 2 * best["standard_error"]
    high = best["loss"] + 6 * best["standard_error"]
    if rows[0] in finite:
        high = max(high, rows[0]["loss"] + rows[0]["standard_error"])
    if not high > low:
        return "", []
    scale = (PICTURE - 1) / (high - low)
    ends = f"{low:.{digits}f}", f"{high:.{digits}f}"

    def place(value: float) -> int:
        return int(max(0, min(PICTURE - 1, round((value - low) * scale))))

    drawn = []
    for row in rows:
        loss, error = row["loss"], row["standard_error"]
        if row not in finite:
            drawn.append("")
        elif loss > high:
            drawn.append(" " * (PICTURE - 1) + beyond)
        else:
            left, right = place(loss - error), place(loss + error)
            cells = [bar if left <= at <= right else " " for at in range(PICTURE)]
            cells[place(loss)] = dot
            drawn.append("".join(cells))
    return f"{ends[0]}{ends[1]:>{PICTURE - len(ends[0])}}", drawn


def plus_minus(console: Console) -> str:
    """Return the sign, if the terminal has it."""
    return "+/-" if console.options.ascii_only else "±"


def decimals(errors: Sequence[float]) -> int:
    """Decimals that show two digits of the smallest error, 2 to 6 of them."""
    seen = [error for error in errors if math.isfinite(error) and error > 0]
    return min(6, max(2, 1 - math.floor(math.log10(min(seen))))) if seen else 4


def show_number(value: float, digits: int) -> str:
    """Return a number as text, - if there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def with_error(console: Console, value: float, error: float, digits: int) -> str:
    """Return a number with its error, if there is one and room for it."""
    if not math.isfinite(error) or console.width < TINY:
        return show_number(value, digits)
    return f"{value:.{digits}f} {plus_minus(console)} {error:.{digits}f}"


def show_score(name: str, value: float) -> str:
    """Return an accuracy in percent, an R2 as it is."""
    if not math.isfinite(value):
        return "-"
    return f"{100 * value:.1f}%" if name == "accuracy" else f"{value:.3f}"
