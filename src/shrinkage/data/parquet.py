"""Parquet tables of numbers and texts, through pyarrow."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shrinkage.data.table import Table
from shrinkage.disk.files import open_regular
from shrinkage.errors import ShrinkageError

if TYPE_CHECKING:
    from shrinkage.data.table import Column


def read_parquet(path: Path, max_bytes: int) -> Table:
    """Return the columns of a file; its checksums, if it has any, are checked.

    Raises:
        ShrinkageError: pyarrow is not installed, or the file is damaged, empty or oversized, or
            holds columns of other things than numbers and texts.
    """
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError as error:
        raise ShrinkageError(
            "Parquet files need pyarrow: pip install 'shrinkage[parquet]'. A .csv needs nothing."
        ) from error
    with open_regular(path) as stream:
        try:
            file = parquet.ParquetFile(stream, page_checksum_verification=True)
            names = file.schema_arrow.names
            needed = 8 * file.metadata.num_rows * max(1, file.metadata.num_columns)
            if needed > max_bytes:
                raise ShrinkageError(
                    f"{path} needs {needed:,} bytes, but max_bytes allows {max_bytes:,}; raise "
                    "max_bytes if the file is sound."
                )
            table = file.read()
            table.validate(full=True)
        except (pyarrow.ArrowException, OSError) as error:
            said = str(error).splitlines()[0][:200]
            raise ShrinkageError(f"{path} is damaged or not a Parquet file: {said}.") from error
    if not table.num_rows:
        raise ShrinkageError(f"{path} holds no rows.")
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ShrinkageError(f"{path} holds two columns {twice[0]!r}; rename one.")
    columns = {name: partial(_column, path, name, table.column(name)) for name in names}
    return Table(str(path), path.stem, columns)


def _numeric(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _textual(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _textual(kind.value_type)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind))


def _column(path: Path, name: str, values: Any) -> Column:
    import numpy as np
    import pyarrow

    if _textual(values.type):
        return np.array(["" if text is None else text.strip() for text in values.to_pylist()])
    if not _numeric(values.type):
        raise ShrinkageError(
            f"{path}: column {name!r} holds {values.type}, and only numbers, booleans and strings "
            "are read; convert it or ignore it."
        )
    if pyarrow.types.is_boolean(values.type) and not values.null_count:
        truths: Column = values.to_numpy()
        return truths
    numbers: Column = values.cast(pyarrow.float64(), safe=False).to_numpy()
    return numbers
