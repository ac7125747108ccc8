"""Missing values: refused, dropped with their rows, or left for an imputation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from shrinkage.errors import ShrinkageError, counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Truths = NDArray[np.bool_]

Missing = Literal["refuse", "drop", "mean"]


def kept_rows(
    source: str, absent: Truths, names: Sequence[str], target: str, policy: Missing
) -> Truths:
    """Return which rows are kept under a policy.

    Args:
        source: What to blame.
        absent: (N, columns) whether a value is missing; the target is the last column.
        names: Names of the columns but the target's.
        target: Name of the target.
        policy: What to do.

    Raises:
        ShrinkageError: Values are missing and the policy refuses them, or they cannot be imputed.
    """
    import numpy as np

    counts = dict(zip([*names, target], absent.sum(0).tolist(), strict=True))
    holes = {name: count for name, count in counts.items() if count}
    if policy == "refuse" and holes:
        raise ShrinkageError(
            f"{source} lacks values in {_listed(holes)}, {int(absent.any(1).sum())} of "
            f"{len(absent)} rows in all. Set missing (--missing) to 'drop' to leave these rows "
            "out, to 'mean' to put in the mean of the training rows, or ignore the columns."
        )
    if policy == "drop":
        kept: Truths = np.asarray(~absent.any(1))
        if not kept.any():
            raise ShrinkageError(
                f"{source}: no row is complete; columns with missing values: {_listed(holes)}. "
                "Ignore the worst of them, or set missing to 'mean'."
            )
        return kept
    if counts[target]:
        raise ShrinkageError(
            f"{source}: the target {target!r} is missing in {counts[target]} of {len(absent)} "
            "rows; set missing to 'drop' to leave them out."
        )
    empty = [name for name in names if counts[name] == len(absent)]
    if empty:
        raise ShrinkageError(f"{source}: column {empty[0]!r} holds no value at all; ignore it.")
    return np.ones(len(absent), bool)


def notes_on(absent: Truths, kept: Truths) -> tuple[str, ...]:
    """Return what was done about missing values, in words.

    Args:
        absent: (N, columns) whether a value is missing.
        kept: (N,) whether a row is kept.
    """
    dropped, imputed = int((~kept).sum()), int(absent[kept].sum())
    notes = [f"{counted(dropped, 'row')} with missing values dropped"] if dropped else []
    return (*notes, f"{counted(imputed, 'missing value')} imputed") if imputed else tuple(notes)


def _listed(holes: dict[str, int], most: int = 5) -> str:
    worst = sorted(holes.items(), key=lambda hole: -hole[1])
    more = f" and {len(worst) - most} more columns" if len(worst) > most else ""
    return ", ".join(f"{name!r} ({count})" for name, count in worst[:most]) + more
