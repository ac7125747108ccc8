"""Tables for every width: the columns for which there is room, and numbers as they show them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

Row = tuple[Mapping[str, str], str | None]


def fitting(
    console: Console,
    rows: Sequence[Row],
    versions: Sequence[Sequence[str]],
    words: Mapping[str, int],
) -> Table:
    """Return the table with the first choice of columns that fits, or else the last.

    Args:
        console: What it has to fit.
        rows: The cells of every row by the title of their column, and its style.
        versions: Titles of columns. What has the title "" breaks into lines only in the last.
        words: Columns of words, which may break everywhere, and how wide they are at least.
    """
    for columns in versions:
        table = make_table(console, columns)
        for column in table.columns:
            title = str(column.header)
            column.justify = "left" if title in ("", *words) else "right"
            column.no_wrap = title not in (words if columns != versions[-1] else ("", *words))
        for cells, style in rows:
            table.add_row(*(cells[title] for title in columns), style=style)
        if _fits(console, table, words):
            break
    return table


def _fits(console: Console, table: Table, words: Mapping[str, int]) -> bool:
    """Say whether nothing has to be cut; from now on what must not break is as wide as it is."""
    from rich.measure import Measurement

    for column in table.columns:
        cells = [str(column.header), *map(str, column.cells)]
        parts = cells if column.no_wrap else [word for cell in cells for word in cell.split()]
        column.min_width = max([words.get(cells[0], 0), *map(len, parts)])
    unbounded = console.options.update(max_width=1000)
    return Measurement.get(console, unbounded, table).minimum <= console.width


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


def show_strength(strength: float) -> str:
    """Return a strength as text: 1.00e-03, and 0 for none."""
    return f"{strength:.2e}" if strength else "0"


def plus_minus(console: Console) -> str:
    """Return the sign, if the terminal has it."""
    return "+/-" if console.options.ascii_only else "±"


def show_number(value: float, digits: int) -> str:
    """Return a number as text, - if there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def with_error(console: Console, value: float, error: float, digits: int) -> str:
    """Return a number with its error, if there is one."""
    if not math.isfinite(error):
        return show_number(value, digits)
    return f"{value:.{digits}f} {plus_minus(console)} {error:.{digits}f}"


def show_score(name: str, value: float) -> str:
    """Return an accuracy in percent, an R2 as it is."""
    if not math.isfinite(value):
        return "-"
    return f"{100 * value:.1f}%" if name == "accuracy" else f"{value:.3f}"
