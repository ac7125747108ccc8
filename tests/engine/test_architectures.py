"""Which models train side by side and which one by one; both as real torch would train them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from _problems import ADAM, SGD, assert_same_result, by_hand, classes, fit
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from shrinkage.engine.member.layers import drawn, dropout, replaced
from shrinkage.rows.groups import ALL_ROWS, Group

X, Y = classes()
TOKENS = (X.abs() * 3).long().clamp_max(8)
SETTINGS: dict[str, Any] = {"epochs": 2, "seeds": 1, "test": (X[:5], Y[:5])}


class Words(nn.Module):
    """Token numbers in, logits out."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(9, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.embedding(x).mean(1))


class Tied(nn.Module):
    """One weight used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 3)
        self.two.weight = self.one.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(torch.tanh(self.two(torch.tanh(self.one(x)))))


class FunctionalDropout(nn.Module):
    """Dropout without a Dropout module."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 6), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.dropout(self.body(x), 0.5, training=self.training))


class Recurrent(nn.Module):
    """A recurrent layer over 2 steps of 2 features."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__()
        self.memory, self.head = kind(2, 3, batch_first=True), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.memory(x.unflatten(1, (2, 2)))[0][:, -1])


class Attention(nn.Module):
    """Attention that returns its weights, or with a causal mask keeps them inside."""

    def __init__(self, *, rate: float, causal: bool) -> None:
        super().__init__()
        self.attend = nn.MultiheadAttention(4, 2, dropout=rate, batch_first=True)
        self.lift, self.head, self.causal = nn.Linear(2, 4), nn.Linear(8, 3), causal

    def forward(self, x: Tensor) -> Tensor:
        words = self.lift(x.unflatten(1, (2, 2)))
        mask = torch.ones(2, 2, dtype=torch.bool).triu(1) if self.causal else None
        mixed, _ = self.attend(words, words, words, attn_mask=mask, need_weights=not self.causal)
        return self.head(mixed.flatten(1))


def images(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(
        nn.Unflatten(1, (1, 2, 2)), nn.Conv2d(1, 3, 2, padding=1), *layers, nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(3, 3),
    )  # fmt: skip


def layers(*middle: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), *middle, nn.Linear(5, 3))


def transformer(rate: float) -> nn.Module:
    layer = nn.TransformerEncoderLayer(4, 2, 8, dropout=rate, batch_first=True)
    return nn.Sequential(
        nn.Unflatten(1, (2, 2)), nn.Linear(2, 4), layer, nn.Flatten(), nn.Linear(8, 3)
    )


VECTORIZED: dict[str, Callable[[], nn.Module]] = {
    "linear": lambda: nn.Linear(4, 3),
    "perceptron": lambda: layers(nn.Tanh()),
    "layer norm": lambda: layers(nn.LayerNorm(5), nn.GELU()),
    "batch norm": lambda: layers(nn.BatchNorm1d(5), nn.Tanh()),
    "batch norm without statistics": lambda: layers(
        nn.BatchNorm1d(5, affine=False, track_running_stats=False), nn.Tanh()
    ),
    "convolution": lambda: images(),
    "convolution, group norm": lambda: images(nn.GroupNorm(1, 3)),
    "convolution, instance norm": lambda: images(nn.InstanceNorm2d(3)),
    "convolution, instance norm with statistics": lambda: images(
        nn.InstanceNorm2d(3, affine=True, track_running_stats=True, momentum=0.3)
    ),
    "convolution, batch norm": lambda: images(nn.BatchNorm2d(3, momentum=0.3)),
    "tied": Tied,
    "transformer": lambda: transformer(0.0),
    "dropout of rate 0": lambda: layers(nn.Dropout(0.0)),
    "dropout of rate 1": lambda: layers(nn.Dropout(1.0)),
}
"""These must equal a loop that knows nothing of the engine."""

DROPPING: dict[str, Callable[[], nn.Module]] = {
    "dropout": lambda: layers(nn.Dropout(0.5), nn.Tanh(), nn.Dropout(0.2)),
    "functional dropout": FunctionalDropout,
    "dropout of channels": lambda: images(nn.Dropout2d(0.4)),
    "dropout and batch norm": lambda: layers(nn.BatchNorm1d(5), nn.Dropout(0.3)),
    "transformer, dropout": lambda: transformer(0.2),
    "attention, dropout": lambda: Attention(rate=0.3, causal=False),
    "causal attention, dropout": lambda: Attention(rate=0.3, causal=True),
}
"""These must equal it where the same masks are put into it."""

LOOP: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "LSTM": (lambda: Recurrent(nn.LSTM), "LSTM 'memory': torch has no batching rule for aten::"),
    "GRU": (lambda: Recurrent(nn.GRU), "GRU 'memory': torch has no batching rule for aten::gru"),
    "weight norm": (
        lambda: layers(weight_norm(nn.Linear(5, 5))),
        "_WeightNorm '1.parametrizations.weight.0': torch has no batching rule for aten::_weight",
    ),
    "alpha dropout": (
        lambda: layers(nn.AlphaDropout(0.2)), "AlphaDropout '1': draws random numbers of its own",
    ),
    "cumulative batch norm": (
        lambda: layers(nn.BatchNorm1d(5, momentum=None)), "BatchNorm1d '1': ",
    ),
}  # fmt: skip


def alone(model: Callable[[], nn.Module], X: Tensor, **changes: Any) -> Any:
    """The same path by the loop engine: an optimizer in a lambda has no pure form."""
    return fit(model, X, Y, optimizer=lambda parameters: SGD(parameters), **changes)


def double(model: Callable[[], nn.Module]) -> Callable[[], nn.Module]:
    return lambda: model().double()


@pytest.mark.parametrize("name", VECTORIZED)
def test_trains_vectorized_as_a_loop_by_hand_would(name: str) -> None:
    model = double(VECTORIZED[name])
    result = fit(model, X, Y, **SETTINGS)
    assert result.about["engine"] == "vectorized, eager"
    assert_same_result(result, alone(model, X, **SETTINGS), rtol=2e-6, atol=1e-6)
    hand = by_hand(model, X, Y, result.folds, Group(ALL_ROWS, 0), lambda n: SGD(n.parameters()))
    assert result.refit is not None
    for weight, tensor in result.refit.weights.items():
        torch.testing.assert_close(
            tensor[0, 0], hand.model.state_dict()[weight], rtol=1e-9, atol=1e-10
        )


@pytest.mark.parametrize("name", DROPPING)
def test_trains_vectorized_with_masks_that_a_loop_can_draw_too(name: str) -> None:
    model = double(DROPPING[name])
    result = fit(model, X, Y, **SETTINGS)
    assert result.about["engine"] == "vectorized, eager"
    assert_same_result(result, alone(model, X, **SETTINGS), rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", LOOP)
def test_falls_back_to_the_loop_and_says_why(name: str) -> None:
    model, word = LOOP[name]
    result = fit(double(model), X, Y, **SETTINGS)
    assert result.about["engine"].startswith(f"one by one: {word}")
    assert_same_result(result, alone(double(model), X, **SETTINGS), rtol=0, atol=0)


@pytest.mark.parametrize("name", [*VECTORIZED, *DROPPING])
def test_rounding_under_adam_in_single_precision_is_no_difference(name: str) -> None:
    model = {**VECTORIZED, **DROPPING}[name]
    result = fit(model, X.float(), Y, epochs=1, seeds=1, optimizer=ADAM)
    assert result.about["engine"] == "vectorized, eager"


def test_embeddings_of_integer_rows() -> None:
    result = fit(double(Words), TOKENS, Y, epochs=2, seeds=1)
    assert result.about["engine"] == "vectorized, eager"
    assert result.tensor_names == ("head.weight",)
    loop = alone(double(Words), TOKENS, epochs=2, seeds=1)
    assert_same_result(result, loop, rtol=2e-6, atol=1e-6)


def test_running_statistics_count_real_rows_only() -> None:
    model = double(VECTORIZED["batch norm"])
    result = fit(model, X, Y, batch_size=12, seeds=1, epochs=1)  # 21, 22 and 32 rows
    hand = by_hand(
        model, X, Y, result.folds, Group(ALL_ROWS, 0), lambda n: SGD(n.parameters()),
        epochs=1, batch_size=12,
    )  # fmt: skip
    assert result.refit is not None
    for name in ("1.running_mean", "1.running_var", "1.num_batches_tracked"):
        kept = result.refit.weights[name][0, 0]
        torch.testing.assert_close(kept, hand.model.state_dict()[name], rtol=1e-12, atol=1e-13)


class MaskedByHand(nn.Module):
    """Two linear layers with masks written out: fold, seed, step and call give the numbers."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.one, self.two, self.rate = nn.Linear(4, 5).double(), nn.Linear(5, 3).double(), rate
        self.step = 0

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.one(x)
        if self.training:
            self.step += 1
            uniform = drawn(Group(ALL_ROWS, 0), self.step)(0, hidden.numel()).view(hidden.shape)
            hidden = hidden * (uniform >= self.rate) / (1 - self.rate)
        return self.two(hidden)


