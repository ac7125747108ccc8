"""Rows and classes that weigh more than others, and several targets a row."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from _problems import SGD, assert_same_result, by_hand, classes, fit, numbers, perceptron
from torch import Tensor, nn

from shrinkage.choose import curve, minimum
from shrinkage.result.path_result import PathResult
from shrinkage.rows.groups import ALL_ROWS, Group

X, Y = classes()
XN, T = numbers()
W = 0.2 + torch.rand(32, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
CLASS_WEIGHTS = torch.tensor([1.0, 3.0, 0.5], dtype=torch.float64)
BOTH = torch.stack([T, XN[:, 2] - T], 1)
LABELS = (BOTH > 0).double()

TEST = (X[:5], Y[:5])
ENGINES: dict[str, Any] = {"vectorized": SGD, "one by one": lambda parameters: SGD(parameters)}


def weighted(values: Tensor, rows: Tensor, weights: Tensor) -> Tensor:
    return (values * weights[rows]).sum() / weights[rows].sum()


class Indexed(nn.Module):
    """Carries the row's number through the net, so that a loss by hand finds its weight."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.net(x[:, 1:]), x[:, :1]], 1)


@pytest.mark.parametrize("engine", ENGINES)
def test_sample_weights_weigh_every_mean(engine: str) -> None:
    result = fit(perceptron, X, Y, sample_weight=W, seeds=1, optimizer=ENGINES[engine], test=TEST)
    assert result.about["engine"].startswith(engine)
    numbered = torch.cat([torch.arange(32).double().unsqueeze(1), X], 1)

    def loss(output: Tensor, target: Tensor) -> Tensor:
        rows = output[:, -1].long()
        return weighted(F.cross_entropy(output[:, :-1], target, reduction="none"), rows, W)

    for fold in (ALL_ROWS, 1):
        hand = by_hand(
            lambda: Indexed(perceptron()), numbered, Y, result.folds, Group(fold, 0),
            lambda net: SGD(net.parameters()), loss=loss,
        )  # fmt: skip
        every = F.cross_entropy(hand.model(numbered)[:, :-1], Y, reduction="none").detach()
        fit_loss = weighted(every[hand.rows], hand.rows, W).float()
        if fold == ALL_ROWS:
            assert result.refit is not None
            for name, tensor in hand.weights().items():
                kept = result.refit.weights[name.removeprefix("net.")][0, 0]
                torch.testing.assert_close(kept, tensor, rtol=1e-9, atol=1e-10)
            torch.testing.assert_close(result.refit.fit_loss[0, 0], fit_loss)
            assert result.refit.test_loss is not None
            tested = result.refit.test_loss[0, 0].float()
            torch.testing.assert_close(tested, every[:5].mean().float())
        else:
            held = (result.folds == fold).nonzero().flatten()
            valid = weighted(every[held], held, W).float()
            torch.testing.assert_close(result.valid_loss[0, fold, 0, -1], valid)
            torch.testing.assert_close(result.fit_loss[0, fold, 0], fit_loss)


def test_folds_weigh_what_their_rows_do(tmp_path: Path) -> None:
    result = fit(perceptron(), X, Y, sample_weight=W, seeds=1)
    assert torch.equal(result.row_weights, W)
    per_row = result.predictions[0, 0].double().log_softmax(1).gather(1, Y[:, None]).neg()[:, 0]
    mean = (W * per_row).sum() / W.sum()
    torch.testing.assert_close(curve(result).mean[0], mean, rtol=1e-5, atol=0)
    result.save(tmp_path / "run")
    assert torch.equal(PathResult.load(tmp_path / "run").row_weights, W)


