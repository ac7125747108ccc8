"""Models that cannot be mapped are found before training, named, and trained one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from _problems import ADAM, SMALL, assert_same_result, classes, fit
from torch import Tensor, nn

X, Y = classes()
X32 = X.float()


def alone(model: Any, X: Tensor, **changes: Any) -> Any:
    """The same path by the loop engine: an optimizer in a lambda has no pure form."""
    make = changes.pop("optimizer", SMALL["optimizer"])
    return fit(model, X, Y, optimizer=lambda parameters: make(parameters), **changes)


class Branching(nn.Module):
    """Looks at its input's values."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = nn.Linear(4, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(x) if x.mean() > 0 else -self.gate(x)


class WeightBranching(Branching):
    """Looks at its weights' values."""

    def forward(self, x: Tensor) -> Tensor:
        return self.gate(x) if self.gate.weight[0, 0] > 0 else -self.gate(x)


class Recurrent(nn.Module):
    """A recurrent layer over 2 steps of 2 features."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.memory = kind(2, 3, batch_first=True).double()
        self.head = nn.Linear(3, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.memory(x.unflatten(1, (2, 2)))[0][:, -1])


class FunctionalDropout(nn.Module):
    """Dropout without a Dropout module."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 6).double(), nn.Linear(6, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.dropout(self.body(x), 0.5, training=self.training))


def batch_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)).double()


def dropout() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5), nn.Linear(5, 3)).double()


UNMAPPABLE: dict[str, tuple[Any, str]] = {
    "short batches under BatchNorm": (batch_norm, "BatchNorm1d"),
    "branch on a weight": (WeightBranching, "WeightBranching"),
    "LSTM": (lambda: Recurrent(nn.LSTM), "LSTM 'memory'"),
    "dropout": (dropout, "Dropout '1'"),
    "functional dropout": (FunctionalDropout, "FunctionalDropout"),
}


@pytest.mark.parametrize("name", UNMAPPABLE)
def test_falls_back_to_the_loop_and_names_the_module(name: str) -> None:
    model, word = UNMAPPABLE[name]
    notes: list[str] = []
    result = fit(model, X, Y, epochs=2, seeds=1, progress=lambda now: notes.append(now.note))
    engine = result.about["engine"]
    assert engine.startswith("one by one: ")
    assert word in engine
    assert [note for note in notes if note] == [f"members train one by one, slower: {engine[12:]}"]
    assert_same_result(result, alone(model, X, epochs=2, seeds=1), rtol=0, atol=0)


def test_dropout_draws_the_same_numbers_for_every_strength() -> None:
    result = fit(dropout, X, Y, strengths=[1e-300], seeds=1)
    assert torch.equal(result.predictions[0], result.predictions[1])


def image_net() -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 3, 2, padding=1), nn.ReLU(), nn.MaxPool2d(2),
        nn.GroupNorm(1, 3), nn.Flatten(), nn.Linear(3, 3),
    ).double()  # fmt: skip


class Words(nn.Module):
    """Token numbers in, logits out; the embedding is tied to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(9, 4).double(), nn.Linear(4, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embedding(x).mean(1))


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=0.0, batch_first=True)
    return nn.Sequential(
        nn.Unflatten(1, (2, 2)), nn.Linear(2, 4), layer, nn.Flatten(), nn.Linear(8, 3)
    ).double()


class Tied(nn.Module):
    """One weight used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(4, 4).double(), nn.Linear(4, 4).double()
        self.two.weight = self.one.weight
        self.head = nn.Linear(4, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.two(torch.tanh(self.one(x)))))


MAPPABLE: dict[str, Any] = {
    "layer norm": lambda: nn.Sequential(
        nn.Linear(4, 5), nn.LayerNorm(5), nn.GELU(), nn.Linear(5, 3)
    ).double(),
    "convolution": image_net,
    "transformer": transformer,
    "tied": Tied,
    "dropout of rate 0": lambda: nn.Sequential(nn.Dropout(0.0), nn.Linear(4, 3)).double(),
}


