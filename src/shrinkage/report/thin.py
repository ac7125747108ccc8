"""Less for a page to hold: evenly chosen places of a long axis, numbers of five digits."""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

from torch import Tensor


def evenly(n: int, most: int, keep: Collection[int] = ()) -> list[int]:
    """Return at most ``most`` places of 0 ... n-1, evenly, both ends and ``keep`` among them.

    Example:
        >>> evenly(5, 9), evenly(100, 4), evenly(100, 4, keep=[7])
        ([0, 1, 2, 3, 4], [0, 33, 66, 99], [0, 7, 50, 99])
    """
    if n <= most:
        return list(range(n))
    free = max(most - len(keep), 2)
    places = {round(i * (n - 1) / (free - 1)) for i in range(free)}
    return sorted(places | set(keep))


def plain(values: Tensor) -> Any:
    """Return nested lists of numbers of five digits; what JSON cannot say is None.

    Example:
        >>> import torch
        >>> plain(torch.tensor([[1 / 3, torch.nan]]))
        [[0.33333, None]]
    """
    return _plain(values.double().tolist())


def plain_number(value: float) -> float | None:
    """Return a number of five digits, or None if it is not finite."""
    return float(f"{value:.5g}") if math.isfinite(value) else None


def _plain(value: Any) -> Any:
    return [_plain(part) for part in value] if isinstance(value, list) else plain_number(value)
