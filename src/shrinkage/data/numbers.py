"""Numbers that float32 can hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from shrinkage.errors import ShrinkageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


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
    if not np.can_cast(values.dtype, np.float32):
        largest = np.nanmax(np.abs(values), 0)
        spread = np.nanmax(values, 0) - np.nanmin(values, 0)
        blurred = (spread > 0) & (spread < 16 * np.finfo(np.float32).eps * largest)
        for column in np.flatnonzero(blurred).tolist():
            raise ShrinkageError(
                f"{source}: {names[column]!r} holds numbers that float32 can hardly tell apart, "
                f"up to {largest[column]:.10g} and only {spread[column]:g} apart; subtract a "
                "common offset, or ignore the column."
            )
    return single