def test_dropout_equals_masks_written_out() -> None:
    model = lambda: nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.3), nn.Linear(5, 3)).double()  # noqa: E731
    result = fit(model, X, Y, seeds=1)
    by = by_hand(
        lambda: MaskedByHand(0.3), X, Y, result.folds, Group(ALL_ROWS, 0),
        lambda n: SGD(n.parameters()),
    )  # fmt: skip
    assert result.refit is not None
    for ours, theirs in {"0.weight": "one.weight", "2.weight": "two.weight"}.items():
        kept = result.refit.weights[ours][0, 0]
        torch.testing.assert_close(kept, by.weights()[theirs], rtol=1e-9, atol=1e-10)


def masks(steps: int, calls: int, size: int, rate: float, seed: int = 0) -> Tensor:
    """Which of ``size`` entries each call of each step keeps, (steps, calls, size)."""
    kept = []
    for step in range(steps):
        with replaced(dropout(drawn(Group(0, seed), step))):
            kept.append(torch.stack([F.dropout(torch.ones(size), rate) for _ in range(calls)]))
    return torch.stack(kept)


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_masks_keep_the_right_share_and_the_mean(rate: float) -> None:
    values = masks(steps=50, calls=4, size=1000, rate=rate)
    n = values.numel()
    share = (values > 0).double().mean()
    assert abs(share - (1 - rate)) < 4 * (rate * (1 - rate) / n) ** 0.5
    torch.testing.assert_close(values.max(), torch.tensor(1 / (1 - rate)))
    per_entry = (values > 0).double().mean((0, 1))
    spread = (rate * (1 - rate) / 200) ** 0.5
    assert (per_entry - (1 - rate)).abs().max() < 5 * spread


def test_masks_of_steps_calls_and_seeds_are_independent() -> None:
    kept = (masks(steps=40, calls=3, size=2000, rate=0.5) > 0).double().flatten(0, 1)
    other = (masks(steps=40, calls=3, size=2000, rate=0.5, seed=1) > 0).double().flatten(0, 1)
    table = torch.cat([kept, other])
    correlation = torch.corrcoef(table) - torch.eye(len(table))
    assert correlation.abs().max() < 5.5 / 2000**0.5
    assert abs(correlation.std() - 2000**-0.5) < 0.1 * 2000**-0.5
    shifted = (kept[:, 1:] * 2 - 1) * (kept[:, :-1] * 2 - 1)
    assert abs(shifted.mean()) < 4 / shifted.numel() ** 0.5


def test_torchs_functions_are_back_afterwards_even_after_an_error() -> None:
    before = F.dropout, F.batch_norm, F.scaled_dot_product_attention
    with pytest.raises(RuntimeError), replaced(dropout(drawn(Group(0, 0), 1))):
        torch.ones(2).view(3)
    assert (F.dropout, F.batch_norm, F.scaled_dot_product_attention) == before
