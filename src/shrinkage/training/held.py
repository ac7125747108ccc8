"""The rows that are trained on, and those that are held out to watch."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError
from shrinkage.rows.groups import generator
from shrinkage.rows.rows import rows_like

Held: TypeAlias = tuple[Tensor, Tensor] | None


def split_rows(X: Tensor, y: Tensor, valid: Any, seed: int) -> tuple[Tensor, Held]:
    """Return the numbers of the rows to train on, and the rows held out, if any.

    Args:
        X: Rows.
        y: Targets.
        valid: The fraction held out, or rows ``(X, y)`` of their own, or None.
        seed: Decides which rows are held out.

    Raises:
        ShrinkageError: ``valid`` is something else, its rows are not like those of X and y, or
            one row would have to be split.
    """
    if valid is None:
        return torch.arange(len(X)), None
    if isinstance(valid, tuple) and len(valid) == 2:
        return torch.arange(len(X)), rows_like(X, y, valid, "valid")
    if not (isinstance(valid, float) and 0 < valid < 1):
        raise ShrinkageError(
            f"valid={valid!r:.80}: give a fraction between 0 and 1, rows (X, y), or None."
        )
    if len(X) < 2:
        raise ShrinkageError("one row cannot be split; give more rows, or valid=None.")
    order = torch.randperm(len(X), generator=generator("held out", seed))
    count = min(max(round(valid * len(X)), 1), len(X) - 1)
    held = order[:count].sort().values
    return order[count:].sort().values, (X[held], y[held])
