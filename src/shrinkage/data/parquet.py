"""Parquet tables of numbers and texts, through pyarrow."""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shrinkage.data.columns import as_texts
from shrinkage.data.table import Table
from shrinkage.disk.files import open_regular
from shrinkage.errors import ShrinkageError

if TYPE_CHECKING:
    from shrinkage.data.columns import Column


def read_parquet(path: Path, max_bytes: int) -> Table:
    """Return the columns of a file; its checksums, if it has any, are checked.

    Raises:
        ShrinkageError: The file is damaged, empty or oversized, or holds columns of other things
            than numbers and texts.
    """
    import pyarrow
    from pyarrow import parquet

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
    return Table(
        str(path),
        path.stem,
        columns,
        lambda row: f"{path}, row {row + 1}",
        _index(path, table.schema.metadata or {}, names),
    )


def _index(path: Path, metadata: Mapping[bytes, bytes], names: list[str]) -> tuple[str, ...]:
    """Return the columns that pandas calls the index of the rows."""
    if b"pandas" not in metadata:
        return ()
    try:
        index = json.loads(metadata[b"pandas"])["index_columns"]
        return tuple(name for name in names if name in index)
    except (LookupError, TypeError, ValueError) as error:
        raise ShrinkageError(
            f"{path}: what pandas noted in it is damaged; write it again."
        ) from error


def _numeric(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _textual(kind: Any) -> bool:
    from pyarrow import types

    if types.is_dictionary(kind):
        return _textual(kind.value_type)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_null(kind))


def _column(path: Path, name: str, values: Any) -> Column:
    import pyarrow as pa

    if pa.types.is_null(values.type):
        values = values.cast(pa.string())
    if _textual(values.type):
        return as_texts(values)
    if not _numeric(values.type):
        raise ShrinkageError(
            f"{path}: column {name!r} holds {values.type}, and only numbers, booleans and strings "
            "are read; convert it or ignore it."
        )
    return values.combine_chunks()
