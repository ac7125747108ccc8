"""Numbers that float32 can hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shrinkage.errors import ShrinkageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_EXACT = 2**53
"""Up to here float64 tells any two whole numbers apart, and float32 up to 2**24."""

LEAST_LEFT = 0.99
"""Share of different whole numbers that float32 must leave: sums of money lose a few in 10,000."""


def as_float32(source: str, values: NDArray[Any], names: Sequence[str]) -> NDArray[np.float32]:
    """Return numbers in single precision; NaN stands for a missing one.

    Args:
        source: What to blame.
        values: (N, columns).
        names: Names of the columns.

    Raises:
        ShrinkageError: A number is infinite or too large, or different numbers become the same.
    """
    import numpy as np

    with np.errstate(over="ignore"):
        single = values.astype(np.float32)
    infinite = np.isinf(single)
    if infinite.any():
        columns = np.flatnonzero(infinite.any(0)).tolist()
        row = int(infinite[:, columns[0]].argmax())
        raise ShrinkageError(
            f"{source}: {names[columns[0]]!r} holds {values[row, columns[0]]:g} in row {row + 1}, "
            f"{int(infinite.sum())} such values in {len(columns)} columns; numbers must be finite "
            "and below 3.4e38. Scale them or ignore the column."
        )
    if np.can_cast(values.dtype, np.float32):
        return single
    low, high = np.nanmin(values, 0), np.nanmax(values, 0)
    largest = np.maximum(abs(low.astype(np.float64)), abs(high.astype(np.float64)))
    spread = high.astype(np.float64) - low.astype(np.float64)
    blurred = (high > low) & (spread < 16 * np.finfo(np.float32).eps * largest)
    for column in np.flatnonzero(blurred).tolist():
        raise ShrinkageError(
            f"{source}: {names[column]!r} holds numbers that float32 can hardly tell apart, "
            f"up to {largest[column]:.10g} and only {spread[column]:g} apart; subtract a "
            "common offset, or ignore the column."
        )
    for column in np.flatnonzero(largest >= 2**24).tolist():
        check_whole(source, names[column], values[:, column])
    return single


def check_exact(source: str, name: str, values: NDArray[Any]) -> None:
    """Refuse labels that may not be what they were: floats that hold whole numbers from 2**53."""
    import numpy as np

    if values.dtype.kind == "f" and (np.abs(values) >= MOST_EXACT).any():
        raise ShrinkageError(
            f"{source}: {name!r} holds {values[np.abs(values).argmax()]:.0f} as a number with "
            "decimals, which cannot tell whole numbers from 2**53 apart; store these labels as "
            "integers or as text."
        )


def check_whole(source: str, name: str, values: NDArray[Any]) -> None:
    """Refuse a feature of integers from 2**53, or of whole numbers that float32 makes the same."""
    import numpy as np

    known = values[~np.isnan(values)]
    if values.dtype.kind in "iu" and max(-int(known.min()), int(known.max())) >= MOST_EXACT:
        raise ShrinkageError(
            f"{source}: {name!r} holds whole numbers from 2**53, up to {known.max()}; ignore the "
            "column, or write it as text if each number stands for a category."
        )
    if values.dtype.kind == "f" and (known % 1).any():
        return
    different, left = len(np.unique(known)), len(np.unique(known.astype(np.float32)))
    if left < LEAST_LEFT * different:
        raise ShrinkageError(
            f"{source}: {name!r} holds {different} different whole numbers, and float32 leaves "
            f"{left} of them; subtract a common offset, or ignore the column."
        )
