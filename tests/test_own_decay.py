"""A fused optimizer decays by its own ``weight_decay`` where that is what the penalty would do."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adagrad, Adam, AdamW, Optimizer
from torch.testing import assert_close

from shrinkage import L1, L2, regularize
from shrinkage.regularizing import own_decay
from shrinkage.regularizing.targets import Batches

pytestmark = pytest.mark.filterwarnings("ignore:double decay")

Make = Callable[..., Optimizer]
ADAMW = partial(AdamW, lr=0.01, weight_decay=0.0, fused=True)
CASES: dict[str, tuple[Make, str]] = {
    "sgd": (partial(SGD, lr=0.1, momentum=0.9, fused=True), "coupled"),
    "adagrad": (partial(Adagrad, lr=0.1, fused=True), "coupled"),
    "adam": (partial(Adam, lr=0.01, fused=True), "coupled"),
    "adam maximizes": (partial(Adam, lr=0.01, maximize=True, fused=True), "coupled"),
    "adam decoupled": (partial(Adam, lr=0.01, fused=True), "decoupled"),
    "adamw": (ADAMW, "decoupled"),
    "adamw coupled": (ADAMW, "coupled"),
    "adamw beside its own": (partial(ADAMW, weight_decay=0.2), "decoupled"),
}
LEFT: dict[str, tuple[Make, str, object]] = {
    "other optimizers": (partial(Adam, lr=0.01, foreach=True), "coupled", L2(0.1)),
    "other couplings": (partial(SGD, lr=0.1, fused=True), "decoupled", L2(0.1)),
    "two senses of decay": (partial(ADAMW, weight_decay=0.2), "coupled", L2(0.1)),
    "strength in a tensor": (partial(Adam, lr=0.01, fused=True), "coupled", L2(torch.tensor(0.1))),
    "L1": (partial(Adam, lr=0.01, fused=True), "coupled", L1(0.1)),
}


@pytest.fixture
def lent(monkeypatch: pytest.MonkeyPatch) -> list[Batches]:
    """Let few weights be lent, and note what is not."""
    monkeypatch.setattr(own_decay, "MANY", 1)
    left: list[Batches] = []
    split = own_decay.OwnDecay.split

    def noted(self: own_decay.OwnDecay, optimizer: Optimizer, batches: Batches) -> Batches:
        left.append(split(self, optimizer, batches))
        return left[-1]

    monkeypatch.setattr(own_decay.OwnDecay, "split", noted)
    return left


def make(make_optimizer: Make) -> tuple[nn.Sequential, Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))
    return model, make_optimizer(model.parameters())


def train(model: nn.Module, optimizer: Optimizer, steps: int = 4) -> None:
    torch.manual_seed(1)
    for _ in range(steps):
        optimizer.zero_grad()
        model(torch.randn(8, 4)).square().mean().backward()
        optimizer.step()


def same_groups(optimizer: Optimizer, model: nn.Module) -> bool:
    (group,) = optimizer.param_groups
    return list(map(id, group["params"])) == list(map(id, model.parameters()))


@pytest.mark.parametrize("name", CASES)
def test_it_does_what_the_gradient_does_and_leaves_the_groups_alone(
    name: str, lent: list[Batches]
) -> None:
    make_optimizer, how = CASES[name]
    (model, optimizer), (other, unfused) = make(make_optimizer), make(make_optimizer)
    regularize(model, optimizer, L2(0.1), how=how)
    regularize(other, unfused, L2(torch.tensor(0.1)), how=how)  # which is never lent
    train(model, optimizer)
    assert not any(batches.coupled or batches.decoupled for batches in lent)
    assert same_groups(optimizer, model)
    assert optimizer.param_groups[0]["weight_decay"] == optimizer.defaults["weight_decay"]
    train(other, unfused)
    for w, expected in zip(model.parameters(), other.parameters(), strict=True):
        assert_close(w, expected, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("name", LEFT)
def test_what_it_cannot_do_is_left_to_the_gradient(name: str, lent: list[Batches]) -> None:
    make_optimizer, how, penalty = LEFT[name]
    model, optimizer = make(make_optimizer)
    regularize(model, optimizer, penalty, how=how)
    train(model, optimizer, steps=1)
    assert all(batches.coupled or batches.decoupled for batches in lent)


def test_two_rules_on_one_group_and_a_group_without_penalty(lent: list[Batches]) -> None:
    def trained(native: bool) -> nn.Module:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2), nn.Linear(2, 2))
        groups = [{"params": model[:2].parameters()}, {"params": model[2].parameters(), "lr": 0.1}]
        optimizer = Adam(groups, lr=0.01, fused=True)
        strengths = (0.1, 0.3) if native else (torch.tensor(0.1), torch.tensor(0.3))
        rules = {"0.weight": L2(strengths[0]), "1.weight": L2(strengths[1])}
        regularize(model, optimizer, rules)
        train(model, optimizer)
        assert [len(group["params"]) for group in optimizer.param_groups] == [4, 2]
        return model

    for w, expected in zip(
        trained(native=True).parameters(), trained(native=False).parameters(), strict=True
    ):
        assert_close(w, expected)


def test_a_step_that_fails_loses_nothing(lent: list[Batches]) -> None:
    model, optimizer = make(partial(Adam, lr=0.01, fused=True))
    regularize(model, optimizer, L2(0.1))
    train(model, optimizer)
    saved = copy.deepcopy(optimizer.state_dict())

    def fail() -> None:
        state = optimizer.state[model[2].weight]
        moment = state.pop("exp_avg")
        with pytest.raises(KeyError):
            optimizer.step()
        state["exp_avg"] = moment
        assert len(optimizer.param_groups) == 2

    fail()
    assert optimizer.state_dict()["param_groups"] == saved["param_groups"]
    assert same_groups(optimizer, model)
    fail()
    optimizer.load_state_dict(saved)
    assert same_groups(optimizer, model)
    fail()
    optimizer.add_param_group({"params": [extra := nn.Parameter(torch.ones(2))]})
    train(model, optimizer, steps=1)
    first, second = optimizer.param_groups
    assert len(first["params"]) == 4
    assert second["params"] == [extra]


def test_a_penalty_removed_after_a_step_that_failed_leaves_the_groups_whole(
    lent: list[Batches],
) -> None:
    model, optimizer = make(partial(Adam, lr=0.01, fused=True))
    handle = regularize(model, optimizer, L2(0.1))
    train(model, optimizer)
    optimizer.state[model[2].weight].pop("exp_avg")
    with pytest.raises(KeyError), handle:
        optimizer.step()
    assert same_groups(optimizer, model)


def test_a_removed_penalty_leaves_no_hook() -> None:
    model, optimizer = make(partial(Adam, lr=0.01, fused=True))
    regularize(model, optimizer, L2(0.1)).remove()
    assert not optimizer._optimizer_state_dict_pre_hooks
    assert not optimizer._optimizer_load_state_dict_pre_hooks
