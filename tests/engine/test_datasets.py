"""A Dataset is its rows in memory; what has no numbered, lasting rows is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from _problems import assert_same_result, classes, fit
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

from shrinkage.engine import fit_path
from shrinkage.errors import ShrinkageError
from shrinkage.penalties import L2

X, Y = classes()
QUICK: dict[str, Any] = {"epochs": 1, "seeds": 1}


class Listed(Dataset[Any]):
    def __init__(self, items: list[Any]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, i: int) -> Any:
        return self.items[i]


class Noisy(Listed):
    def __getitem__(self, i: int) -> Any:
        x, y = self.items[i]
        return x + torch.randn(4), y


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Any:
        return iter(zip(X, Y, strict=True))


PAIRS = list(zip(X, Y.tolist(), strict=True))
FAR = [(X[0], 0)] * 256 + [(X[0, :2], 0)]


@pytest.mark.parametrize(
    "dataset",
    [TensorDataset(X, Y), Listed(PAIRS), Subset(TensorDataset(X, Y), range(32))],
    ids=["tensors", "of one's own", "subset"],
)
def test_a_dataset_is_its_rows(dataset: Any) -> None:
    expected = fit(nn.Linear(4, 3), X, Y, test=(X[:5], Y[:5]), **QUICK)
    result = fit(nn.Linear(4, 3), dataset, None, test=(X[:5], Y[:5]), **QUICK)
    assert_same_result(result, expected, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("rows", "targets", "words"),
    [
        (Stream(), None, "X is a Stream without numbered items"),
        (TensorDataset(X, Y), Y, "whose items hold the targets; give y=None"),
        (Noisy(PAIRS), None, r"X is a Noisy whose items change .* as augmented="),
        (TensorDataset(X), None, "items of X are not pairs"),
        (Listed([("red", 1)] * 9), None, "items of X are not pairs"),
        (Listed([(X[0], 0), (X[1, :2], 1)]), None, "of one shape; turn images"),
        (Listed(FAR), None, "not rows of one shape"),
        (Listed([]), None, "without items"),
    ],
    ids=["stream", "two targets", "noisy", "no target", "text", "ragged", "far", "empty"],
)
def test_what_gives_no_numbered_rows_is_refused(rows: Any, targets: Any, words: str) -> None:
    with pytest.raises(ShrinkageError, match=words):
        fit(nn.Linear(4, 3), rows, targets, **QUICK)


@pytest.mark.parametrize("own", [None, 8])
def test_a_loader_is_its_dataset_and_batch_size(own: int | None) -> None:
    expected = fit(nn.Linear(4, 3), X, Y, test=(X, Y), **QUICK)
    loader = DataLoader(Listed(PAIRS), batch_size=8, shuffle=True, num_workers=1)
    result = fit(nn.Linear(4, 3), loader, None, test=loader, batch_size=own, **QUICK)
    assert_same_result(result, expected, rtol=0, atol=0)
    assert result.about["plan"]["batch_size"] == 8


def test_rows_without_a_loader_come_in_batches_of_32() -> None:
    result = fit_path(nn.Linear(4, 3), *classes(40), L2(1.0), strengths=[1], folds=2, **QUICK)
    assert result.about["plan"]["batch_size"] == 32


DATA = TensorDataset(X, Y)


@pytest.mark.parametrize(
    ("loader", "words"),
    [
        (DataLoader(DATA, batch_size=9), "batch_size=8, and the DataLoader's is 9"),
        (DataLoader(DATA, 8, drop_last=True), "drop_last=True; every row"),
        (DataLoader(DATA, 8, collate_fn=lambda items: items), "has a collate_fn, <lambda>; rows"),
        (DataLoader(DATA, 8, sampler=WeightedRandomSampler([1.0] * 32, 32)), "has a Weighted"),
        (DataLoader(DATA, 8, sampler=RandomSampler(DATA, replacement=True)), "has a RandomSampler"),
        (DataLoader(DATA, 8, sampler=RandomSampler(DATA, num_samples=16)), "has a RandomSampler"),
        (DataLoader(DATA, batch_sampler=[[0, 1], [2, 3]]), "batches of its own making"),
        (DataLoader(DATA, batch_size=None), "batches of its own making"),
        (DataLoader(Stream(), 8), "X is a Stream without numbered items"),
    ],
)
def test_loaders_that_do_more_than_shuffle_are_refused(loader: Any, words: str) -> None:
    with pytest.raises(ShrinkageError, match=words):
        fit(nn.Linear(4, 3), loader, None, **QUICK)
