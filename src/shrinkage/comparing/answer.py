"""The answer of a comparison in a few sentences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from shrinkage.comparing.contender import NONE
from shrinkage.labels import capitalized

if TYPE_CHECKING:
    from shrinkage.comparing.comparison import Comparison, Row

MOST_NAMED = 4


def answer(comparison: Comparison) -> str:
    """Return which methods are better than none, which of them is best, and which are worse."""
    whole = [row for row in comparison.rows if row.rank]
    if not any(row.contender.chosen for row in whole):
        return "Cross-validation chose no regularization for every method."
    better = [row for row in whole if row.answer == "better"]
    worse = [row for row in whole if row.answer == "worse"]
    if whole[0] in better:
        said = _best_of(comparison, better)
    else:
        said = _lowest(comparison, whole)
        said += [f"better than none: {_names(comparison, better)}"] * bool(better)
    said += [f"worse than none: {_names(comparison, worse)}"] * bool(worse)
    if not (better or worse):
        said.append("no method can be told from none")
    return " ".join(f"{capitalized(part)}." for part in said)


def _best_of(comparison: Comparison, better: Sequence[Row]) -> list[str]:
    """What to say where the lowest test loss is surely better than none, as others may be."""
    best = _names(comparison, better[:1])
    equal = [row for row in better if row.rank == 1]
    first = f"{_names(comparison, better)} {'are' if len(better) > 1 else 'is'} better than none"
    if len(equal) > 1:
        which = "them" if equal == better else _names(comparison, equal)
        first += f"; which of {which} is best, these rows cannot tell"
    elif len(better) > 1:
        first += f"; {best} is the best of them"
    tied = [row for row in comparison.rows if row.rank == 1 and row not in better]
    others = f"{_some(comparison, tied)} cannot be told from {best}"
    return [first, others] if tied else [first]


def _lowest(comparison: Comparison, whole: Sequence[Row]) -> list[str]:
    """What to say where the lowest test loss is not surely better than none."""
    tied = [row for row in whole[1:] if row.rank == 1]
    others = _some(comparison, tied)
    if MOST_NAMED < len(tied) == len(whole) - 1:
        others = f"the other {len(tied)}"
    told = f"; {others} cannot be told from it" if tied else ", below all others"
    return [f"{_names(comparison, whole[:1])} has the lowest test loss{told}"]


def _some(comparison: Comparison, rows: Sequence[Row]) -> str:
    return _names(comparison, rows) if len(rows) <= MOST_NAMED else f"{len(rows)} others"


def _names(comparison: Comparison, rows: Sequence[Row]) -> str:
    return ", ".join(_spoken(comparison, row) for row in rows)


def _spoken(comparison: Comparison, row: Row) -> str:
    name = comparison.name(row.contender)
    return name.replace(NONE, "no regularization") if row.contender.method == NONE else name
