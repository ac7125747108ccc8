"""What others do around a step: hooks, checkpoints, pruning, a second optimizer."""

from __future__ import annotations

import copy
import warnings
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
from torch.nn.utils import prune
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR

from shrinkage import L1, L2, MaxNorm, ShrinkageError, ShrinkageWarning, regularize
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


@pytest.mark.parametrize("penalty", [L2(0.1), L1(0.1), MaxNorm(0.1)], ids=repr)
def test_a_second_optimizer_takes_over_and_nothing_acts_twice(penalty: Any) -> None:
    model, alone = make_net(), make_net()
    first, second = (SGD(model.parameters(), lr=0.1) for _ in range(2))
    former = regularize(model, first, L2(0.1))
    said = r"taken over: 0.weight, 2.weight carried L2\(0.1\), coupled, on an earlier SGD"
    with pytest.warns(ShrinkageWarning, match=said):
        handle = regularize(model, second, penalty)
    assert handle.attached
    assert not former.attached
    assert repr(former) == "L2(0.1), coupled, taken over by a later regularize"
    assert not any(row["penalized"] for row in former.summary().rows)
    third = SGD(alone.parameters(), lr=0.1)
    regularize(alone, third, penalty)
    steps(model, second, 2)
    steps(alone, third, 2)
    assert_same(model, alone)
    steps(model, first, 1, skip=2)
    steps(alone, SGD(alone.parameters(), lr=0.1), 1, skip=2)
    assert_same(model, alone)


def test_a_second_optimizer_for_a_part_takes_nothing_from_the_rest() -> None:
    model = make_net()
    first, second = SGD(model.parameters(), lr=0.1), SGD(model[2].parameters(), lr=0.1)
    former = regularize(model, first, L2(0.1))
    said = r"2.weight already carries .* another optimizer, and so does 0.weight, which .* remove"
    with pytest.raises(ShrinkageError, match=said):
        regularize(model, second, L1(0.1), select="2.weight")
    assert former.attached
    former.remove()
    regularize(model, second, L1(0.1), select="2.weight")


def test_several_optimizers_can_be_made_anew() -> None:
    model = make_net()

    def configure() -> list[Optimizer]:
        optimizers = [SGD(layer.parameters(), lr=0.1) for layer in (model[0], model[2])]
        regularize(model, optimizers[0], L2(0.1), select="0.weight")
        regularize(model, optimizers[1], L1(0.1), select="2.weight")
        return optimizers

    kept = configure()
    with pytest.warns(ShrinkageWarning, match="taken over") as said:
        kept += configure()
    assert len(said) == 2
    assert len(kept) == 4


def trained(steps_done: int) -> Any:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, L2(0.1))
    steps(model, optimizer, steps_done)
    return model, handle


def test_after_a_training_the_handle_says_in_how_many_steps_it_acted() -> None:
    model, handle = trained(3)
    end = "L2(0.1), coupled; acted in 3 steps; its optimizer is gone, so it acts no more"
    summary = handle.summary()
    assert repr(handle) == summary.title == end
    assert [row["name"] for row in summary.rows if row["penalized"]] == ["0.weight", "2.weight"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = handle.value()
    assert value == pytest.approx(sum(row["value"] for row in summary.rows))
    assert value == pytest.approx(float(L2(0.1)(model).detach()))


def test_only_a_handle_that_never_acted_raises_an_alarm() -> None:
    _, handle = trained(0)
    _, done = trained(1)
    loaded = trained(0)[1]
    loaded.load_state_dict(done.state_dict())
    for silent in (handle, loaded, copy.deepcopy(done)):
        assert "NOT ACTING: its optimizer is gone" in repr(silent)
        with pytest.warns(ShrinkageWarning, match="nothing minimizes this value"):
            silent.value()
    assert "acted in 1 step; its optimizer" in repr(done)


def test_a_handle_that_is_removed_after_its_work_shows_it() -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    with regularize(model, optimizer, L2(0.1)) as handle:
        steps(model, optimizer, 2)
    assert repr(handle) == "L2(0.1), coupled; acted in 2 steps; removed"
    assert sum(row["penalized"] for row in handle.summary().rows) == 2


def test_a_layer_that_is_pruned_on_the_way_is_named() -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    regularize(model, optimizer, L2(0.1))
    prune.random_unstructured(model[0], "weight", amount=0.5)
    with pytest.warns(ShrinkageWarning, match=r"no longer penalized: 0.weight_orig, parametrized"):
        steps(model, optimizer, 1)
    prune.remove(model[0], "weight")


def test_a_rate_that_is_none_is_no_rate() -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    optimizer.param_groups[0]["lr"] = None  # as Adafactor, which computes it
    for penalty, how in ((L1(0.1), None), (L2(0.1), "decoupled")):
        with pytest.raises(ShrinkageError, match="needs a learning rate, SGD has none; use how="):
            regularize(model, optimizer, penalty, how=how)
    regularize(model, optimizer, L2(0.1))


def test_a_scripted_model_takes_a_penalty() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        scripted = torch.jit.script(make_net())
    optimizer, plain = SGD(scripted.parameters(), lr=0.1), make_net()
    regularize(scripted, optimizer, L2(0.1))
    other = SGD(plain.parameters(), lr=0.1)
    regularize(plain, other, L2(0.1))
    steps(scripted, optimizer, 3)
    steps(plain, other, 3)
    assert_same(scripted, plain)


class PrivateOptimizer(Optimizer):
    """As that of Opacus: an optimizer around another one that has no hooks of its own."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.original_optimizer = optimizer

    @property
    def param_groups(self) -> Any:
        return self.original_optimizer.param_groups

    def step(self, closure: Any = None) -> Any:
        return self.original_optimizer.step(closure)


def test_a_wrapper_without_hooks_is_looked_into() -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, PrivateOptimizer(optimizer), L2(0.1))
    assert repr(handle) == "L2(0.1), coupled, on SGD inside PrivateOptimizer"


def test_a_hook_sees_what_was_done_by_those_registered_before_it() -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    norms: list[bool] = []

    def look(*_: object) -> None:
        norms.append(bool(model[0].weight.norm(dim=1).max() <= 0.2 + 1e-9))

    optimizer.register_step_post_hook(look)
    regularize(model, optimizer, MaxNorm(0.2))
    optimizer.register_step_post_hook(look)
    steps(model, optimizer, 1)
    assert norms == [False, True]
