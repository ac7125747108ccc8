"""A map-style Dataset of torch as rows and targets in memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from shrinkage.errors import ShrinkageError


def in_memory(X: Any, y: Any) -> tuple[Any, Any]:
    """Read a Dataset of ``(x, y)`` items twice and return its rows and targets; all else as it is.

    Raises:
        ShrinkageError: It cannot be read by number, gives other items the second time, or is given
            with targets beside it.
    """
    if isinstance(X, DataLoader):
        raise ShrinkageError(
            "X is a DataLoader; give its dataset, loader.dataset, and batch_size=: folds need rows "
            "by number, and every fold has batches of its own."
        )
    if not isinstance(X, Dataset):
        return X, y
    if isinstance(X, IterableDataset) or not hasattr(X, "__len__"):
        raise ShrinkageError(
            f"X is a {type(X).__name__} without numbered items; folds need rows by number. Give a "
            "map-style Dataset, or tensors."
        )
    if y is not None:
        raise ShrinkageError("X is a Dataset, whose items hold the targets; give y=None.")
    items = [_item(X, i) for i in range(len(X))]
    for i, (x, target) in enumerate(items):
        again = _item(X, i)
        if not (torch.equal(x, again[0]) and torch.equal(target, again[1])):
            raise ShrinkageError(
                f"X is a Dataset whose item {i} is another one at each reading: random changes of "
                "the rows are not supported. Give the dataset without them."
            )
    try:
        rows, targets = (torch.stack(part) for part in zip(*items, strict=True))
    except (ValueError, RuntimeError) as error:
        raise ShrinkageError(f"the items of X are not rows of one shape: {error}") from error
    return rows, targets


def _item(dataset: Any, i: int) -> tuple[Tensor, Tensor]:
    try:
        x, y = dataset[i]
        return torch.as_tensor(x), torch.as_tensor(y)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShrinkageError(
            f"item {i} of X is no pair (x, y) of numbers: {error}. Turn images into tensors first."
        ) from error
