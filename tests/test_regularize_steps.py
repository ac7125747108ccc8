"""When a penalty acts within a step, and what is left when a step fails."""

from __future__ import annotations

import copy
import gc
import pickle
from functools import partial
from typing import Any

import pytest
import torch
from _training import (
    STRENGTH,
    assert_same,
    batches,
    data_loss,
    forward_backward,
    make_net,
    train,
)
from torch import nn
from torch.optim import LBFGS, SGD, Adam, Optimizer
from torch.testing import assert_close

from shrinkage.errors import ShrinkageWarning
from shrinkage.penalties import L1, L2
from shrinkage.regularizing.regularize import regularize


class Twice(SGD):
    """Evaluates its closure twice in a step, as sharpness-aware minimization does."""

    def step(self, closure: Any = None) -> Any:
        with torch.enable_grad():
            closure()
        return super().step(closure)


@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
def test_c14_a_closure_evaluated_twice_is_one_application(how: str) -> None:
    SGD([torch.zeros(1)], lr=0.1)  # from the first one on, torch runs hooks in SGD.step too
    twice = train(partial(Twice, lr=0.1), penalty=L2(STRENGTH), how=how, closure=True)
    assert_same(twice, train(partial(SGD, lr=0.1), penalty=L2(STRENGTH), how=how))


class OwnSGD(SGD):
    def step(self, closure: Any = None) -> Any:
        return super().step(closure)


class OwnLBFGS(LBFGS):
    def step(self, closure: Any) -> Any:
        return super().step(closure)


@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
@pytest.mark.parametrize("closure", [False, True])
def test_c14_a_step_inside_a_step_is_one_application(how: str, closure: bool) -> None:
    def trained(kind: type[Optimizer]) -> tuple[nn.Module, list[Any]]:
        model = make_net()
        optimizer = kind(model.parameters(), lr=0.1)  # type: ignore[call-arg]
        handle = regularize(model, optimizer, L2(0.1), how=how)
        regularize(model, optimizer, L1(0.01), how="coupled")
        losses = []
        for batch in batches():
            compute = partial(forward_backward, model, optimizer, batch)
            if closure:
                losses.append(optimizer.step(compute))
            else:
                compute()
                optimizer.step()
        assert handle.state_dict()["step"] == len(list(batches()))
        return model, losses

    kinds = (LBFGS, OwnLBFGS) if closure and how == "coupled" else (SGD, OwnSGD)
    (plain, losses), (own, own_losses) = map(trained, kinds)
    assert_same(plain, own)  # torch's own SGD scales its weights, which rounds elsewhere
    assert_close(losses, own_losses)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's compiler itself
@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
def test_fault_35_a_compiled_step_does_the_same_and_compiles_once(how: str) -> None:
    from torch._dynamo.testing import CompileCounter

    torch.compiler.reset()  # else other tests use up what the compiler keeps of a function
    counter = CompileCounter()

    def trained(compiled: bool) -> nn.Module:
        model = make_net()
        optimizer = Adam(model.parameters(), lr=torch.tensor(0.01))
        handle = regularize(model, optimizer, L2(torch.tensor(0.1)), how=how)
        step = torch.compile(optimizer.step, backend=counter) if compiled else optimizer.step
        for number, batch in enumerate(batches(6)):
            optimizer.zero_grad()
            data_loss(model, batch).backward()
            step()
            handle.penalty = handle.penalty.at(torch.tensor(0.1 / (number + 1)))
        return model

    assert_same(trained(compiled=True), trained(compiled=False), rtol=0, atol=1e-5)
    assert 0 < counter.frame_count <= 3


def test_strength_can_change_on_the_way() -> None:
    model = nn.Linear(2, 2, bias=False)
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, L2(torch.tensor(0.1)))
    before = model.weight.detach().clone()
    model(torch.zeros(1, 2)).sum().backward()
    handle.penalty = handle.penalty.at(0.3)
    optimizer.step()
    assert_close(model.weight.detach(), before * (1 - 0.1 * 2 * 0.3))


def test_remove_really_removes() -> None:
    model = nn.Linear(2, 2, bias=False)
    optimizer = SGD(model.parameters(), lr=0.1)
    with regularize(model, optimizer, L2(1.0)) as handle:
        assert handle.attached
    assert not handle.attached
    handle.remove()
    before = model.weight.detach().clone()
    model(torch.zeros(1, 2)).sum().backward()
    optimizer.step(lambda: None)
    optimizer.step()
    assert torch.equal(model.weight, before)
    assert "removed" in str(handle.summary())
    assert_close(handle.value(), L2(1.0).value(before))
    regularize(model, optimizer, L2(1.0))


def test_model_and_optimizer_state_are_unchanged_by_the_hook() -> None:
    model = make_net()
    optimizer = Adam(model.parameters())
    keys = list(model.state_dict()), list(optimizer.state_dict())
    handle = regularize(model, optimizer, L2(STRENGTH))
    assert (list(model.state_dict()), list(optimizer.state_dict())) == keys
    optimizer.load_state_dict(optimizer.state_dict())
    assert handle.attached
    pickle.dumps((model, optimizer))


def test_an_optimizer_without_its_penalty_is_copied_in_silence() -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    before = optimizer.defaults
    regularize(model, optimizer, L2(STRENGTH)).remove()
    assert copy.deepcopy(optimizer).defaults == before
    assert "copied optimizer" not in str(optimizer.state_dict())


@pytest.mark.parametrize("clone", [copy.deepcopy, lambda o: pickle.loads(pickle.dumps(o))])
def test_fault_29_a_copied_optimizer_has_no_penalty_and_the_handle_says_so(clone: Any) -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, L2(STRENGTH))
    with pytest.warns(ShrinkageWarning, match="copied optimizer: the copy has no penalty"):
        optimizer = clone(optimizer)
    assert type(optimizer.defaults) is dict
    gc.collect()
    assert not handle.attached
    assert "NOT ACTING" in str(handle.summary())
    assert not any(row["penalized"] for row in handle.summary().rows)
    with pytest.warns(UserWarning, match="NOT ACTING"):
        handle.value()
