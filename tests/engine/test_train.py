"""Members trained together equal members trained by hand, however they are cut into chunks."""

from __future__ import annotations

import functools
import importlib
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from _problems import (
    SMALL,
    assert_same_result,
    by_hand,
    classes,
    fit,
    linear,
    numbers,
    perceptron,
    split_decay,
    tensors_of,
)
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, RMSprop
from torch.optim.lr_scheduler import StepLR

from shrinkage.engine.plan.chunk import Chunk, make_chunks
from shrinkage.penalties import L1, L2, ElasticNet, GroupLasso, Penalty
from shrinkage.result.path_result import PathResult
from shrinkage.rows.groups import ALL_ROWS, Group

X, Y = classes()
SEEDS = (0, 1)
STRENGTHS = [0.0, 0.01, 0.1]
CLOSE: dict[str, float] = {"rtol": 1e-9, "atol": 1e-10}
SINGLE: dict[str, float] = {"rtol": 2e-6, "atol": 1e-6}
"""Outputs and curves are kept in float32."""


def assert_members_equal_hands(result: PathResult, model: Any, hand: Any) -> None:
    """Compare every member of a path with ``hand(group, strength)``."""
    assert result.about["engine"].startswith("vectorized")
    for k, strength in enumerate(STRENGTHS):
        for s, seed in enumerate(SEEDS):
            alone = hand(Group(ALL_ROWS, seed), strength)
            for name, tensor in alone.weights().items():
                torch.testing.assert_close(result.refit.weights[name][k, s], tensor, **CLOSE)
            curve = torch.tensor(alone.train_loss)
            torch.testing.assert_close(result.refit.train_loss[k, s], curve, **SINGLE)
            for fold in range(result.n_folds):
                alone = hand(Group(fold, seed), strength)
                curve = torch.tensor(alone.train_loss)
                torch.testing.assert_close(result.train_loss[k, fold, s], curve, **SINGLE)
                held = (result.folds == fold).nonzero()[:, 0]
                outputs = alone.model(X[held]).detach()
                kept = result.predictions[k, s, held]
                torch.testing.assert_close(kept, outputs.float(), **SINGLE)
                valid = F.cross_entropy(outputs, Y[held])
                torch.testing.assert_close(
                    result.valid_loss[k, fold, s, -1], valid.float(), **SINGLE
                )
                own = F.cross_entropy(alone.model(X[alone.rows]), Y[alone.rows]).detach()
                torch.testing.assert_close(result.fit_loss[k, fold, s], own.float(), **SINGLE)


COUPLED = {
    "sgd": functools.partial(SGD, lr=0.1),
    "momentum": functools.partial(SGD, lr=0.1, momentum=0.9, nesterov=True),
    "adam": functools.partial(Adam, lr=0.02),
    "rmsprop": functools.partial(RMSprop, lr=0.02, momentum=0.5, centered=True),
}


@pytest.mark.parametrize("name", COUPLED)
def test_coupled_l2_is_weight_decay(name: str) -> None:
    make = COUPLED[name]
    result = fit(perceptron(), X, Y, L2(1.0), optimizer=make)

    def hand(group: Group, strength: float) -> Any:
        decayed = lambda net: make(split_decay(net, 2 * strength))  # noqa: E731
        return by_hand(perceptron(), X, Y, result.folds, group, decayed)

    assert_members_equal_hands(result, perceptron(), hand)


def test_decoupled_l2_under_adam_is_adamw() -> None:
    make = functools.partial(Adam, lr=0.05)
    result = fit(perceptron(), X, Y, L2(1.0), optimizer=make, how="decoupled")

    def hand(group: Group, strength: float) -> Any:
        decayed = lambda net: AdamW(split_decay(net, 2 * strength), lr=0.05)  # noqa: E731
        return by_hand(perceptron(), X, Y, result.folds, group, decayed)

    assert_members_equal_hands(result, perceptron(), hand)


