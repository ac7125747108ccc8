"""Models that cannot be mapped are found before training, named, and trained one by one."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from _problems import SMALL, assert_same_result, classes, fit
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


class Noisy(nn.Module):
    """Random numbers in the forward pass."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x + 0.1 * torch.randn_like(x) if self.training else x)


class OwnStatistic(nn.Module):
    """A batch statistic that torch's functions know nothing of."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(4, 3).double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x - x.mean(0) if self.training else x)


def batch_norm() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.ReLU(), nn.Linear(5, 3)).double()


def alpha_dropout() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.AlphaDropout(0.5), nn.Linear(5, 3)).double()


UNMAPPABLE: dict[str, tuple[Any, str]] = {
    "a statistic of its own": (OwnStatistic, "outputs differ"),
    "branch on a weight": (WeightBranching, "WeightBranching"),
    "LSTM": (lambda: Recurrent(nn.LSTM), "LSTM 'memory'"),
    "alpha dropout": (alpha_dropout, "AlphaDropout '1'"),
    "random numbers of its own": (Noisy, "Noisy 'the model'"),
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
    model = lambda: nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5), nn.Linear(5, 3)).double()  # noqa: E731
    result = fit(model, X, Y, strengths=[1e-300], seeds=1)
    assert torch.equal(result.predictions[0], result.predictions[1])


def test_a_branch_on_the_input_gives_the_numbers_of_the_loop() -> None:
    result = fit(Branching, X, Y, epochs=2, seeds=1)
    assert_same_result(result, alone(Branching, X, epochs=2, seeds=1), rtol=2e-6, atol=1e-6)


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
