"""Which fold holds out each row: from a number, a scikit-learn splitter, or given ids."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError


def make_folds(folds: Any, X: Tensor, y: Tensor, *, seed: int = 0, groups: Any = None) -> Tensor:
    """Return the fold of each row.

    Args:
        folds: A number (stratified and shuffled for classes, shuffled for numbers), a
            scikit-learn splitter, or one fold id per row.
        X: Training rows.
        y: Their targets.
        seed: Seed of the shuffling, if ``folds`` is a number.
        groups: A label per row, or None; rows of one group stay in one fold.

    Raises:
        ShrinkageError: Fewer than two folds, more folds than rows of a class or than groups, a
            row held out not exactly once, a group in two folds, or a training part that misses a
            class.
    """
    classes = not y.is_floating_point()
    labels = None if groups is None else _labels(groups, len(y))
    if isinstance(folds, int):
        ids = _split(_splitter(folds, y, seed, labels), X, y, labels)
    elif hasattr(folds, "split") and not isinstance(folds, str | Tensor):
        ids = _split(folds, X, y, labels)
    else:
        ids = _given(folds, len(y))
    if labels is not None:
        _check_groups(ids, labels)
    if classes:
        _check_classes(ids, y)
    return ids


def _labels(groups: Any, n: int) -> Tensor:
    """Return the groups numbered from 0."""
    labels = np.asarray(groups)
    if labels.shape != (n,):
        raise ShrinkageError(f"groups has shape {labels.shape}; give {n} labels, one per row.")
    _, numbers = np.unique(labels, return_inverse=True)
    return torch.from_numpy(numbers).long()


def _splitter(folds: int, y: Tensor, seed: int, groups: Tensor | None) -> Any:
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    if not 2 <= folds <= len(y):
        raise ShrinkageError(f"folds={folds} with {len(y)} rows: give 2 to {len(y)} folds.")
    if groups is not None and groups.max() + 1 < folds:
        raise ShrinkageError(
            f"folds={folds} with {int(groups.max()) + 1} groups: a group stays in one fold, so "
            "give fewer folds."
        )
    if y.is_floating_point():
        kind = KFold if groups is None else GroupKFold
        return kind(folds, shuffle=True, random_state=seed)
    values, counts = torch.unique(y, return_counts=True)
    if counts.min() < folds:
        rare = values[counts.argmin()].item()
        raise ShrinkageError(
            f"class {rare} has {int(counts.min())} rows, fewer than folds={folds}; "
            "give fewer folds or drop the class."
        )
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    return kind(folds, shuffle=True, random_state=seed)


def _split(splitter: Any, X: Tensor, y: Tensor, groups: Tensor | None) -> Tensor:
    ids = torch.full((len(y),), -1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that groups are ignored; checked later
            labels = () if groups is None else (groups.numpy(),)
            parts = list(splitter.split(X.numpy(), y.numpy(), *labels))
    except (TypeError, ValueError) as error:
        asks = " Give groups=, a label per row." if "groups" in str(error) else ""
        raise ShrinkageError(
            f"folds={splitter!r} does not split these rows: {error}{asks}"
        ) from error
    for fold, (trained, held) in enumerate(parts):
        held_rows = torch.as_tensor(held)
        if (ids[held_rows] >= 0).any():
            raise ShrinkageError(
                f"{splitter!r} holds a row out twice; every row must be held out once. To repeat "
                "a cross-validation, give seeds=, or run it again on other folds."
            )
        if sorted([*trained, *held]) != list(range(len(y))):
            raise ShrinkageError(
                f"{splitter!r} does not train on every row that it does not hold out. Splits in "
                "time order and with gaps are not supported: a fold trains on all other folds."
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


def _check_groups(ids: Tensor, groups: Tensor) -> None:
    pairs = torch.unique(torch.stack([groups, ids]), dim=1)
    if pairs.shape[1] > groups.max() + 1:
        raise ShrinkageError(
            "a group of rows lies in two folds, so its own rows would judge what it trained; give "
            "folds as a number, or a splitter that keeps groups together, such as GroupKFold."
        )


def _check_classes(ids: Tensor, y: Tensor) -> None:
    present = set(y.tolist())
    for fold in range(int(ids.max()) + 1):
        missing = present - set(y[ids != fold].tolist())
        if missing:
            raise ShrinkageError(
                f"without fold {fold} no row of class {sorted(missing)[0]} is left to train on; "
                "use stratified folds or fewer of them."
            )