@pytest.mark.parametrize("penalty", [L1(1.0), GroupLasso(1.0), ElasticNet(1.0, l1_ratio=0.7)])
@pytest.mark.parametrize("optimizer", ["momentum", "adam"])
def test_proximal_is_the_prox_after_every_step_by_hand(penalty: Penalty, optimizer: str) -> None:
    make = COUPLED[optimizer]
    result = fit(perceptron(), X, Y, penalty, optimizer=make)
    assert result.about["plan"]["how"] == "proximal"

    def hand(group: Group, strength: float) -> Any:
        def shrink(net: nn.Module, lr: float) -> None:
            with torch.no_grad():
                for layer in (net[0], net[2]):
                    layer.weight.copy_(penalty.at(strength).prox(layer.weight, lr))

        start = lambda net: make(net.parameters())  # noqa: E731
        return by_hand(perceptron(), X, Y, result.folds, group, start, after_step=shrink)

    assert_members_equal_hands(result, perceptron(), hand)
    zeros = (result.refit.weights["0.weight"] == 0).double().mean((-1, -2))
    torch.testing.assert_close(result.refit.sparsity[..., 0], zeros.float())


def test_coupled_is_the_penalty_in_the_loss_whatever_the_penalty() -> None:
    make = COUPLED["momentum"]
    result = fit(perceptron(), X, Y, L1(1.0), optimizer=make, how="coupled")

    def hand(group: Group, strength: float) -> Any:
        nets: list[nn.Module] = []

        def start(net: nn.Module) -> Any:
            nets.append(net)
            return make(net.parameters())

        def loss(output: Tensor, target: Tensor) -> Tensor:
            return F.cross_entropy(output, target) + L1(strength)(nets[0])

        return by_hand(perceptron(), X, Y, result.folds, group, start, loss=loss)

    for k, strength in enumerate(STRENGTHS):
        alone = hand(Group(ALL_ROWS, 0), strength)
        for name, tensor in alone.weights().items():
            torch.testing.assert_close(result.refit.weights[name][k, 0], tensor, **CLOSE)


def test_the_learning_rate_follows_the_schedule() -> None:
    make = functools.partial(SGD, lr=0.3, momentum=0.5)
    schedule = functools.partial(StepLR, step_size=1, gamma=0.4)
    result = fit(perceptron(), X, Y, L1(1.0), optimizer=make, scheduler=schedule, how="coupled")
    alone = by_hand(
        perceptron(), X, Y, result.folds, Group(ALL_ROWS, 1), lambda net: make(net.parameters()),
        make_scheduler=schedule,
    )  # fmt: skip
    for name, tensor in alone.weights().items():
        torch.testing.assert_close(result.refit.weights[name][0, 1], tensor, **CLOSE)


@pytest.mark.parametrize("batch_size", [1, 7, 8, 21, 22, 32, 500])
def test_every_batch_size_equals_a_data_loader(batch_size: int) -> None:
    result = fit(linear(), X, Y, batch_size=batch_size, epochs=2, strengths=[0.1], seeds=1)
    for k, strength in enumerate([0.0, 0.1]):
        alone = by_hand(
            linear(), X, Y, result.folds, Group(ALL_ROWS, 0), epochs=2, batch_size=batch_size,
            make_optimizer=lambda net, s=strength: SMALL["optimizer"](split_decay(net, 2 * s)),
        )  # fmt: skip
        for name, tensor in alone.weights().items():
            torch.testing.assert_close(result.refit.weights[name][k, 0], tensor, **CLOSE)


def test_strength_zero_is_no_penalty() -> None:
    paths = [fit(perceptron(), X, Y, p, how=how) for p, how in
             [(L2(1.0), "coupled"), (L2(1.0), "decoupled"), (L1(1.0), "proximal"),
              (GroupLasso(1.0), "proximal"), (ElasticNet(1.0), "proximal")]]  # fmt: skip
    for path in paths[1:]:
        for name, tensor in path.refit.weights.items():
            assert torch.equal(tensor[0], paths[0].refit.weights[name][0])
        assert torch.equal(path.predictions[0], paths[0].predictions[0])


