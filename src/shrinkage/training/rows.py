"""The rows that are trained on, and those that are held out to watch."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor

from shrinkage.engine.plan import generator
from shrinkage.engine.rows import as_rows, rows_like
from shrinkage.errors import ShrinkageError

Held: TypeAlias = tuple[Tensor, Tensor] | None


def split_rows(X: Any, y: Any, valid: Any, seed: int) -> tuple[Tensor, Tensor, Held]:
    """Return rows and targets to train on, and those held out, if any.

    Args:
        X: Rows.
        y: Targets.
        valid: The fraction held out, or rows ``(X, y)`` of their own, or None.
        seed: Decides which rows are held out.

    Raises:
        ShrinkageError: ``valid`` is something else, its rows are not like those of X and y, or
            one row would have to be split.
    """
    rows, targets = as_rows(X, y)
    if valid is None:
        return rows, targets, None
    if isinstance(valid, tuple) and len(valid) == 2:
        return rows, targets, rows_like(rows, targets, valid, "valid")
    if not (isinstance(valid, float) and 0 < valid < 1):
        raise ShrinkageError(
            f"valid={valid!r:.80}: give a fraction between 0 and 1, rows (X, y), or None."
        )
    if len(rows) < 2:
        raise ShrinkageError("one row cannot be split; give more rows, or valid=None.")
    order = torch.randperm(len(rows), generator=generator("held out", seed))
    count = min(max(round(valid * len(rows)), 1), len(rows) - 1)
    held, kept = order[:count].sort().values, order[count:].sort().values
    return rows[kept], targets[kept], (rows[held], targets[held])
