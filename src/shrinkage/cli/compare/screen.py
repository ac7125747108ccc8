"""What ``shrinkage compare`` shows: one table, best first, and what its intervals mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from shrinkage.cli import screens, widths
from shrinkage.cli.compare.options import CompareOptions
from shrinkage.errors import counted
from shrinkage.labels import decimals

if TYPE_CHECKING:
    from rich.console import Console

    from shrinkage.comparing import Comparison, Row

WORDS = {"method": 15, "optimizer": 9, "chosen": 8, "contender": 15}
STYLES = {"better": "green", "worse": "yellow"}
MEANING = (
    "All methods that cannot be told from the best share rank 1. The intervals hold at "
    "{confidence:.0%} for all methods together, over other test rows, not other training rows or "
    "starts."
)
SCORES = {"classification": "accuracy", "regression": "R2"}


def methods_line(job: CompareOptions, methods: Sequence[str] | None) -> str:
    """Return in a line what is compared, and how often each is trained."""
    folds = counted(job.folds, "fold") + f" x {job.repeats} repeats" * (job.repeats > 1)
    seeds = counted(job.seeds, "seed")
    tuned = f"each at {job.values} values x {folds} x {seeds}, plus refits on all rows"
    return ", ".join([*(methods or ["all"]), tuned])


def show_comparison(console: Console, comparison: Comparison, rows: int) -> None:
    """Print the ranking, without the columns for which there is no room, and the answer.

    Args:
        console: Where to.
        comparison: The comparison.
        rows: How many test rows there are.
    """
    from shrinkage.comparing import CONFIDENCE

    score, difference = SCORES[comparison.task], f"to none {widths.plus_minus(console)}"
    digits = _decimals(comparison)
    lines: list[widths.Row] = []
    for row in comparison.rows:
        who = row.contender
        loss = widths.show_number(who.test_loss, digits)
        cells = {
            "#": str(row.rank or "-"),
            "method": who.method,
            "optimizer": who.optimizer,
            "contender": comparison.name(who),
            "chosen": "failed" if who.note else row.setting,
            "test loss": loss,
            "loss": loss,
            score: widths.show_score(score, who.score),
            difference: _difference(row, digits),
            "": _answer(row),
        }
        lines.append((cells, STYLES.get(row.answer)))
    optimizers = ["optimizer"] * (len(comparison.optimizers) > 1)
    who_and_what = ["#", "method", *optimizers, "chosen"]
    versions = [
        [*who_and_what, *some, difference, ""] for some in (["test loss", score], ["test loss"], [])
    ]
    versions.append(["#", "contender", "loss", ""])
    screens.show_title(
        console, "Test", f"{counted(rows, 'row')} that no choice has seen; best first"
    )
    console.print(widths.fitting(console, lines, versions, WORDS))
    console.print(MEANING.format(confidence=CONFIDENCE), style="dim")
    for note in notes(comparison):
        screens.show_note(console, note)
    console.print()
    screens.show_facts(console, {"Answer": comparison.sentence})


def _decimals(comparison: Comparison) -> int:
    """Decimals for an interval of usual length, but no more than four digits of a loss."""
    reaches = [row.to_none.high - row.to_none.difference for row in comparison.rows]
    wide = sorted(reach for reach in reaches if reach > 0)
    losses = [row.contender.test_loss for row in comparison.rows]
    known = [loss for loss in losses if math.isfinite(loss) and loss > 0]
    most = max(2, 3 - math.floor(math.log10(min(known)))) if known else 4
    return min(most, decimals(wide[len(wide) // 2 :][:1]))


def _difference(row: Row, digits: int) -> str:
    difference, _, high = row.to_none
    if not math.isfinite(difference) or row.answer == "the same":
        return ""
    rounded = round(difference, digits) + 0.0  # of -0.0 the sign is lost
    return f"{rounded:+.{digits}f} ± {high - difference:.{digits}f}"


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
        said.append(
            f"the largest value was chosen for {', '.join(edges)}; a larger one may be better."
        )
    if not any(len(path.knobs.get("dropout", [])) for path in comparison.paths.values()):
        said.append("dropout is left out, because the model has no dropout layers.")
    whole = [row.contender for row in comparison.rows]
    alone = set(comparison.optimizers) - {c.optimizer for c in whole if " + " in c.method}
    if comparison.about.get("paired") and alone:
        said.append(
            f"there is no best pair for {', '.join(sorted(alone))}, because no two methods that "
            "can act together were better than none in cross-validation."
        )
    if len(comparison.optimizers) > 1:
        said.append("learning rates were not tuned; optimizers are compared at the rates shown.")
    return said
