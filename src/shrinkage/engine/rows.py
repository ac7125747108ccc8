"""The caller's data as tensors of rows, checked once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError


def as_rows(X: Any, y: Any, prefix: str = "", *, finite: bool = True) -> tuple[Tensor, Tensor]:
    """Return rows and targets as tensors.

    Args:
        X: (N, ...) numbers.
        y: (N,) integer classes or numbers; (N, 1) is kept as it is.
        prefix: What to say before the names in an error.
        finite: Whether NaN and infinite numbers in X are refused.

    Raises:
        ShrinkageError: Not numbers, no rows, of different length, or not finite.
    """
    rows, targets = _numbers(X, f"{prefix}X", finite), _numbers(y, f"{prefix}y")
    if len(rows) != len(targets):
        raise ShrinkageError(f"{prefix}X has {len(rows)} rows and {prefix}y has {len(targets)}.")
    if targets.numel() != len(targets):
        raise ShrinkageError(
            f"{prefix}y has shape {tuple(targets.shape)}; "
            f"give one target per row, {len(targets)} in all."
        )
    return rows, targets if targets.is_floating_point() else targets.long()


def with_test_rows(
    X: Tensor, y: Tensor, test: tuple[Any, Any] | None, *, finite: bool = True
) -> tuple[Tensor, Tensor]:
    """Return the training rows with the test rows, if any, behind them."""
    if test is None:
        return X, y
    rows, targets = as_rows(*test, "test ", finite=finite)
    if rows.shape[1:] != X.shape[1:] or targets.shape[1:] != y.shape[1:]:
        raise ShrinkageError(
            f"test rows have shape {tuple(rows.shape[1:])} and training rows {tuple(X.shape[1:])}."
        )
    if targets.is_floating_point() and not y.is_floating_point():
        raise ShrinkageError(
            f"test y is {targets.dtype} and y holds integer classes; give classes too."
        )
    return torch.cat([X, rows.to(X.dtype)]), torch.cat([y, targets.to(y.dtype)])


def _numbers(values: Any, name: str, finite: bool = True) -> Tensor:
    try:
        rows = torch.as_tensor(values).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShrinkageError(f"{name} is not an array of numbers: {error}.") from error
    if rows.dim() == 0 or rows.numel() == 0:
        raise ShrinkageError(f"{name} has shape {tuple(rows.shape)}: it holds no rows.")
    if finite:
        check_finite(rows, name)
    return rows


def check_finite(rows: Tensor, name: str) -> None:
    """Refuse rows that hold NaN or infinite numbers; the message counts them."""
    bad = ~rows.reshape(len(rows), -1).isfinite().all(1)
    if bad.any():
        raise ShrinkageError(
            f"{name} holds NaN or infinite numbers in {int(bad.sum())} of {len(rows)} rows, "
            f"first in row {int(bad.nonzero()[0])}; remove or impute them first."
        )
