"""Numbers, dates and times in a spelling that is not read: told from names, and refused."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from typing import TYPE_CHECKING

from shrinkage.data.columns import codes_of
from shrinkage.errors import ShrinkageError

if TYPE_CHECKING:
    from shrinkage.data.columns import Column


def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(text, re.ASCII | re.IGNORECASE)


_AMOUNT = r"(?:\d{1,3}(?:[.,' ]\d{3})+(?:[.,]\d+)?|\d+(?:[.,]\d+)?|[.,]\d+)(?:e[+-]?\d+)?"
_MONEY = "[$¢£¤¥%‰\u20a0-\u20cf]"
_MONTH = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\.?"
_DATES = (
    r"\d{4}([-/.])\d\d?\1\d\d?",
    r"\d\d?([-/.])\d\d?\2\d{2,4}",
    r"(?:19|20)\d\d[-/][01]\d",
    rf"{_MONTH}[ -]\d\d?,?[ -]\d{{2,4}}",
    rf"\d\d?[ -]{_MONTH},?[ -]\d{{2,4}}",
    rf"{_MONTH}[ -]\d{{4}}",
)

PLAIN = _pattern(r"[+-]?((\d+\.?\d*|\.\d+)(e[+-]?\d+)?|inf|infinity)")
COMMA = _pattern(r"[+-]?\d+(,\d+)+(e[+-]?\d+)?")
DATE = _pattern(rf"(?:[a-z]{{3,9}},? )?(?:{'|'.join(_DATES)})(?:[T ,].*)?")
TIME = _pattern(r"[+-]?\d+:[0-5]\d(:[0-5]\d)?([.,]\d+)?( ?[ap]\.?m\.?)?|\d\d? ?[ap]\.?m\.?")
NUMBER = _pattern(rf"[+-]?{_MONEY}? ?[+-]?{_AMOUNT} ?{_MONEY}?|\({_MONEY}?{_AMOUNT}{_MONEY}?\)")
MEASURE = _pattern(rf"[+-]?{_AMOUNT} ?(?P<unit>[°µ]?[a-z][a-z/²³^]{{0,12}}\d?)")
_SIGNS = str.maketrans("\u2212\u2013\u00a0\u2009\u202f\u2019", "--   '")

MOST_MEASURES = 20
"""Of one unit: more are numbers, fewer may be categories such as "36 months"."""

FEWEST_CELLS = 10
"""Before it says anything that no cell stands twice."""


def spelled(cell: str) -> str:
    """Return what is wrong with a number, date or time in a spelling of its own, "" if it is none.

    Example:
        >>> spelled("12.5%")
        'is a number in another spelling; write plain numbers such as 1234.5'
        >>> spelled("A12"), spelled("12.5")
        ('', '')
    """
    if PLAIN.fullmatch(cell):
        return ""
    cell = cell.translate(_SIGNS)
    if COMMA.fullmatch(cell):
        return "has a comma; write numbers with a point and no commas"
    if DATE.fullmatch(cell):
        return "is a date; turn it into a number, or ignore the column"
    if TIME.fullmatch(cell):
        return "is a time; turn it into a number, or ignore the column"
    if NUMBER.fullmatch(cell):
        return "is a number in another spelling; write plain numbers such as 1234.5"
    return ""


def check_spelling(column: Column, place: Callable[[int], str], *, feature: bool = False) -> None:
    """Refuse texts most of which are numbers, dates or times.

    Args:
        column: Texts.
        place: Says in words where a row stands.
        feature: Whether many numbers with one unit are refused too.

    Raises:
        ShrinkageError: The first such cell is shown.
    """
    levels = column.dictionary.to_pylist()
    if found := _first(column, [bool(spelled(level)) for level in levels]):
        row, cell = found
        raise ShrinkageError(
            f"{place(row)}: {cell[:40]!r} {spelled(cell)}. If the cells are names of categories, "
            "put a letter in front of each."
        )
    if not feature:
        return
    units = [unit_of(level) for level in levels]
    unit, measures = Counter(units).most_common(1)[0] if units else ("", 0)
    if unit and measures > MOST_MEASURES and (found := _first(column, [u == unit for u in units])):
        row, cell = found
        raise ShrinkageError(
            f"{place(row)}: {cell[:40]!r} is a number with a unit; write plain numbers, and the "
            "unit in the name of the column."
        )


def check_repeats(column: Column, place: Callable[[int], str]) -> None:
    """Refuse texts with digits of which hardly one stands twice: no categories, whatever they are.

    Args:
        column: Texts.
        place: Says in words where a row stands.

    Raises:
        ShrinkageError: The first cell with a digit is shown.
    """
    levels, cells = column.dictionary.to_pylist(), len(column) - column.null_count
    if cells < FEWEST_CELLS or 10 * len(levels) <= 9 * cells:
        return
    if found := _first(column, [any(map(str.isdigit, level)) for level in levels]):
        row, cell = found
        raise ShrinkageError(
            f"{place(row)}: {cell[:40]!r} stands in a column of text in which hardly a cell stands "
            "twice; write numbers and dates as plain numbers, or ignore the column."
        )


def _first(column: Column, levels: list[bool]) -> tuple[int, str] | None:
    """Return row and text of the first cell of some levels, None unless most cells are of them."""
    import numpy as np

    codes = codes_of(column)
    hits = np.array([*levels, False])[codes]
    if 2 * hits.sum() <= (codes >= 0).sum():
        return None
    row = int(hits.argmax())
    return row, column[row].as_py()


def unit_of(cell: str) -> str:
    """Return the unit of a number with one, "" for all else.

    Example:
        >>> unit_of("55 kg"), unit_of("kg 55")
        ('kg', '')
    """
    found = MEASURE.fullmatch(cell.translate(_SIGNS))
    return found["unit"].lower() if found else ""
