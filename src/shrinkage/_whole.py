"""Whole numbers among the arguments: epochs, rows, folds, seeds."""

from __future__ import annotations

import operator
from typing import Any

from shrinkage.errors import ShrinkageError


def is_whole(value: Any) -> bool:
    """Return whether ``value`` is a whole number of Python, NumPy or torch, and not a bool."""
    try:
        operator.index(value)
    except TypeError:
        return False
    return not isinstance(value, bool)


def as_whole(name: str, value: Any, least: int = 1) -> int:
    """Return ``value`` as an int.

    Raises:
        ShrinkageError: It is no whole number, or below ``least``.

    Example:
        >>> as_whole("epochs", 3)
        3
    """
    if not is_whole(value) or operator.index(value) < least:
        raise ShrinkageError(f"{name}={value!r}: give a whole number of at least {least}.")
    return operator.index(value)
