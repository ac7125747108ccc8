"""Names and numbers as figures and reports show them: printable and short."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def number(strength: float) -> str:
    """Return a strength as figures and sentences show it.

    Example:
        >>> number(0.00018), number(0.0)
        ('1.8e-04', '0')
    """
    return f"{strength:.1e}" if strength else "0"


def decimals(errors: Iterable[float]) -> int:
    """Return how many decimals show two digits of the smallest error, 2 to 6 of them.

    Example:
        >>> decimals([0.21, 0.0031]), decimals([])
        (4, 4)
    """
    seen = [error for error in errors if math.isfinite(error) and error > 0]
    return min(6, max(2, 1 - math.floor(math.log10(min(seen))))) if seen else 4


def short_names(names: Sequence[str], limit: int) -> list[str]:
    """Return printable names of at most ``limit`` characters, without a shared prefix if too long.

    Example:
        >>> short_names(["model.encoder.0.weight", "model.encoder.1.weight"], 12)
        ['…0.weight', '…1.weight']
    """
    clean = [printable(name) for name in names]
    if len(clean) > 1 and max(map(len, clean)) > limit:
        parts = [name.split(".")[:-1] for name in clean]
        shared = 0
        while all(len(p) > shared and p[shared] == parts[0][shared] for p in parts):
            shared += 1
        if shared:
            clean = ["…" + ".".join(name.split(".")[shared:]) for name in clean]
    return [name if len(name) <= limit else name[: limit - 1] + "…" for name in clean]


def data_name(about: Mapping[str, Any]) -> str:
    """Return the name of the data that a result is about, printable and short, or ""."""
    data = about.get("data")
    return printable(str(data.get("name", "")))[:60] if isinstance(data, dict) else ""


def capitalized(text: str) -> str:
    """Return a text with a capital first letter, the rest as it is.

    Example:
        >>> capitalized("at L1 strength 0")
        'At L1 strength 0'
    """
    return text[:1].upper() + text[1:]


def printable(name: str) -> str:
    r"""Return a name with a replacement sign for each control character and line break.

    Example:
        >>> printable("a\tb")
        'a�b'
    """
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)


def printable_lines(text: str) -> str:
    """Return a text of several lines, each of them printable."""
    return "\n".join(map(printable, text.split("\n")))
