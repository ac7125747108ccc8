"""Datasets and loaders of torch: their rows in memory, or drawn when they are needed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    default_collate,
)

from shrinkage.errors import ShrinkageError, counted

READ_AT_ONCE = 256
ROWS_A_STEP = 32


def in_memory(X: Any, y: Any, name: str = "X") -> tuple[Any, Any]:
    """Read a Dataset of ``(x, y)`` items twice and return its rows and targets; all else as it is.

    Raises:
        ShrinkageError: It cannot be read by number, gives other items the second time, or is given
            with targets beside it.
    """
    if not isinstance(X, Dataset | DataLoader):
        return X, y
    dataset = numbered_items(X, name)
    if y is not None:
        raise ShrinkageError(
            f"{name} is a {type(X).__name__}, whose items hold the targets; give y=None."
        )
    parts = []
    for numbers in blocks(len(dataset)):
        first, again = fetch(dataset, numbers, name), fetch(dataset, numbers, name)
        if not all(map(torch.equal, first, again)):
            raise ShrinkageError(
                f"{name} is a {type(dataset).__name__} whose items change each time they are "
                f"read, but held-out rows must stay the same. Give {name} without the random "
                "changes, and the same rows with them as augmented=."
            )
        parts.append(first)
    if not parts:
        raise ShrinkageError(f"{name} is a {type(dataset).__name__} without items.")
    rows, targets = zip(*parts, strict=True)
    try:
        return torch.cat(rows), torch.cat(targets)
    except RuntimeError as error:
        raise ShrinkageError(f"the items of {name} are not rows of one shape: {error}") from error


def pair_in_memory(data: Any, name: str) -> tuple[Any, Any]:
    """Return the rows and targets of a pair ``(X, y)``, a Dataset or a DataLoader."""
    X, y = (*data, None)[:2] if isinstance(data, Sequence) else (data, None)
    return in_memory(X, y, name)


def blocks(count: int) -> list[Tensor]:
    """Return the numbers below ``count``, as many at a time as are read at once."""
    return list(torch.split(torch.arange(count), READ_AT_ONCE)) if count else []


def fetch(
    dataset: Any,
    numbers: Iterable[int | Tensor],
    name: str,
    collate: Callable[[list[Any]], Any] = default_collate,
) -> tuple[Tensor, Tensor]:
    """Return the items of these numbers as rows and targets, as a DataLoader does."""
    wanted = [int(number) for number in numbers]
    at_once = getattr(dataset, "__getitems__", None)
    items = at_once(wanted) if at_once else [dataset[number] for number in wanted]
    if collate is not default_collate:
        return _collated(collate, items, name)
    try:
        x, y = default_collate(items)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShrinkageError(
            f"the items of {name} are not pairs (x, y) of numbers, all of one shape; turn images "
            f"into tensors of one size ({error})."
        ) from error
    if not (isinstance(x, Tensor) and isinstance(y, Tensor)):
        raise ShrinkageError(
            f"the items of {name} are not pairs (x, y) of tensors, arrays or numbers."
        )
    return x, y


def _collated(
    collate: Callable[[list[Any]], Any], items: list[Any], name: str
) -> tuple[Tensor, Tensor]:
    try:
        batch = collate(items)
    except Exception as error:
        raise ShrinkageError(
            f"the collate_fn of {name} fails on a batch of {counted(len(items), 'row')}: "
            f"{type(error).__name__}: {error}"
        ) from error
    if not (
        isinstance(batch, tuple | list)
        and len(batch) == 2
        and all(isinstance(part, Tensor) for part in batch)
    ):
        raise ShrinkageError(
            f"the collate_fn of {name} returned {_in_words(batch)}; it must return tensors (x, y). "
            "Rows that are mixed have mixed targets: y = share * one_hot(a) + (1 - share) * "
            "one_hot(b)."
        )
    return batch[0], batch[1]


def _in_words(batch: Any) -> str:
    kind = type(batch).__name__
    if not isinstance(batch, tuple | list):
        return f"a {kind}"
    return f"a {kind} of {', '.join(type(part).__name__ for part in batch)}"


def numbered_items(data: Any, name: str, *, any_collate: bool = False) -> Any:
    """Return the map-style Dataset that is given, itself or in a DataLoader.

    Args:
        data: What is given.
        name: What it is called.
        any_collate: Whether a loader may make batches of its rows in a way of its own.

    Raises:
        ShrinkageError: There is none, or its loader does more than take each row once an epoch.
    """
    if isinstance(data, DataLoader):
        _check_plain(data, name, any_collate)
        data = data.dataset
    if isinstance(data, IterableDataset | Tensor) or not (
        hasattr(data, "__len__") and hasattr(data, "__getitem__")
    ):
        raise ShrinkageError(
            f"{name} is a {type(data).__name__} without numbered items (x, y); folds need rows by "
            "number. Give a map-style Dataset."
        )
    return data


def batch_size_of(data: Any, batch_size: int | None) -> int:
    """Return the batch size asked for, or that of a DataLoader, or else 32.

    Raises:
        ShrinkageError: Both are given, and they are not the same.
    """
    own = data.batch_size if isinstance(data, DataLoader) else None
    if batch_size is not None and own not in (None, batch_size):
        raise ShrinkageError(
            f"batch_size={batch_size}, and the DataLoader's is {own}; leave out one."
        )
    return next((size for size in (batch_size, own) if size is not None), ROWS_A_STEP)


def _check_plain(loader: DataLoader[Any], name: str, any_collate: bool) -> None:
    if isinstance(loader.dataset, IterableDataset):
        return
    reason = None
    if type(loader.batch_sampler) is not BatchSampler:
        reason = "has batches of its own making; every fold needs its own batches"
    elif not _takes_each_once(loader):
        reason = (
            f"has a {type(loader.sampler).__name__}; every fold has its own order of its own rows. "
            "Weigh rows by sample_weight=, leave rows out by a Subset"
        )
    elif loader.collate_fn is not default_collate and not any_collate:
        reason = (
            f"has a collate_fn, {getattr(loader.collate_fn, '__name__', loader.collate_fn)}; rows "
            "are stacked as they are. Do its work in the dataset's __getitem__"
        )
    elif loader.drop_last:
        reason = "has drop_last=True; every row is trained on in every epoch"
    if reason:
        raise ShrinkageError(
            f"{name} is a DataLoader that {reason}. Or give its dataset and batch_size=."
        )


def _takes_each_once(loader: DataLoader[Any]) -> bool:
    sampler, rows = loader.sampler, loader.dataset
    if type(sampler) is SequentialSampler:
        return True
    each_once = type(sampler) is RandomSampler and not sampler.replacement
    return each_once and sampler.num_samples == len(rows)  # type: ignore[arg-type,attr-defined]
