"""What others do around a step: hooks, checkpoints, pruning, a second optimizer."""

from __future__ import annotations

import copy
from functools import partial
from itertools import islice
from typing import Any

import pytest
import torch
from _training import assert_same, batches, forward_backward, make_net
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from shrinkage import L1, L2, MaxNorm, regularize
from shrinkage.schedules import linear

FUSED = [partial(SGD, lr=0.1, fused=True), partial(AdamW, lr=0.01, weight_decay=0.0, fused=True)]


def groups(optimizer: Optimizer) -> list[dict[str, Any]]:
    return [{**group, "params": list(map(id, group["params"]))} for group in optimizer.param_groups]


@pytest.mark.parametrize("make", FUSED, ids=["SGD", "AdamW"])
@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
def test_hooks_of_others_see_the_groups_that_the_user_made(make: Any, how: str) -> None:
    model = nn.Linear(1100, 1000)
    optimizer, seen = make(model.parameters()), []
    schedule = LambdaLR(optimizer, lambda step: 1 / (1 + step))
    optimizer.register_step_post_hook(lambda *_: schedule.step())
    optimizer.register_step_pre_hook(lambda o, *_: seen.append(groups(o)))
    regularize(model, optimizer, L2(0.3), how=how)
    optimizer.register_step_pre_hook(lambda o, *_: seen.append(groups(o)))
    optimizer.register_step_post_hook(lambda o, *_: seen.append(groups(o)))
    before = groups(optimizer)
    model(torch.ones(2, 1100)).sum().backward()
    optimizer.step()
    lr = seen[-1][0]["lr"]
    assert seen == [before, before, [{**before[0], "lr": lr}]]


def test_a_step_that_fails_leaves_the_groups_as_they_were() -> None:
    model = nn.Linear(1100, 1000)
    optimizer = Adam(model.parameters(), lr=0.01, fused=True)
    regularize(model, optimizer, L2(0.1))
    for _ in range(2):
        model(torch.ones(2, 1100)).sum().backward()
        before = groups(optimizer)
        optimizer.step()
        optimizer.state[model.weight].pop("exp_avg")
        with pytest.raises(KeyError):
            optimizer.step()
        assert groups(optimizer) == before
        optimizer.state.clear()


def steps(model: nn.Module, optimizer: Optimizer, count: int, skip: int = 0) -> None:
    for batch in islice(batches(), skip, skip + count):
        forward_backward(model, optimizer, batch)
        optimizer.step()
        optimizer.zero_grad()


OPTIMIZERS = {
    "Adam": partial(Adam, lr=0.01),
    "Adam with a rate in a tensor": partial(Adam, lr=torch.tensor(0.01)),
    "SGD": partial(SGD, lr=0.1),
    "SGD with momentum": partial(SGD, lr=0.1, momentum=0.9),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("penalty", [L2(1.0), L1(0.1), MaxNorm(0.1)], ids=repr)
def test_to_read_the_state_of_a_new_optimizer_is_no_step(name: str, penalty: Any) -> None:
    def trained(penalized_first: bool) -> nn.Module:
        model = make_net()
        optimizer = OPTIMIZERS[name](model.parameters())
        before = copy.deepcopy(model)
        if not penalized_first:
            get_optimizer_state_dict(model, optimizer)  # Adam counts it as a step
        handle = regularize(model, optimizer, penalty)
        get_optimizer_state_dict(model, optimizer)
        assert all(map(torch.equal, model.parameters(), before.parameters()))
        assert handle.state_dict()["step"] == 0
        steps(model, optimizer, 2)
        assert handle.state_dict()["step"] == 2
        return model

    assert_same(trained(penalized_first=True), trained(penalized_first=False))


@pytest.mark.parametrize("optimizer_first", [True, False])
def test_a_training_resumes_in_whatever_order_its_parts_are_loaded(optimizer_first: bool) -> None:
    def made() -> Any:
        model = make_net()
        optimizer = Adam(model.parameters(), lr=0.01)
        schedule = linear(0.0, 1.0, steps=4)
        return model, optimizer, regularize(model, optimizer, L2(1.0), schedule=schedule)

    straight, optimizer, _ = made()
    steps(straight, optimizer, 4)
    model, optimizer, handle = made()
    steps(model, optimizer, 2)
    saved = get_optimizer_state_dict(model, optimizer), handle.state_dict(), model.state_dict()
    saved = copy.deepcopy(saved)
    resumed, optimizer, handle = made()
    resumed.load_state_dict(saved[2])
    loads = [
        lambda: set_optimizer_state_dict(resumed, optimizer, saved[0]),
        lambda: handle.load_state_dict(saved[1]),
    ]
    for load in loads if optimizer_first else reversed(loads):
        load()
    steps(resumed, optimizer, 2, skip=2)
    assert_same(resumed, straight)


def test_a_step_with_a_rate_of_zero_that_has_gradients_or_a_closure_counts() -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.0)
    handle = regularize(model, optimizer, L2(0.1))
    steps(model, optimizer, 1)
    optimizer.step(lambda: model(torch.ones(1, 4, dtype=torch.double)).sum())
    assert handle.state_dict()["step"] == 2
