"""Which fold holds out each row: from a number, a scikit-learn splitter, or given ids."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError


def make_folds(folds: Any, X: Tensor, y: Tensor, seed: int = 0) -> Tensor:
    """Return the fold of each row.

    Args:
        folds: A number (stratified and shuffled for classes, shuffled for numbers), a
            scikit-learn splitter, or one fold id per row.
        X: Training rows.
        y: Their targets.
        seed: Seed of the shuffling, if ``folds`` is a number.

    Raises:
        ShrinkageError: Fewer than two folds, more folds than rows of a class, a row held out
            not exactly once, or a training part that misses a class.
    """
    classes = not y.is_floating_point()
    if isinstance(folds, int):
        ids = _split(_splitter(folds, y, seed), X, y)
    elif hasattr(folds, "split") and not isinstance(folds, str | Tensor):
        ids = _split(folds, X, y)
    else:
        ids = _given(folds, len(y))
    if classes:
        _check_classes(ids, y)
    return ids


def _splitter(folds: int, y: Tensor, seed: int) -> Any:
    from sklearn.model_selection import KFold, StratifiedKFold

    if not 2 <= folds <= len(y):
        raise ShrinkageError(f"folds={folds} with {len(y)} rows: give 2 to {len(y)} folds.")
    if y.is_floating_point():
        return KFold(folds, shuffle=True, random_state=seed)
    values, counts = torch.unique(y, return_counts=True)
    if counts.min() < folds:
        rare = values[counts.argmin()].item()
        raise ShrinkageError(
            f"class {rare} has {int(counts.min())} rows, fewer than folds={folds}; "
            "give fewer folds or drop the class."
        )
    return StratifiedKFold(folds, shuffle=True, random_state=seed)


def _split(splitter: Any, X: Tensor, y: Tensor) -> Tensor:
    ids = torch.full((len(y),), -1)
    try:
        parts = list(splitter.split(X.numpy(), y.numpy()))
    except (TypeError, ValueError) as error:
        raise ShrinkageError(f"folds={splitter!r} does not split these rows: {error}") from error
    for fold, (trained, held) in enumerate(parts):
        held_rows = torch.as_tensor(held)
        if (ids[held_rows] >= 0).any():
            raise ShrinkageError(
                f"{splitter!r} holds a row out twice; every row must be held out once."
            )
        if sorted([*trained, *held]) != list(range(len(y))):
            raise ShrinkageError(
                f"{splitter!r} does not train on every row that it does not hold out; that is not "
                "supported."
            )
        ids[held_rows] = fold
    if (ids < 0).any():
        raise ShrinkageError(
            f"{splitter!r} never holds out {int((ids < 0).sum())} rows; "
            "every row must be held out once."
        )
    return ids


def _given(folds: Any, n: int) -> Tensor:
    try:
        given = torch.as_tensor(folds)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShrinkageError(
            f"folds are not fold ids: {error}; give a number, a splitter, or {n} integers."
        ) from error
    if given.shape != (n,) or given.is_floating_point():
        raise ShrinkageError(
            f"folds has shape {tuple(given.shape)} and type {given.dtype}; "
            f"give a number, a splitter, or {n} integer fold ids, one per row."
        )
    numbers = {value: number for number, value in enumerate(sorted(set(given.tolist())))}
    if len(numbers) < 2:
        raise ShrinkageError("folds names a single fold; give at least 2.")
    return torch.tensor([numbers[value] for value in given.tolist()])


def _check_classes(ids: Tensor, y: Tensor) -> None:
    present = set(y.tolist())
    for fold in range(int(ids.max()) + 1):
        missing = present - set(y[ids != fold].tolist())
        if missing:
            raise ShrinkageError(
                f"without fold {fold} no row of class {sorted(missing)[0]} is left to train on; "
                "use stratified folds or fewer of them."
            )
