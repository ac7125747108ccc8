"""From delimited text to columns of cells: Arrow reads it, the csv module says what is wrong."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from shrinkage.errors import ShrinkageError

ABSENT = frozenset(
    {"", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None"}
)
LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+")
MOST_ARROW_COLUMNS = 5_000
"""Arrow takes some 50 microseconds and 10 KB for every column, however short."""


class Cells:
    """The cells of a delimited text, below the line that names the columns.

    Args:
        path: To be blamed.
        text: Content of the file.
        delimiter: What separates the cells of a line.

    Attributes:
        head: The cells of the first line, and ``head_line`` its number.
    """

    def __init__(self, path: Path, text: str, delimiter: str) -> None:
        self.path, self.text, self.delimiter = path, text, delimiter
        self.head_line, ends, self.head = next(self._lines(), (1, 0, []))
        self._body = sum(len(line[0]) for line in islice(LINE.finditer(text), ends))

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the number of the line on which each row begins, and its cells.

        Raises:
            ShrinkageError: A quote is open or out of place, or a row is too long or too short.
        """
        for line, _, row in islice(self._lines(), 1, None):
            if len(row) != len(self.head):
                raise ShrinkageError(
                    f"{self.path}, line {line} has {len(row)} cells but line {self.head_line} "
                    f"names {len(self.head)} columns; correct the line, or put quotes around a "
                    "cell with a delimiter in it."
                )
            yield line, row

    def first_lines(self, most: int) -> list[str]:
        """Return the first lines below the head, as they are."""
        return [line[0] for line in islice(LINE.finditer(self.text, self._body), most)]

    def line_of(self, row: int) -> int:
        """Return the number of the line on which a row begins; rows count from 0."""
        return next(islice(self.rows(), row, None))[0]

    def columns(self) -> Sequence[Any]:
        """Return the cells of each column, as texts; what is missing is null or a marker of it."""
        import pyarrow as pa

        if len(self.head) > MOST_ARROW_COLUMNS or not self._is_plain():
            return [*zip(*(row for _, row in self.rows()), strict=True)]
        try:
            return self._read_by_arrow()
        except pa.ArrowException as error:
            for _ in self.rows():
                pass
            said = str(error).splitlines()[0][:200]
            raise ShrinkageError(f"{self.path} cannot be read: {said}.") from error

    def _lines(self) -> Iterator[tuple[int, int, list[str]]]:
        """Yield the first and the last line of each row, counted from 1, and its cells."""
        lines = (line[0] for line in LINE.finditer(self.text))
        reader = csv.reader(lines, delimiter=self.delimiter, strict=True, skipinitialspace=True)
        start = 1
        try:
            for row in reader:
                if row:
                    yield start, reader.line_num, [cell.strip() for cell in row]
                start = reader.line_num + 1
        except csv.Error as error:
            raise ShrinkageError(
                f"{self.path}, line {start}: {error}; a quote may be open or out of place."
            ) from error

    def _is_plain(self) -> bool:
        """Whether every quote begins, doubles or ends within the quotes of a whole cell."""
        if '"' not in self.text:
            return True
        edge = rf"{self.delimiter}\r\n"
        quoted = re.compile(rf'(?<![^{edge}])"[^"]*(?:""[^"]*)*"(?![^{edge}])')
        return '"' not in quoted.sub("", self.text)

    def _read_by_arrow(self) -> list[Any]:
        import pyarrow as pa
        from pyarrow import csv as arrow_csv

        content = self.text[self._body :].encode()
        if not content.strip(b"\r\n"):
            return [()] * len(self.head)
        names = [*map(str, range(len(self.head)))]
        table = arrow_csv.read_csv(
            pa.BufferReader(content),
            arrow_csv.ReadOptions(column_names=names, block_size=min(len(content) + 1, 2**30)),
            arrow_csv.ParseOptions(delimiter=self.delimiter, newlines_in_values=b'"' in content),
            arrow_csv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()),
                null_values=[*ABSENT],
                strings_can_be_null=True,
            ),
        )
        columns: list[Any] = table.columns
        return columns