def test_the_same_run_twice_has_the_same_bits() -> None:
    torch.manual_seed(1)
    one = fit(perceptron(), X, Y, optimizer=COUPLED["adam"], test=(X[:9], Y[:9]))
    torch.manual_seed(2)
    two = fit(perceptron(), X, Y, optimizer=COUPLED["adam"], test=(X[:9], Y[:9]))
    assert_same_result(one, two, rtol=0, atol=0)


# chunks: 5 strengths x (3 folds + refit) x 1 seed = 20 members


@functools.cache
def whole(penalty: Penalty, optimizer: str) -> PathResult:
    return chunked(penalty, optimizer, None)


def chunked(penalty: Penalty, optimizer: str, chunk: int | None) -> PathResult:
    strengths = [0.001, 0.01, 0.03, 0.1]
    make = COUPLED[optimizer]
    settings = {"strengths": strengths, "optimizer": make, "seeds": 1, "epochs": 2}
    return fit(perceptron(), X, Y, penalty, chunk=chunk, **settings)


L2_PENALTY, L1_PENALTY = L2(1.0), L1(1.0)


@pytest.mark.parametrize("chunk", [1, 2, 3, 4, 7, 11, 20])
def test_chunk_size_changes_nothing(chunk: int) -> None:
    pair = (L2_PENALTY, "adam") if chunk % 2 else (L1_PENALTY, "momentum")
    cut = chunked(*pair, chunk)
    assert_same_result(cut, whole(*pair), rtol=1e-6, atol=1e-7)
    for name, tensor in whole(*pair).refit.weights.items():
        torch.testing.assert_close(cut.refit.weights[name], tensor, **CLOSE)


