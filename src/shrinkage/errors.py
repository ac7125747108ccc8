"""The one error this package raises on purpose, and its one warning."""

from __future__ import annotations


class ShrinkageError(ValueError):
    """Bad input: the message says what was given, what is allowed and what to do."""


class ShrinkageWarning(UserWarning):
    """What is allowed, but seldom meant, with numbers; it begins with a label to filter it by."""
