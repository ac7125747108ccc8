"""A Dataset is its rows in memory; what has no numbered, lasting rows is refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from _problems import assert_same_result, classes, fit
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, Subset, TensorDataset

from shrinkage.errors import ShrinkageError

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
        (DataLoader(TensorDataset(X, Y)), None, "X is a DataLoader; give its dataset"),
        (Stream(), None, "X is a Stream without numbered items"),
        (TensorDataset(X, Y), Y, "give y=None"),
        (Noisy(PAIRS), None, "item 0 is another one at each reading"),
        (TensorDataset(X), None, "item 0 of X is no pair"),
        (Listed([("red", 1)]), None, "item 0 of X is no pair"),
        (Listed([(X[0], 0), (X[1, :2], 1)]), None, "not rows of one shape"),
        (Listed([]), None, "not rows of one shape"),
    ],
    ids=["loader", "stream", "two targets", "noisy", "no target", "text", "ragged", "empty"],
)
def test_refusals(rows: Any, targets: Any, words: str) -> None:
    with pytest.raises(ShrinkageError, match=words):
        fit(nn.Linear(4, 3), rows, targets, **QUICK)
