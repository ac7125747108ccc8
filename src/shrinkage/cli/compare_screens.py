"""What ``shrinkage compare`` shows: one table, best first, and what its intervals mean."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from shrinkage.cli import screens

if TYPE_CHECKING:
    from rich.console import Console

    from shrinkage.comparing import Comparison, Row

SHORTEST = {"method": 15, "optimizer": 9}
STYLES = {"better": "green", "worse": "yellow"}
MEANING = (
    "Rank 1 is shared by all that cannot be told from the best. The intervals, {confidence:.0%} "
    "for all methods together, are over other test rows, not over other training rows or starts."
)


def show_comparison(console: Console, comparison: Comparison, rows: int) -> None:
    """Print the ranking.

    Args:
        console: Where to.
        comparison: The comparison.
        rows: How many test rows there are.
    """
    from shrinkage.comparing import CONFIDENCE

    tiny, narrow = console.width < screens.TINY, console.width < screens.NARROW
    several = len(comparison.optimizers) > 1
    score = "accuracy" if comparison.task == "classification" else "R2"
    reaches = [row.to_none.high - row.to_none.difference for row in comparison.rows]
    wide = sorted(reach for reach in reaches if reach > 0)
    digits = screens.decimals(wide[len(wide) // 2 :][:1])
    words = ["method", *(["optimizer"] if several and not tiny else [])]
    words += [] if tiny else ["chosen"]
    numbers = [] if narrow and not tiny else ["loss" if tiny else "test loss"]
    numbers += [] if narrow else [score]
    numbers += [] if tiny else [f"to none {screens.plus_minus(console)}"]
    table = screens.make_table(console, ["#", *words, *numbers, ""])
    for column in table.columns[1 : 1 + len(words)]:
        column.justify, column.no_wrap = "left", False
        column.min_width = SHORTEST.get(str(column.header), 0)
    table.columns[-1].justify = "left"
    for row in comparison.rows:
        who = row.contender
        cells = [str(row.rank or "-"), comparison.name(who) if tiny else who.method]
        cells += [who.optimizer] if several and not tiny else []
        cells += [] if tiny else ["failed" if who.note else row.setting]
        cells += [] if narrow and not tiny else [screens.show_number(who.test_loss, digits)]
        cells += [] if narrow else [screens.show_score(score, who.score)]
        cells += [] if tiny else [_difference(row, digits)]
        table.add_row(*cells, _answer(row), style=STYLES.get(row.answer))
    screens.show_title(console, "Test", f"{rows:,} rows that no choice has seen; best first")
    console.print(table)
    console.print(MEANING.format(confidence=CONFIDENCE), style="dim")


def _difference(row: Row, digits: int) -> str:
    difference, _, high = row.to_none
    if not math.isfinite(difference) or row.answer == "the same":
        return ""
    return f"{difference:+.{digits}f} ± {high - difference:.{digits}f}"


def _answer(row: Row) -> str:
    if not math.isfinite(row.to_none.difference):
        return ""
    return {"cannot tell": "?", "the same": "="}.get(row.answer, row.answer)


def notes(comparison: Comparison) -> list[str]:
    """Return what a reader of the table should know besides."""
    said = [
        f"{comparison.name(row.contender)}: {row.contender.note}"
        for row in comparison.rows
        if row.contender.note
    ]
    edges = [comparison.name(row.contender) for row in comparison.rows if row.contender.at_edge]
    if edges:
        said.append(f"the largest value was chosen for {', '.join(edges)}; try larger ones too.")
    if not any(len(path.knobs.get("dropout", [])) for path in comparison.paths.values()):
        said.append("dropout is left out: the model has no dropout layers.")
    whole = [row.contender for row in comparison.rows]
    alone = set(comparison.optimizers) - {c.optimizer for c in whole if " + " in c.method}
    if comparison.about.get("paired") and alone:
        said.append(
            f"no pair with {', '.join(sorted(alone))}: no two methods that can act at once were "
            "better than none in cross-validation."
        )
    if len(comparison.optimizers) > 1:
        said.append("learning rates were not tuned: optimizers are compared at these.")
    return said
