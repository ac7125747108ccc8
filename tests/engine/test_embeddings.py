"""Embeddings with gradients of their own kind: sparse ones, and those by counts in the batch."""

from __future__ import annotations

import functools
from typing import Any

import pytest
import torch
from _problems import SGD, assert_same_result, by_hand, fit
from torch import Tensor, nn

from shrinkage.errors import ShrinkageError
from shrinkage.rows.groups import ALL_ROWS, Group

TOKENS = torch.randint(0, 6, (42, 4), generator=torch.Generator().manual_seed(1))
Y = torch.arange(42) % 3


def words(**settings: Any) -> Any:
    layers = [nn.Embedding(6, 3, **settings), nn.Flatten(), nn.Linear(12, 3)]
    return nn.Sequential(*layers).double()


def head(name: str, _: Tensor) -> bool:
    return name.startswith("2")


@pytest.mark.parametrize(("rows", "engine"), [(42, "one by one: Embedding '0' "), (32, "vect")])
def test_counts_in_the_batch_are_those_of_its_rows(rows: int, engine: str) -> None:
    """Batches of 8: 32 rows in 2 folds fill them, 42 do not; padding would count too."""
    X, y, model = TOKENS[:rows], Y[:rows], words(scale_grad_by_freq=True)
    sgd = functools.partial(torch.optim.SGD, lr=1e-3)
    result = fit(model, X, y, folds=2, seeds=1, epochs=1, optimizer=sgd)
    assert result.about["engine"].startswith(engine)
    group = Group(ALL_ROWS, 0)
    hand = by_hand(model, X, y, result.folds, group, lambda net: sgd(net.parameters()), epochs=1)
    for name, tensor in hand.weights().items():
        kept = result.refit.weights[name][0, 0]
        torch.testing.assert_close(kept, tensor, rtol=1e-12, atol=1e-14)


@pytest.mark.filterwarnings("ignore:Sparse invariant checks")  # torch's Adagrad
@pytest.mark.parametrize("optimizer", [SGD, torch.optim.Adagrad])
def test_sparse_gradients_train_as_dense_ones_do(optimizer: Any) -> None:
    alone = lambda parameters: optimizer(parameters)  # noqa: E731
    sparse, dense = (
        fit(words(sparse=given), TOKENS, Y, select=head, optimizer=alone) for given in (True, False)
    )
    assert_same_result(sparse, dense, rtol=1e-9, atol=1e-10)
    taken = fit(words(sparse=True), TOKENS, Y, select=head, optimizer=SGD)
    assert taken.about["engine"] == "one by one: Embedding '0' has sparse gradients"


@pytest.mark.parametrize(
    ("changes", "words_of_error"),
    [
        ({"optimizer": torch.optim.Adam}, "Adam does not support sparse gradients, .*sparse=False"),
        ({"optimizer": functools.partial(SGD, weight_decay=0.1)}, "SGD.* is not supported"),
        ({"select": "*"}, "Embedding '0' has sparse=True, .*a penalty"),
    ],
)
def test_sparse_gradients_that_cannot_be_used_are_refused_before_training(
    changes: dict[str, Any], words_of_error: str
) -> None:
    told: list[Any] = []
    settings = {"select": head, "progress": told.append, **changes}
    with pytest.raises(ShrinkageError, match=words_of_error) as refusal:
        fit(words(sparse=True), TOKENS, Y, **settings)
    assert "Embedding '0'" in str(refusal.value)
    assert not told
