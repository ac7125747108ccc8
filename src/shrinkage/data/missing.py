"""Missing values: refused, dropped with their rows, or left for an imputation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from shrinkage.errors import ShrinkageError, counted, warn

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Truths = NDArray[np.bool_]

Missing = Literal["refuse", "drop", "mean"]

LARGE_SHARE = 0.2
"""Of the rows: dropping more is seldom meant."""


def kept_rows(
    source: str, absent: Truths, names: Sequence[str], target: str, policy: Missing
) -> Truths:
    """Return which rows are kept: under any policy those with a target.

    Args:
        source: What to blame.
        absent: (N, columns) whether a value is missing; the target is the last column.
        names: Names of the columns but the target's.
        target: Name of the target.
        policy: What to do.

    Raises:
        ShrinkageError: Values are missing and the policy refuses them, or they cannot be imputed.
        ShrinkageWarning: More than a fifth of the rows is dropped.
    """
    import numpy as np

    answered: Truths = ~absent[:, -1]
    rows = int(answered.sum())
    if not rows:
        raise ShrinkageError(f"{source}: the target {target!r} holds no value; choose another.")
    inside = absent[answered, :-1]
    counts = dict(zip(names, inside.sum(0).tolist(), strict=True))
    holes = {name: count for name, count in counts.items() if count}
    lacking = int(inside.any(1).sum())
    if not holes:
        return answered
    if policy == "refuse":
        raise ShrinkageError(
            f"{source} lacks values in {_listed(holes)}, {lacking} of {rows} rows in all. Set "
            "missing (--missing) to 'drop' to leave these rows out, to 'mean' to put in the mean "
            "of the training rows, or ignore the columns."
        )
    if policy == "drop":
        if lacking == rows:
            raise ShrinkageError(
                f"{source}: no row is complete; columns with missing values: {_listed(holes)}. "
                "Ignore the worst of them, or set missing to 'mean'."
            )
        if lacking > LARGE_SHARE * rows:
            worst = max(holes, key=holes.__getitem__)
            warn(
                "many rows dropped",
                f"{lacking} of {rows} rows of {source} lack a value, "
                f"{holes[worst]} of them in column {worst!r}; ignore this column (--ignore), or "
                "set missing (--missing) to 'mean'.",
            )
        return np.asarray(answered & ~absent.any(1))
    empty = [name for name in names if counts[name] == rows]
    if empty:
        raise ShrinkageError(f"{source}: column {empty[0]!r} holds no value at all; ignore it.")
    return answered


def notes_on(absent: Truths, kept: Truths) -> tuple[str, ...]:
    """Return what was done about missing values, in words.

    Args:
        absent: (N, columns) whether a value is missing; the target is the last column.
        kept: (N,) whether a row is kept.
    """
    unanswered = int(absent[:, -1].sum())
    done = {
        "left out without a target": (unanswered, "row"),
        "with missing values dropped": (int((~kept).sum()) - unanswered, "row"),
        "imputed": (int(absent[kept].sum()), "missing value"),
    }
    return tuple(f"{counted(n, what)} {how}" for how, (n, what) in done.items() if n)


def _listed(holes: dict[str, int], most: int = 5) -> str:
    worst = sorted(holes.items(), key=lambda hole: -hole[1])
    more = f" and {len(worst) - most} more columns" if len(worst) > most else ""
    return ", ".join(f"{name!r} ({count})" for name, count in worst[:most]) + more