def test_equal_weights_are_no_weights() -> None:
    plain = fit(perceptron(), X, Y, seeds=1)
    equal = fit(perceptron(), X, Y, seeds=1, sample_weight=torch.full((32,), 7.0))
    assert_same_result(plain, equal, rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("engine", ENGINES)
def test_class_weights_are_those_of_torch(engine: str, smoothing: float) -> None:
    module = nn.CrossEntropyLoss(weight=CLASS_WEIGHTS, label_smoothing=smoothing)
    result = fit(perceptron(), X, Y, loss=module, seeds=1, optimizer=ENGINES[engine], test=TEST)
    hand = by_hand(
        perceptron(), X, Y, result.folds, Group(ALL_ROWS, 0),
        lambda net: SGD(net.parameters()), loss=module,
    )  # fmt: skip
    assert result.refit is not None
    for name, tensor in hand.weights().items():
        kept = result.refit.weights[name][0, 0]
        torch.testing.assert_close(kept, tensor, rtol=1e-9, atol=1e-10)
    whole, tested = (module(hand.model(x), y).float() for x, y in ((X, Y), TEST))
    torch.testing.assert_close(result.refit.fit_loss[0, 0], whole)
    assert result.refit.test_loss is not None
    torch.testing.assert_close(result.refit.test_loss[0, 0].float(), tested)
    if not smoothing:
        one = fit(perceptron(), X, Y, seeds=1, sample_weight=CLASS_WEIGHTS[Y])
        assert_same_result(one, fit(perceptron(), X, Y, seeds=1, loss=module), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_knob_smooths_weighted_classes_as_torch_does(engine: str) -> None:
    module = nn.CrossEntropyLoss(weight=CLASS_WEIGHTS)
    grid = {"label_smoothing": [0.0, 0.3]}
    result = fit(perceptron(), X, Y, loss=module, grid=grid, seeds=1, optimizer=ENGINES[engine])
    for smoothing in (0.0, 0.3):
        part = result.slice(label_smoothing=smoothing)
        hand = by_hand(
            perceptron(), X, Y, result.folds, Group(ALL_ROWS, 0), lambda net: SGD(net.parameters()),
            loss=nn.CrossEntropyLoss(weight=CLASS_WEIGHTS, label_smoothing=smoothing),
        )  # fmt: skip
        assert part.refit is not None
        for name, tensor in hand.weights().items():
            kept = part.refit.weights[name][0, 0]
            torch.testing.assert_close(kept, tensor, rtol=1e-9, atol=1e-10)
        torch.testing.assert_close(part.refit.fit_loss[0, 0], module(hand.model(X), Y).float())


def test_sample_and_class_weights_multiply() -> None:
    module = nn.CrossEntropyLoss(weight=CLASS_WEIGHTS)
    both = fit(perceptron(), X, Y, seeds=1, sample_weight=W, loss=module)
    product = fit(perceptron(), X, Y, seeds=1, sample_weight=W * CLASS_WEIGHTS[Y])
    assert_same_result(both, product, rtol=1e-6, atol=1e-6)


def test_automatic_strengths_see_the_weights() -> None:
    plain, weighted_one = (
        fit(nn.Linear(4, 3).double(), X, Y, strengths=3, seeds=1, epochs=1, sample_weight=w)
        for w in (None, W**4)
    )
    assert plain.strengths[-1] != weighted_one.strengths[-1]


TARGETS: dict[str, tuple[Tensor, Any, Any]] = {
    "several numbers": (BOTH, "auto", F.mse_loss),
    "several labels": (LABELS, nn.BCEWithLogitsLoss(), F.binary_cross_entropy_with_logits),
    "several labels, weighed": (
        LABELS,
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0, 0.3]).double()),
        nn.BCEWithLogitsLoss(pos_weight=torch.tensor([2.0, 0.3]).double()),
    ),
}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", TARGETS)
def test_several_targets_a_row(name: str, engine: str, tmp_path: Path) -> None:
    y, loss, by_torch = TARGETS[name]
    model = functools.partial(perceptron, 4, 2)
    result = fit(model, XN, y, loss=loss, seeds=1, optimizer=ENGINES[engine], test=(XN[:5], y[:5]))
    assert result.about["engine"].startswith(engine)
    assert torch.equal(result.targets, y)
    assert result.predictions.shape == (3, 1, 32, 2)
    hand = by_hand(
        model, XN, y, result.folds, Group(0, 0), lambda n: SGD(n.parameters()), loss=by_torch
    )
    held = result.folds == 0
    outputs = hand.model(XN[held]).detach()
    torch.testing.assert_close(result.predictions[0, 0, held], outputs.float())
    torch.testing.assert_close(result.valid_loss[0, 0, 0, -1], by_torch(outputs, y[held]).float())
    result.save(tmp_path / "run", choice=minimum(result))
    assert_same_result(PathResult.load(tmp_path / "run"), result, rtol=0, atol=0)
    assert result.refit is not None
    assert result.refit.test_targets is not None
    assert torch.equal(result.refit.test_targets, y[:5])


def test_a_column_of_targets_is_kept_as_a_row() -> None:
    result = fit(perceptron(4, 1), XN, T.unsqueeze(1), seeds=1)
    assert torch.equal(result.targets, T)


def test_kept_weights_are_a_state_dict() -> None:
    class Positioned(nn.Module):
        """Has a buffer that is not saved."""

        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 3).double()
            self.register_buffer("shift", torch.ones(4).double(), persistent=False)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x + self.shift)

    result = fit(Positioned, X, Y, seeds=1)
    assert result.refit is not None
    model = Positioned()
    model.load_state_dict({name: t[0, 0] for name, t in result.refit.weights.items()})
