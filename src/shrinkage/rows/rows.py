"""The caller's data as tensors of rows, checked once."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError, counted
from shrinkage.rows.frames import as_array


def as_rows(X: Any, y: Any, prefix: str = "", *, finite: bool = True) -> tuple[Tensor, Tensor]:
    """Return rows and targets as tensors.

    Args:
        X: (N, ...) numbers: tensor, array, nested lists, or a frame of pandas or polars.
        y: (N,) integer classes or numbers, or (N, M) numbers. Classes in one column become a row;
            numbers in one column stay as they are.
        prefix: What to say before the names in an error.
        finite: Whether NaN and infinite numbers in X are refused.

    Raises:
        ShrinkageError: Not numbers, no rows, of different length, or not finite.
    """
    if y is None:
        raise ShrinkageError(f"{prefix}y is missing; give X and y, or a Dataset of (x, y) items.")
    rows, targets = _as_tensor(X, f"{prefix}X", finite), _as_tensor(y, f"{prefix}y")
    if len(rows) != len(targets):
        raise ShrinkageError(
            f"{prefix}X has {counted(len(rows), 'row')} and {prefix}y has {len(targets)}."
        )
    several = targets.numel() != len(targets)
    if targets.dim() > 2 or (several and not targets.is_floating_point()):
        raise ShrinkageError(
            f"{prefix}y has shape {tuple(targets.shape)} and type {targets.dtype}; give one class "
            "or number per row, or a table of floating-point numbers for several targets."
        )
    return rows, targets if targets.is_floating_point() else targets.long().flatten()


def with_test_rows(
    X: Tensor, y: Tensor, test: tuple[Any, Any] | None, *, finite: bool = True
) -> tuple[Tensor, Tensor]:
    """Return the training rows followed by the test rows, if any."""
    if test is None:
        return X, y
    rows, targets = rows_like(X, y, test, "test", finite=finite)
    return torch.cat([X, rows]), torch.cat([y, targets])


def rows_like(
    X: Tensor, y: Tensor, others: tuple[Any, Any], name: str, *, finite: bool = True
) -> tuple[Tensor, Tensor]:
    """Return other rows ``(X, y)`` with the types and the device of the training rows.

    One target a row may stand in a row or a column, whichever the training rows have.

    Args:
        X: Training rows.
        y: Their targets.
        others: Rows and targets that are not trained on.
        name: What they are, for an error.
        finite: Whether NaN and infinite numbers in the rows are refused.

    Raises:
        ShrinkageError: They are no rows, of another shape, or numbers where y holds classes.
    """
    rows, targets = as_rows(*others, f"{name} ", finite=finite)
    if targets[0].numel() == y[0].numel() == 1:
        targets = targets.reshape(-1, *y.shape[1:])
    fitting = rows.shape[1:] == X.shape[1:] and targets.shape[1:] == y.shape[1:]
    if not fitting or (targets.is_floating_point() and not y.is_floating_point()):
        raise ShrinkageError(
            f"{name} X has rows of shape {tuple(rows.shape[1:])} and targets of {targets.dtype} "
            f"{tuple(targets.shape[1:])}; those to train on have {tuple(X.shape[1:])} and "
            f"{y.dtype} {tuple(y.shape[1:])}; give the same kind."
        )
    return rows.to(X), targets.to(y)


def _as_tensor(values: Any, name: str, finite: bool = True) -> Tensor:
    try:
        rows = torch.as_tensor(as_array(values, name)).detach()
    except ShrinkageError:
        raise
    except (TypeError, ValueError, RuntimeError) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        number_them = " numpy.unique(y, return_inverse=True) numbers classes of any kind."
        raise ShrinkageError(
            f"{name} is not an array of numbers: {reason}.{number_them * name.endswith('y')}"
        ) from error
    if rows.dim() == 0 or rows.numel() == 0:
        raise ShrinkageError(f"{name} has shape {tuple(rows.shape)}: it holds no rows.")
    if finite:
        check_finite(rows, name)
    return rows.clone() if rows.is_inference() else rows


def flat(targets: Tensor) -> Tensor:
    """Return one target per row as (N,), several as they are."""
    return targets.flatten() if targets.numel() == len(targets) else targets


def check_finite(rows: Tensor, name: str) -> None:
    """Refuse rows that hold NaN or infinite numbers; the message counts them."""
    bad = ~rows.reshape(len(rows), -1).isfinite().all(1)
    if bad.any():
        raise ShrinkageError(
            f"{name} holds NaN or infinite numbers in {int(bad.sum())} of {len(rows)} rows, "
            f"first in row {int(bad.nonzero()[0])}; remove or impute them first."
        )


def as_weights(weights: Any, rows: int, tests: int) -> Tensor | None:
    """Return the weights of the rows as float64, 1 for test rows; None where none are given.

    Raises:
        ShrinkageError: Not one finite number above 0 for every row.
    """
    if weights is None:
        return None
    given = _as_tensor(weights, "sample_weight").double().cpu()
    if given.shape != (rows,) or not (given > 0).all():
        raise ShrinkageError(
            f"sample_weight has shape {tuple(given.shape)} and smallest value {given.min():g}; "
            f"give {rows} numbers above 0, and leave out rows that should not count."
        )
    return torch.cat([given, given.new_ones(tests)])
