"""Strengths crossed with other knobs: a table of all paths, of which the page shows the best."""

from __future__ import annotations

from shrinkage import labels
from shrinkage.choose import curve
from shrinkage.per_strength import best_points
from shrinkage.report.tables import MOST_ROWS, Table, with_error
from shrinkage.result import PathResult


def knobs_table(result: PathResult) -> Table | None:
    """Return the best strength of every combination of knobs, best first; None without knobs."""
    if not result.knobs:
        return None
    loss = curve(result)
    best, shown = best_points(result), with_error(loss.mean, loss.standard_error)
    rows = [
        [
            ", ".join(f"{labels.printable(n)} {v[k].item():g}" for n, v in result.knobs.items()),
            labels.number(result.strengths[k].item()),
            shown[k],
        ]
        for k in best[:MOST_ROWS]
    ]
    note = "The page shows the first; being the best of several, its loss is a little too good."
    more = f" {len(best) - MOST_ROWS:,} more are left out." if len(best) > MOST_ROWS else ""
    return Table(["knobs", "best strength", "validation loss"], rows, note + more)
