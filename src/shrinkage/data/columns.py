"""Columns of a table, as Arrow holds them: numbers or texts, and which of them are missing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

Column: TypeAlias = "pa.Array[Any]"
"""(N,) numbers, truths, or texts as a dictionary of sorted levels. What is missing is null."""


def as_texts(cells: Any) -> Column:
    """Return texts as a column: spaces around them are cut, empty ones are missing.

    Args:
        cells: Array or chunked array of texts.

    Example:
        >>> import pyarrow
        >>> column = as_texts(pyarrow.array(["v", " u", "", "u"]))
        >>> column.dictionary.to_pylist(), column.indices.to_pylist()
        (['u', 'v'], [1, 0, None, 0])
    """
    import pyarrow as pa

    if not pa.types.is_dictionary(cells.type):
        cells = cells.dictionary_encode()
    if isinstance(cells, pa.ChunkedArray):
        cells = cells.unify_dictionaries().combine_chunks()
    texts = [(text or "").strip() for text in cells.dictionary.to_pylist()]
    levels = sorted({*texts} - {""})
    number = {level: place for place, level in enumerate(levels)}
    numbers = pa.array([number.get(text) for text in texts], pa.int32())
    return pa.DictionaryArray.from_arrays(
        numbers.take(cells.indices), pa.array(levels, pa.large_string())
    )


def is_text(column: Column) -> bool:
    """Return whether a column holds texts."""
    import pyarrow as pa

    return bool(pa.types.is_dictionary(column.type))


def is_integer(column: Column) -> bool:
    """Return whether a column holds whole numbers of an integer type."""
    import pyarrow as pa

    return bool(pa.types.is_integer(column.type))


def is_missing(column: Column) -> NDArray[np.bool_]:
    """Return whether each value is missing; NaN is."""
    import numpy as np

    return codes_of(column) < 0 if is_text(column) else np.isnan(as_floats(column))


def as_floats(column: Column) -> NDArray[np.float64]:
    """Return numbers and truths as float64, NaN where they are missing."""
    import pyarrow as pa

    if column.type != pa.float64():
        column = column.cast(pa.float64(), safe=False)
    floats: NDArray[np.float64] = column.to_numpy(zero_copy_only=False)
    return floats


def codes_of(column: Column) -> NDArray[np.int64]:
    """Return the place of each text among the levels of its column, -1 where it is missing."""
    codes: NDArray[np.int64] = column.indices.fill_null(-1).to_numpy()
    return codes


def distinct(column: Column) -> tuple[NDArray[Any], NDArray[np.int64]]:
    """Return the different values, sorted, and the place of each value among them.

    Nothing is rounded: integers stay integers. No value may be missing.
    """
    import numpy as np

    if is_text(column):
        used, numbers = np.unique(codes_of(column), return_inverse=True)
        return np.array(column.dictionary.to_pylist(), object)[used], numbers
    return np.unique(column.to_numpy(zero_copy_only=False), return_inverse=True)
