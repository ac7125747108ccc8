"""CSV and TSV: UTF-8, the first line names the columns, nothing is guessed."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from shrinkage.data.table import Table
from shrinkage.disk.files import read_regular
from shrinkage.errors import ShrinkageError, counted

if TYPE_CHECKING:
    from shrinkage.data.table import Column

DELIMITERS = {".csv": ",", ".tsv": "\t"}
ABSENT = frozenset(
    {"", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None"}
)
DIGITS = frozenset("0123456789+-.eE")
NUMBER = re.compile(r"[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|inf|infinity)", re.ASCII | re.I)
COMMA = re.compile(r"[+-]?\d+(,\d+)+([eE][+-]?\d+)?", re.ASCII)
DATE = re.compile(r"\d{4}-\d\d?-\d\d?([T ].*)?|\d\d?([/.])\d\d?\2\d{2,4}", re.ASCII)
OTHERS = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "a ZIP archive or Excel", b"PAR1": "Parquet"}


def read_delimited(path: Path, max_bytes: int) -> Table:
    """Return the columns of a file: a column of numbers, or of texts.

    Raises:
        ShrinkageError: The file is empty, ragged, damaged or no text; a column has no name or a
            name twice; a cell does not fit its column.
    """
    delimiter = DELIMITERS[path.suffix.lower()]
    lines = _lines(path, _text(path, max_bytes), delimiter)
    number, head = next(lines, (0, []))
    if not head:
        raise ShrinkageError(f"{path} is empty; its first line must name the columns.")
    names = _names(path, number, head, delimiter)
    rows, numbers = [], []
    for number, row in lines:
        if len(row) != len(names):
            raise ShrinkageError(
                f"{path}, line {number} has {counted(len(row), 'cell')} but line 1 names "
                f"{len(names)} columns; correct the line, or put quotes around a cell "
                "with a delimiter in it."
            )
        rows.append(row)
        numbers.append(number)
    if not rows:
        raise ShrinkageError(f"{path} names {counted(len(names), 'column')} but holds no rows.")
    cells = zip(*rows, strict=True)
    columns = {
        name: partial(_column, path, name, own, numbers)
        for name, own in zip(names, cells, strict=True)
    }
    return Table(str(path), path.stem, columns)


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


def _lines(path: Path, text: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    start = 1
    try:
        for row in reader:
            if row:
                yield start, [cell.strip() for cell in row]
            start = reader.line_num + 1
    except csv.Error as error:
        raise ShrinkageError(
            f"{path}, line {start}: {error}; a quote may be open or out of place."
        ) from error


def _names(path: Path, line: int, head: list[str], delimiter: str) -> list[str]:
    used = next((mark for mark in ";\t|," if mark != delimiter and mark in head[0]), None)
    if len(head) == 1 and used:
        raise ShrinkageError(
            f"{path} seems to be separated by {used!r}; a .csv is separated by commas and a .tsv "
            "by tabs, with decimal points. Rename it or save it that way."
        )
    for place, name in enumerate(head, 1):
        if not name:
            raise ShrinkageError(
                f"{path}, line {line}: column {place} has no name; name it "
                "(pandas: to_csv(..., index=False) writes no unnamed row numbers)."
            )
        if head.count(name) > 1:
            raise ShrinkageError(f"{path}, line {line} names two columns {name!r}; rename one.")
    if all(NUMBER.fullmatch(name) for name in head):
        raise ShrinkageError(
            f"{path}, line {line} holds numbers only; the first line must name the columns."
        )
    return head


def _column(path: Path, name: str, cells: Sequence[str], lines: Sequence[int]) -> Column:
    import numpy as np

    if set("".join(cells)) <= DIGITS:
        with suppress(ValueError):
            numbers = np.array([float(cell) for cell in cells])
            if np.isfinite(numbers).all():
                return numbers
    given = [(cell, line) for cell, line in zip(cells, lines, strict=True) if cell not in ABSENT]
    odd = next(((cell, line) for cell, line in given if not _is_number(cell)), None)
    if odd is None:
        return np.array([np.nan if cell in ABSENT else float(cell) for cell in cells])
    cell, line = odd
    place = f"{path}, line {line}, column {name!r}: {cell[:40]!r}"
    if NUMBER.fullmatch(cell):
        raise ShrinkageError(f"{place} is infinite or too large; correct it or leave it empty.")
    if COMMA.fullmatch(cell):
        raise ShrinkageError(f"{place} has a comma; write numbers with a point and no commas.")
    if DATE.fullmatch(cell):
        raise ShrinkageError(f"{place} is a date; turn it into a number, or ignore the column.")
    number = next(((cell, line) for cell, line in given if _is_number(cell)), None)
    if number is not None:
        raise ShrinkageError(
            f"{place} is text, and line {number[1]} holds the number {number[0][:40]!r}; make the "
            "column all numbers or all text, leaving unknown cells empty."
        )
    return np.array(["" if cell in ABSENT else cell for cell in cells])


def _is_number(cell: str) -> bool:
    return NUMBER.fullmatch(cell) is not None and math.isfinite(float(cell))
