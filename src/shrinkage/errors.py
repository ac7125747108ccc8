"""The one error this package raises on purpose, and its one warning."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Real


class ShrinkageError(ValueError):
    """Bad input: the message says what was given, what is allowed and what to do."""


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


def counted(number: int, what: str) -> str:
    """Return how many there are of something that forms its plural by an s.

    Example:
        >>> counted(1, "row"), counted(12000, "row")
        ('1 row', '12,000 rows')
    """
    return f"{number:,} {what}{'' if number == 1 else 's'}"


class ShrinkageWarning(UserWarning):
    """Something that is allowed but seldom meant; the message begins with a label to filter by."""
