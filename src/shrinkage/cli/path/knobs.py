"""The knobs of a path on the command line: read from ``--grid``, and shown beside the strength."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from shrinkage.cli import tables
from shrinkage.cli.exits import usage
from shrinkage.cli.path.lines import STYLES
from shrinkage.cli.path.options import PathOptions
from shrinkage.engine.member.given import Grid, check_grid
from shrinkage.errors import ShrinkageError
from shrinkage.labels import decimals
from shrinkage.penalties import Penalty
from shrinkage.result.points import knobs_text

if TYPE_CHECKING:
    from rich.console import Console

MOST_ROWS = 10


def read_grid(job: PathOptions, penalty: Penalty) -> Grid:
    """Return lists of values and ranges (low, high) by the name of the knob."""
    grid: dict[str, Sequence[float]] = {}
    with usage("--grid"):
        for text in job.grid or ():
            name, _, values = text.partition("=")
            if name == "strength":
                raise ShrinkageError("the strength is no knob; give it by --strengths.")
            if name in grid:
                raise ShrinkageError(f"{name!r} is given twice; put all its values into one list.")
            grid[name] = _numbers(text, values)
        check_grid(grid, job.draws, penalty, job.epochs)
    return grid


def _numbers(text: str, values: str) -> Sequence[float]:
    low, dots, high = values.partition("..")
    try:
        return (float(low), float(high)) if dots else [float(part) for part in values.split(",")]
    except ValueError:
        raise ShrinkageError(
            f"{text!r} is not a knob with numbers; write dropout=0,0.2,0.5 or a range "
            "lr=1e-4..1e-2."
        ) from None


def combinations_of(grid: Grid, draws: int | None) -> int:
    """Return how many combinations of knobs there will be."""
    return draws or math.prod(map(len, grid.values()))


def grid_line(grid: Grid, draws: int | None) -> str:
    """Return the knobs in a line."""
    parts = []
    for name, values in grid.items():
        between = " to " if isinstance(values, tuple) else ", "
        parts.append(f"{name} {between.join(f'{value:g}' for value in values)}")
    drawn = f"; {draws} drawn" if draws else ""
    return "; ".join(parts) + drawn


def show_knobs(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the best strength of every combination of knobs, best first.

    Args:
        console: Where to.
        rows: ``knobs`` of `summarize`.
    """
    shown = rows[:MOST_ROWS]
    digits = decimals([row["standard_error"] for row in shown])
    loss = f"CV loss {tables.plus_minus(console)} SE"
    lines: list[tables.Row] = []
    for place, row in enumerate(shown):
        best = place == 0 and math.isfinite(row["loss"])
        cells = {
            "knobs": knobs_text(row["knobs"]),
            "strength": tables.show_strength(row["strength"]),
            loss: tables.with_error(console, row["loss"], row["standard_error"], digits),
            "CV loss": tables.show_number(row["loss"], digits),
            "": "best" if best else "",
        }
        lines.append((cells, STYLES["minimum"] if best else None))
    versions = [["knobs", "strength", loss, ""], ["knobs", "strength", "CV loss", ""]]
    console.print(tables.fitting(console, lines, versions, {"knobs": 12}))
    if len(rows) > len(shown):
        console.print(f"and {len(rows) - len(shown):,} more; results.csv has them all.")
