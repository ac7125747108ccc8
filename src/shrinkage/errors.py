"""The one error raised on purpose, the one warning, and how a refusal is worded."""

from __future__ import annotations

import operator
import sys
import warnings
from collections.abc import Iterable
from numbers import Real
from types import FrameType
from typing import Any

NOT_THE_CALLERS = ("shrinkage", "torch", "contextlib")
"""Packages between a caller's line and a warning: torch runs hooks, contextlib decorators."""


class ShrinkageError(ValueError):
    """Bad input: the message says what was given, what is allowed and what to do."""


class CheckpointError(ShrinkageError):
    """A checkpoint that cannot be used: it is another run's, in use, or cannot be written."""


class ShrinkageWarning(UserWarning):
    """Something that is allowed but seldom meant; the message begins with a label to filter by."""


def warn(label: str, text: str) -> None:
    """Warn at the line of the caller's own code, and say how to silence it.

    Args:
        label: What the message begins with, to filter by.
        text: What is seldom meant, and what to do.
    """
    frame, level = sys._getframe(1), 2
    while frame.f_back is not None and _package_of(frame) in NOT_THE_CALLERS:
        frame, level = frame.f_back, level + 1
    how = f'Silence: warnings.filterwarnings("ignore", "{label}").'
    warnings.warn(f"{label}: {text} {how}", ShrinkageWarning, stacklevel=level)


def _package_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__", "")).partition(".")[0]


def choose_from(word: str, known: Iterable[str]) -> str:
    """Return the hint that ends an error about an unknown name: the nearest known name, and all.

    Example:
        >>> choose_from("digit", ["digits", "wine"])
        "did you mean 'digits'? Or choose from digits, wine."
        >>> choose_from("?", ["digits", "wine"])
        'choose from digits, wine.'
    """
    from difflib import get_close_matches

    names = list(known)
    near = get_close_matches(word.lower(), names, n=1, cutoff=0.5)
    return (f"did you mean {near[0]!r}? Or " if near else "") + f"choose from {', '.join(names)}."


def shown(value: object) -> str:
    """Return a value that is refused: what is short as it is, anything else by its type.

    Example:
        >>> shown("l2"), shown(object())
        ("'l2'", 'object')
    """
    short = isinstance(value, Real | str | type | list | tuple | None)
    return repr(value) if short else type(value).__name__


def some_of(names: Iterable[str], most: int = 5) -> str:
    """Return the first few names, and how many more there are.

    Example:
        >>> some_of(["a", "b", "c"], most=2)
        'a, b and 1 more'
    """
    every = list(names)
    more = f" and {len(every) - most} more" if len(every) > most else ""
    return ", ".join(every[:most]) + more


def is_whole(value: Any) -> bool:
    """Return whether ``value`` is a whole number of Python, NumPy or torch, and not a bool."""
    try:
        operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool)


def as_whole(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """Return ``value`` as an int.

    Raises:
        ShrinkageError: It is no whole number, below ``least``, or above ``most``.

    Example:
        >>> as_whole("epochs", 3)
        3
    """
    if not is_whole(value) or operator.index(value) < least:
        raise ShrinkageError(f"{name}={value!r}: give a whole number of at least {least}.")
    if most is not None and operator.index(value) > most:
        raise ShrinkageError(f"{name}={value!r}: give a whole number of at most {most:,}.")
    return operator.index(value)


def as_seed(name: str, value: Any) -> int:
    """Return a seed as an int of 64 bits, as results store it.

    Raises:
        ShrinkageError: It is no whole number, or too large.
    """
    if not is_whole(value):
        raise ShrinkageError(f"{name}={value!r} is not an integer.")
    if not -(2**63) <= operator.index(value) < 2**63:
        raise ShrinkageError(f"{name}={value!r}: give integers from -2**63 to 2**63 - 1.")
    return operator.index(value)


def counted(number: int, what: str) -> str:
    """Return how many there are of something that forms its plural by an s.

    Example:
        >>> counted(1, "row"), counted(12000, "row")
        ('1 row', '12,000 rows')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"
