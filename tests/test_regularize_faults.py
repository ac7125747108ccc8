"""fault 37: an error in a step or a closure leaves nothing half applied."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from _training import STRENGTH, batches, data_loss, forward_backward, make_net, moved
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, Optimizer
from torch.testing import assert_close

from shrinkage.penalties import L1, L2
from shrinkage.regularizing.regularize import regularize


class Breaks(SGD):
    """Raises in its step as long as ``broken``."""

    broken = True

    def step(self, closure: Any = None) -> Any:
        if closure is not None:
            with torch.enable_grad():
                closure()
        if self.broken:
            raise RuntimeError("broken step")
        return super().step()


@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
@pytest.mark.parametrize("second", [False, True])
def test_fault_37_an_error_in_the_step_leaves_nothing_half_applied(how: str, second: bool) -> None:
    model, expected = make_net(), make_net()
    (batch,) = batches(1)
    for net, broken in ((model, True), (expected, False)):
        optimizer = Breaks(net.parameters(), lr=0.1)
        regularize(net, optimizer, L1(STRENGTH), how=how)
        if second:
            regularize(net, optimizer, L2(STRENGTH))
        data_loss(net, batch).backward()
        if broken:
            start = copy.deepcopy(net)
            with pytest.raises(RuntimeError, match="broken step"):
                optimizer.step()
            assert not moved(net, start)
        optimizer.broken = False
        optimizer.step()
    assert not moved(model, expected)


@pytest.mark.parametrize("how", ["coupled", "decoupled"])
def test_fault_37_a_step_after_an_error_starts_anew(how: str) -> None:
    model = nn.Linear(2, 2, bias=False)
    optimizer = Breaks(model.parameters(), lr=0.1)
    regularize(model, optimizer, L2(STRENGTH), how=how)
    model(torch.zeros(1, 2)).sum().backward()
    with pytest.raises(RuntimeError, match="broken step"):
        optimizer.step()
    optimizer.broken = False
    model.weight.data = torch.ones(2, 2)
    optimizer.zero_grad(set_to_none=False)
    model(torch.zeros(1, 2)).sum().backward()
    optimizer.step()
    assert_close(model.weight.detach(), torch.full((2, 2), 1 - 0.2 * STRENGTH))


@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
def test_fault_37_a_hook_after_ours_that_raises_lets_the_next_step_act_once(how: str) -> None:
    """torch's own optimizers have decoupled weights scaled before the step, as AdamW does."""

    def complain(*_: Any) -> None:
        raise RuntimeError("another hook")

    model, expected = make_net(), make_net()
    (batch,) = batches(1)
    for net, broken in ((model, True), (expected, False)):
        optimizer = Adam(net.parameters(), lr=0.1)
        regularize(net, optimizer, L2(STRENGTH), how=how)
        data_loss(net, batch).backward()
        if broken:
            hook = optimizer.register_step_pre_hook(complain)
            for _ in range(2):
                with pytest.raises(RuntimeError, match="another hook"):
                    optimizer.step()
            hook.remove()
        for _ in range(2):
            optimizer.step()
    assert not moved(model, expected)


@pytest.mark.parametrize("options", [{"foreach": True}, {"foreach": False}])
def test_decoupled_l2_is_adamw_bit_for_bit(options: dict[str, bool]) -> None:
    model, expected = make_net().float(), make_net().float()
    chosen = [w for w in expected.parameters() if w.dim() == 2]
    others = [w for w in expected.parameters() if w.dim() == 1]
    groups = [{"params": chosen}, {"params": others, "weight_decay": 0.0}]
    ours = Adam(model.parameters(), lr=0.01, **options)
    theirs = AdamW(groups, lr=0.01, weight_decay=2 * 0.1, **options)
    regularize(model, ours, L2(0.1), how="decoupled")
    for X, y in batches(5):
        for net, optimizer in ((model, ours), (expected, theirs)):
            forward_backward(net, optimizer, (X.float(), y))
            optimizer.step()
    assert not moved(model, expected)


@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
def test_fault_37_an_error_in_the_closure_leaves_nothing_half_applied(how: str) -> None:
    model, expected = make_net(), make_net()
    (batch,) = batches(1)

    def closure(net: nn.Module, optimizer: Optimizer, broken: bool) -> Tensor:
        optimizer.zero_grad()
        loss = data_loss(net, batch)
        loss.backward()
        if broken:
            raise RuntimeError("broken closure")
        return loss

    for net, broken in ((model, True), (expected, False)):
        optimizer = SGD(net.parameters(), lr=0.1)
        handle = regularize(net, optimizer, L1(STRENGTH), how=how)
        if broken:
            start = copy.deepcopy(net)
            with pytest.raises(RuntimeError, match="broken closure"):
                optimizer.step(partial(closure, net, optimizer, True))
            assert not moved(net, start)
            assert handle.attached
        optimizer.step(partial(closure, net, optimizer, False))
    assert not moved(model, expected)