@pytest.mark.parametrize("name", MAPPABLE)
def test_trains_vectorized_and_equals_the_loop(name: str) -> None:
    result = fit(MAPPABLE[name], X, Y, epochs=2, seeds=1)
    assert result.about["engine"].startswith("vectorized")
    loop = alone(MAPPABLE[name], X, epochs=2, seeds=1)
    assert loop.about["engine"].startswith("one by one")
    assert_same_result(result, loop, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["layer norm", "convolution", "transformer", "dropout of rate 0"])
def test_rounding_under_adam_in_single_precision_is_no_difference(name: str) -> None:
    result = fit(lambda: MAPPABLE[name]().float(), X32, Y, epochs=1, seeds=1, optimizer=ADAM)
    assert result.about["engine"].startswith("vectorized")


def test_a_branch_on_the_input_gives_the_numbers_of_the_loop() -> None:
    result = fit(Branching, X, Y, epochs=2, seeds=1)
    assert_same_result(result, alone(Branching, X, epochs=2, seeds=1), rtol=2e-6, atol=1e-6)


def test_embeddings_of_integer_rows() -> None:
    tokens = (X.abs() * 3).long().clamp_max(8)
    result = fit(Words, tokens, Y, epochs=2, seeds=1)
    assert result.about["engine"].startswith("vectorized")
    assert result.tensor_names == ("head.weight",)
    assert_same_result(result, alone(Words, tokens, epochs=2, seeds=1), rtol=2e-6, atol=1e-6)


def test_batch_norm_without_short_batches_trains_vectorized() -> None:
    rows, targets = X[:32], Y[:32]
    settings = {"folds": torch.arange(32) % 4, "batch_size": 8, "seeds": 1, "epochs": 2}
    result = fit(batch_norm, rows, targets, **settings)
    assert result.about["engine"].startswith("vectorized")
    assert_same_result(result, alone(batch_norm, rows, **settings), rtol=2e-6, atol=1e-6)
    tracked = result.refit.weights["1.num_batches_tracked"]
    assert tracked.flatten().tolist() == [2 * 4] * 3


def test_one_short_batch_anywhere_is_enough() -> None:
    # folds train on 24 rows, 3 whole batches; the refit's 32 rows leave a short one
    settings = {"folds": torch.arange(32) % 4, "batch_size": 12, "seeds": 1, "epochs": 1}
    assert "BatchNorm1d" in fit(batch_norm, X, Y, **settings).about["engine"]
    # fold 0 trains on 24 rows, fold 1 on 22, in as many steps
    folds = torch.tensor([0] * 8 + [1] * 10 + [2] * 8 + [3] * 6)[torch.randperm(32)]
    engine = fit(batch_norm, X, Y, folds=folds, batch_size=8, seeds=1, epochs=1).about["engine"]
    assert "BatchNorm1d" in engine


class Counting(nn.Module):
    """Numbers that a seed of torch does not reach: the members alone see others."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.calls = nn.Linear(4, 3).double(), 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.head(x) * (1 + self.calls)


def test_a_difference_without_an_error_is_found() -> None:
    engine = fit(Counting, X, Y, epochs=1, seeds=1).about["engine"]
    assert engine.startswith("one by one: trained together, outputs differ")


class UnusedPart(nn.Module):
    """A weight that no output depends on: torch's optimizers leave it, so it must stay."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.spare = nn.Linear(4, 3).double(), nn.Linear(4, 4).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x)


def test_an_unused_weight_stays_where_it_started() -> None:
    result = fit(UnusedPart, X, Y, epochs=1, seeds=1)
    assert_same_result(result, alone(UnusedPart, X, epochs=1, seeds=1), rtol=2e-6, atol=1e-6)
    start = result.refit.weights["spare.weight"]
    assert torch.equal(start[0], start[2])
