"""CSV and TSV: UTF-8, the first line names the columns, nothing is guessed."""

from __future__ import annotations

import csv
import math
from collections import Counter
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shrinkage.data.cells import ABSENT, Cells
from shrinkage.data.columns import as_texts, codes_of
from shrinkage.data.numbers import MOST_EXACT
from shrinkage.data.spelling import COMMA, DATE, PLAIN, spelled
from shrinkage.data.table import Table
from shrinkage.disk.files import read_regular
from shrinkage.errors import ShrinkageError, counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from shrinkage.data.columns import Column

DELIMITERS = {".csv": ",", ".tsv": "\t"}
DIGITS = frozenset("0123456789+-.eE")
OTHERS = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "a ZIP archive or Excel", b"PAR1": "Parquet"}


def read_delimited(path: Path, max_bytes: int) -> Table:
    """Return the columns of a file: a column of numbers, or of texts.

    Raises:
        ShrinkageError: The file is empty, ragged, damaged or no text; a column has no name or a
            name twice; a cell does not fit its column.
    """
    cells = Cells(path, _text(path, max_bytes), DELIMITERS[path.suffix.lower()])
    if not cells.head:
        raise ShrinkageError(f"{path} is empty; its first line must name the columns.")
    _check_head(cells)
    columns = cells.columns()
    if not columns or not len(columns[0]):
        raise ShrinkageError(
            f"{path} names {counted(len(cells.head), 'column')} but holds no rows."
        )
    return Table(
        str(path),
        path.stem,
        {
            name: partial(_column, cells, name, own)
            for name, own in zip(cells.head, columns, strict=True)
        },
        partial(_place, cells),
    )


def _text(path: Path, max_bytes: int) -> str:
    content = read_regular(path, max_bytes)
    for start, kind in OTHERS.items():
        if content.startswith(start):
            raise ShrinkageError(f"{path} is {kind}, not text; unpack it or save it as CSV.")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ShrinkageError(
            f"{path}, line {line} is not UTF-8; save the file as UTF-8."
        ) from error
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise ShrinkageError(f"{path}, line {line} holds a NUL byte; save the file as UTF-8 text.")
    return text


def _check_head(cells: Cells) -> None:
    path, line, head = cells.path, cells.head_line, cells.head
    for mark in ";\t|,":
        if mark != cells.delimiter and _separates(mark, cells):
            raise ShrinkageError(
                f"{path} seems to be separated by {mark!r}; a .csv is separated by commas and a "
                ".tsv by tabs, with decimal points. Rename it or save it that way."
            )
    if "" in head:
        raise ShrinkageError(
            f"{path}, line {line}: column {head.index('') + 1} has no name; name it "
            "(pandas: to_csv(..., index=False) writes no unnamed row numbers)."
        )
    name, times = Counter(head).most_common(1)[0]
    if times > 1:
        raise ShrinkageError(f"{path}, line {line} names two columns {name!r}; rename one.")
    if all(map(PLAIN.fullmatch, head)):
        raise ShrinkageError(
            f"{path}, line {line} holds numbers only; the first line must name the columns."
        )


def _separates(mark: str, cells: Cells) -> bool:
    """Whether a line is one cell but for this mark, or the first rows hold as many as the head."""
    marks = sum(name.count(mark) for name in cells.head)
    if not marks or len(cells.head) == 1:
        return bool(marks)
    lines = [line for line in cells.first_lines(20) if line.strip()]
    return bool(lines) and all(line.count(mark) == marks for line in lines)


def _column(cells: Cells, name: str, own: Any) -> Column:
    """Return numbers if every cell is one, or texts if none is."""
    import pyarrow as pa

    if isinstance(own, tuple):
        if (short := _floats(own)) is not None:
            return pa.array(short)
        own = pa.array([None if cell in ABSENT else cell for cell in own], pa.string())
    with suppress(pa.ArrowInvalid):
        return _numbers(own)
    texts = as_texts(own)
    levels = texts.dictionary.to_pylist()
    if max(map(len, levels), default=0) > csv.field_size_limit():
        for _ in cells.rows():
            pass
    given = pa.array([None if level in ABSENT else level for level in levels], pa.string())
    with suppress(pa.ArrowInvalid):
        return _numbers(given).take(texts.indices)
    _check_levels(cells, name, texts)
    return as_texts(given.take(texts.indices))


def _check_levels(cells: Cells, name: str, texts: Column) -> None:
    """Refuse a column in which the first cell that is no number shows that it is none of texts."""
    import numpy as np

    levels, codes = texts.dictionary.to_pylist(), codes_of(texts)
    numeric = np.array([_is_number(level) for level in levels])
    absent = np.array([level in ABSENT for level in levels])

    def first(of: Any) -> tuple[int, str]:
        row = int(np.isin(codes, np.flatnonzero(of)).argmax())
        return row, levels[codes[row]]

    row, cell = first(~numeric & ~absent)
    fault = ""
    if PLAIN.fullmatch(cell):
        fault = "is infinite or too large; correct it or leave it empty"
    elif COMMA.fullmatch(cell) or DATE.fullmatch(cell) or numeric.any():
        fault = spelled(cell)
    if not fault and numeric.any():
        other, number = first(numeric)
        fault = (
            f"is text, and line {cells.line_of(other)} holds the number {number[:40]!r}; make the "
            "column all numbers or all text, leaving unknown cells empty"
        )
    if fault:
        raise ShrinkageError(f"{_place(cells, row)}, column {name!r}: {cell[:40]!r} {fault}.")


def _floats(cells: tuple[str, ...]) -> NDArray[np.float64] | None:
    """Return the numbers of a short column sooner than Arrow, None if anything is odd about it."""
    import numpy as np

    if not DIGITS.issuperset("".join(cells)):
        return None
    try:
        numbers = np.array([*map(float, cells)])
    except ValueError:
        return None
    return numbers if abs(numbers).max() < MOST_EXACT else None


def _numbers(cells: Any) -> Column:
    """Return the float64 of each cell, or integers where float64 cannot tell them apart.

    Raises:
        ArrowInvalid: A cell is no finite number.
    """
    import numpy as np
    import pyarrow as pa

    if isinstance(cells, pa.ChunkedArray):
        cells = cells.combine_chunks()
    numbers = cells.cast(pa.float64())
    known = (numbers.drop_null() if numbers.null_count else numbers).to_numpy()
    if not np.isfinite(known).all():
        raise pa.ArrowInvalid("not finite")
    if abs(known).max(initial=0) >= MOST_EXACT:
        for kind in (pa.int64(), pa.uint64()):
            with suppress(pa.ArrowInvalid):
                return cells.cast(kind)
    return numbers


def _is_number(cell: str) -> bool:
    return PLAIN.fullmatch(cell) is not None and math.isfinite(float(cell))


def _place(cells: Cells, row: int) -> str:
    return f"{cells.path}, line {cells.line_of(row)}"
