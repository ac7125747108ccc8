"""Pitfalls on the way from gradients to a step, each beside an implementation that falls in."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from _pitfalls import COUPLINGS, Attach, differ, nothing, ours, soften_after, weights_of
from _training import (
    STRENGTH,
    assert_same,
    batches,
    data_loss,
    forward_backward,
    make_net,
    moved,
)
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.testing import assert_close

from shrinkage.penalties import L1, L2
from shrinkage.regularize import regularize


def add_gradients_before(model: nn.Module, optimizer: Optimizer) -> None:
    """L2 as a step pre-hook of one line."""

    def hook(*_: object) -> None:
        for w in weights_of(model):
            if w.grad is not None:
                w.grad.add_(w.detach(), alpha=2 * STRENGTH)

    optimizer.register_step_pre_hook(hook)


@pytest.mark.parametrize("how", COUPLINGS)
def test_c1_gradients_that_a_closure_computes_anew(how: str) -> None:
    """What is added before the closure runs is zeroed by it."""

    def trained(attach: Attach, closure: bool) -> nn.Module:
        model = make_net()
        optimizer = SGD(model.parameters(), lr=0.1)
        attach(model, optimizer)
        for batch in batches():
            compute = partial(forward_backward, model, optimizer, batch)
            if not closure:
                compute()
            optimizer.step(compute if closure else None)
        return model

    naive, without = trained(add_gradients_before, True), trained(nothing, True)
    assert not moved(naive, without)
    act = ours(L2(STRENGTH), how)
    assert differ(trained(act, True), without)
    assert_same(trained(act, True), trained(act, False))


def scaled(attach: Attach, scale: float, fused: bool, unscale: bool = False) -> nn.Module:
    """Train with a loss scale and a step that it skips; without either where ``scale`` is 0."""
    model = make_net().float()
    optimizer = Adam(model.parameters(), lr=0.01, fused=fused)
    attach(model, optimizer)
    scaler = torch.amp.GradScaler("cpu", init_scale=scale or 1.0, enabled=scale > 0)
    for step, (X, y) in enumerate(batches(6)):
        if not scale and step == 3:
            continue
        optimizer.zero_grad()
        scaler.scale(data_loss(model, (X.float(), y))).backward()
        if step == 3:
            model[0].weight.grad[0, 0] = torch.inf
        if unscale:
            scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
    assert not scale or scaler.get_scale() == scale / 2
    return model


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("how", COUPLINGS)
@pytest.mark.parametrize("unscale", [False, True])
def test_c2_c3_scaled_gradients_and_skipped_steps(fused: bool, how: str, unscale: bool) -> None:
    act = ours(L1(STRENGTH), how)
    assert_same(scaled(act, 4096.0, fused, unscale), scaled(act, 0, fused), rtol=1e-6, atol=1e-7)


def test_c2_hooks_run_in_a_step_that_a_fused_optimizer_skips() -> None:
    assert differ(scaled(soften_after, 4096.0, True), scaled(soften_after, 0, True))
    assert not differ(scaled(soften_after, 4096.0, False), scaled(soften_after, 0, False))


def test_c3_what_is_added_to_scaled_gradients_is_divided_by_the_scale() -> None:
    naive = scaled(add_gradients_before, 65536.0, True, unscale=False)
    assert differ(naive, scaled(add_gradients_before, 0, True))
    assert not differ(naive, scaled(nothing, 0, True))


@pytest.mark.parametrize("clip_first", [True, False])
def test_c4_fault_34_the_penalty_acts_after_clipping_whoever_comes_first(clip_first: bool) -> None:
    model = nn.Linear(2, 2, bias=False)
    optimizer = SGD(model.parameters(), lr=0.1)

    def clip(*_: object) -> None:
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)

    if clip_first:  # in a hook before ours
        optimizer.register_step_pre_hook(clip)
    regularize(model, optimizer, L2(STRENGTH))
    before = model.weight.detach().clone()
    (100 * model(torch.ones(1, 2))).sum().backward()
    clipped = model.weight.grad / model.weight.grad.norm()
    in_loss = model.weight.grad + 2 * STRENGTH * before
    naive = before - 0.1 * in_loss / in_loss.norm()
    if not clip_first:  # in the loop, after regularize
        clip()
    optimizer.step()
    assert_close(model.weight.detach(), before - 0.1 * (clipped + 2 * STRENGTH * before))
    assert (model.weight.detach() - naive).abs().max() > 1e-4


def test_c4_a_hook_that_clips_after_ours_clips_the_penalty_too() -> None:
    model = nn.Linear(2, 2, bias=False)
    optimizer = SGD(model.parameters(), lr=0.1)
    regularize(model, optimizer, L2(STRENGTH))
    optimizer.register_step_pre_hook(
        lambda *_: nn.utils.clip_grad_norm_(model.parameters(), 1.0) and None
    )
    before = model.weight.detach().clone()
    (100 * model(torch.ones(1, 2))).sum().backward()
    whole = model.weight.grad + 2 * STRENGTH * before
    optimizer.step()
    assert_close(model.weight.detach(), before - 0.1 * whole / whole.norm())


def test_c5_accumulated_micro_batches_get_the_penalty_once() -> None:
    """In the loss, and in hooks on gradients, it counts once for every backward pass."""

    def in_gradient_hooks(model: nn.Module, optimizer: Optimizer) -> None:
        def hook(w: Tensor) -> None:
            w.grad.add_(w.detach(), alpha=2 * STRENGTH)

        for w in weights_of(model):
            w.register_post_accumulate_grad_hook(hook)

    def trained(parts: int, attach: Attach = nothing, in_loss: float = 0.0) -> nn.Module:
        model = make_net()
        optimizer = SGD(model.parameters(), lr=0.1)
        attach(model, optimizer)
        (batch,) = batches(1)
        for X, y in zip(*(rows.chunk(parts) for rows in batch), strict=True):
            loss = data_loss(model, (X, y)) / parts
            (loss + L2(in_loss)(model)).backward()
        optimizer.step()
        return model

    assert_same(trained(4, in_gradient_hooks), trained(1, in_loss=4 * STRENGTH))
    assert_same(trained(4, in_loss=STRENGTH), trained(1, in_loss=4 * STRENGTH))
    act = ours(L2(STRENGTH))
    assert_same(trained(4, act), trained(1, act))
    assert_same(trained(4, act), trained(1, in_loss=STRENGTH))


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")
def test_c7_hooks_of_modules_run_before_the_first_gradient_is_there() -> None:
    def on_modules(model: nn.Module, optimizer: Optimizer) -> None:
        def hook(module: Any, *_: object) -> None:
            if module.weight.grad is not None:
                module.weight.grad.add_(module.weight.detach(), alpha=2 * STRENGTH)

        for layer in (model[0], model[2]):
            layer.register_full_backward_hook(hook)

    def trained(attach: Attach, in_loss: float = 0.0) -> nn.Module:
        model = make_net()
        optimizer = SGD(model.parameters(), lr=0.1)
        attach(model, optimizer)
        for batch in batches(1):
            (data_loss(model, batch) + L2(in_loss)(model)).backward()
            optimizer.step()
        return model

    naive, exact = trained(on_modules), trained(nothing, in_loss=STRENGTH)
    assert not moved(naive[0], trained(nothing)[0])
    assert_same(naive[2], exact[2])
    assert_same(trained(ours(L2(STRENGTH))), exact)


def test_c8_a_model_that_is_compiled_already() -> None:
    """Hooks that a module gets after its first compiled call are not seen."""
    X, y = torch.randn(8, 4).double(), torch.randint(0, 3, (8,))

    def trained(attach: Attach, compiled: bool) -> tuple[nn.Module, list[int]]:
        model, calls = make_net(), []
        optimizer = SGD(model.parameters(), lr=0.1)
        run = torch.compile(model, backend="eager") if compiled else model
        run(X)
        model[0].register_forward_hook(lambda *_: calls.append(1))
        attach(model, optimizer)
        nn.functional.cross_entropy(run(X), y).backward()
        optimizer.step()
        torch._dynamo.reset()
        return model, calls

    (fast, seen), (slow, all_seen) = (trained(ours(L1(0.1)), flag) for flag in (True, False))
    assert (seen, all_seen) == ([], [1])
    assert_same(fast, slow)
    assert differ(fast, trained(nothing, True)[0])
