"""The one error this package raises on purpose."""

from __future__ import annotations


class ShrinkageError(ValueError):
    """Bad input: the message says what was given, what is allowed and what to do."""
