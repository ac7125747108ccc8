"""Strengths crossed with other knobs: the path of each combination, and a table of all."""

from __future__ import annotations

from dataclasses import dataclass

from shrinkage import labels
from shrinkage.choose import curve
from shrinkage.choose.overview import Overview, overview
from shrinkage.choose.per_strength import best_points
from shrinkage.report.findings import Findings, find
from shrinkage.report.tables import MOST_ROWS, Table, with_error
from shrinkage.result.path_result import PathResult
from shrinkage.result.points import knobs_at, knobs_text

MOST_SLICES = 12


@dataclass(frozen=True, eq=False)
class Slice:
    """The path of one combination of knobs.

    Attributes:
        name: The combination in words, "" without knobs.
        seen: Its path, and what it comes to.
        findings: The same in words.
    """

    name: str
    seen: Overview
    findings: Findings


def slices(result: PathResult, most: int = MOST_SLICES) -> list[Slice]:
    """Return the paths of the best combinations of knobs, the best first, with what they say.

    The verdict on the first one chooses among all points; those on the others stay on their path.
    """
    if not result.knobs:
        seen = overview(result)
        return [Slice("", seen, find(seen))]
    found = []
    for place, point in enumerate(best_points(result)[:most]):
        path = result.slice(**knobs_at(result.knobs, point))
        seen = overview(path, None if place else result)
        found.append(Slice(_named(result, point), seen, find(seen)))
    return found


def knobs_table(result: PathResult) -> Table | None:
    """Return the best strength of every combination of knobs, best first; None without knobs."""
    if not result.knobs:
        return None
    loss = curve(result)
    best, shown = best_points(result), with_error(loss.mean, loss.standard_error)
    rows = [
        [_named(result, point), labels.number(result.strengths[point].item()), shown[point]]
        for point in best[:MOST_ROWS]
    ]
    note = "Being the best of several, the loss of the first is a little too good."
    if len(best) > MOST_SLICES:
        note += f" The page shows the best {MOST_SLICES}."
    more = f" {len(best) - MOST_ROWS:,} more are left out." if len(best) > MOST_ROWS else ""
    return Table(["knobs", "best strength", "validation loss"], rows, note + more)


def _named(result: PathResult, point: int) -> str:
    return labels.printable(knobs_text(knobs_at(result.knobs, point)))