def test_one_unit_rounds_the_same_in_every_chunk() -> None:
    wide = torch.randn(60, 784, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(60.0) / 60
    model = nn.Sequential(nn.Linear(784, 1), nn.Flatten(0))
    settings = {"strengths": [0.001, 0.01, 0.1], "seeds": 1, "epochs": 2}
    one, two = (fit(model, wide, targets, L2(1.0), chunk=c, **settings) for c in (1, 4))
    assert_same_result(one, two, rtol=0, atol=0)


def test_max_memory_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def watched(*args: Any, **kwargs: Any) -> list[Chunk]:
        chunks = make_chunks(*args, **kwargs)
        sizes.append(max(chunk.members for chunk in chunks))
        return chunks

    module = importlib.import_module("shrinkage.engine.run.together")
    monkeypatch.setattr(module, "make_chunks", watched)
    free = fit(linear(), X, Y)
    tight = fit(linear(), X, Y, max_memory=5000)
    assert sizes[1] < sizes[0]
    assert_same_result(tight, free, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("order", [slice(None, None, -1), slice(0, None)])
def test_strengths_in_another_company_change_nothing(order: slice) -> None:
    given = [0.001, 0.01, 0.1]
    path = fit(perceptron(), X, Y, L1_PENALTY, strengths=given[order])
    alone = fit(perceptron(), X, Y, L1_PENALTY, strengths=[0.01])
    torch.testing.assert_close(path.predictions[2], alone.predictions[1], rtol=1e-6, atol=1e-7)
    for name, tensor in alone.refit.weights.items():
        torch.testing.assert_close(path.refit.weights[name][2], tensor[1], **CLOSE)


def test_seeds_in_another_company_change_nothing() -> None:
    both = fit(perceptron(), X, Y, seeds=[4, 9])
    one = fit(perceptron(), X, Y, seeds=[9])
    for name, tensor in one.refit.weights.items():
        torch.testing.assert_close(both.refit.weights[name][:, 1:], tensor, **CLOSE)
    assert not torch.equal(both.refit.weights["0.weight"][:, 0], tensor_of(both)[:, 1])


def tensor_of(result: PathResult) -> Tensor:
    return result.refit.weights["0.weight"]


def test_folds_of_different_length_wait_for_nobody() -> None:
    folds = torch.tensor([0] * 20 + [1] * 12)[torch.randperm(32)]
    both = fit(perceptron(), X, Y, folds=folds, batch_size=4, seeds=1)
    make = SMALL["optimizer"]
    for fold in range(2):
        alone = by_hand(
            perceptron(), X, Y, folds, Group(fold, 0), lambda net: make(net.parameters()),
            batch_size=4,
        )  # fmt: skip
        held = (folds == fold).nonzero()[:, 0]
        outputs = alone.model(X[held]).detach().float()
        torch.testing.assert_close(both.predictions[0, 0, held], outputs, **SINGLE)


def test_many_workers_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("shrinkage.engine.run.together")
    one = fit(perceptron(), X, Y, chunk=2, epochs=2, test=(X[:9], Y[:9]))
    monkeypatch.setattr(module, "worker_count", lambda: 3)
    monkeypatch.setattr(module, "WORTH_FORKING", 0)
    many = fit(perceptron(), X, Y, chunk=2, epochs=2, test=(X[:9], Y[:9]))
    assert_same_result(many, one, rtol=0, atol=0)


# divergence is data


def test_an_overflowing_strength_is_marked_and_touches_nobody() -> None:
    X, y = numbers()
    make = functools.partial(SGD, lr=0.05)
    settings = {"optimizer": make, "epochs": 3, "batch_size": 8, "chunk": 1000}
    sick = fit(nn.Linear(4, 1).double(), X, y, strengths=[0.01, 1e60], **settings)
    well = fit(nn.Linear(4, 1).double(), X, y, strengths=[0.01, 0.02], **settings)
    assert (well.diverged == -1).all()
    assert (sick.diverged[2] > 0).all()
    assert (sick.refit.diverged[2] > 0).all()
    for result in (sick.valid_loss[..., -1], sick.fit_loss, sick.train_loss[..., -1]):
        assert result[2].isnan().all()
    assert sick.predictions[2].isnan().all()
    assert sick.refit.fit_loss[2].isnan().all()
    for name, tensor in tensors_of(sick):
        healthy = dict(tensors_of(well))[name]
        if name not in ("strengths", "folds", "targets"):
            assert torch.equal(tensor[:2], healthy[:2]), name


def test_the_step_of_divergence_is_the_one_by_hand() -> None:
    X, y = numbers()
    make = functools.partial(SGD, lr=1.0)
    strengths = [0.01, 1e30]
    result = fit(nn.Linear(4, 1).double(), X, y, strengths=strengths, optimizer=make, epochs=4)
    losses: list[float] = []

    def loss(output: Tensor, target: Tensor) -> Tensor:
        value = F.mse_loss(output[:, 0], target)
        losses.append(float(value.detach()))
        return value

    start = lambda net: make(split_decay(net, 2e30))  # noqa: E731
    model = nn.Linear(4, 1).double()
    by_hand(model, X, y, result.folds, Group(ALL_ROWS, 0), start, loss=loss, epochs=4)
    first = next(i for i, value in enumerate(losses) if not value < float("inf"))
    assert int(result.refit.diverged[2, 0]) == first + 1
    epoch = first // 4
    assert result.refit.train_loss[2, 0].isnan().tolist() == [e >= epoch for e in range(4)]


def test_a_member_that_overflows_in_its_last_step_is_marked_too() -> None:
    X, y = numbers()
    make = functools.partial(SGD, lr=1.0)
    settings = {"optimizer": make, "epochs": 1, "batch_size": 32, "seeds": 1}
    result = fit(nn.Linear(4, 1).double(), X, y, strengths=[0.01, 1.7e308], **settings)
    assert result.diverged[2].tolist() == [[1]] * 3
    assert result.valid_loss[2].isnan().all()
    assert result.fit_loss[2].isnan().all()
    assert (result.diverged[:2] == -1).all()
