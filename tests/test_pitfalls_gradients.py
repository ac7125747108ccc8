"""Pitfalls on the way from gradients to a step, each beside an implementation that falls in."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from _pitfalls import (
    COUPLINGS,
    Attach,
    differ,
    nothing,
    ours,
    pitfall,
    soften_after,
    weights_of,
)
from _training import (
    STRENGTH,
    assert_same,
    batches,
    data_loss,
    forward_backward,
    make_net,
)
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.testing import assert_close

from shrinkage.penalties import L1, L2
from shrinkage.regularizing.regularize import regularize


def add_gradients_before(model: nn.Module, optimizer: Optimizer) -> None:
    """L2 as a step pre-hook of one line."""

    def hook(*_: object) -> None:
        for w in weights_of(model):
            if w.grad is not None:
                w.grad.add_(w.detach(), alpha=2 * STRENGTH)

    optimizer.register_step_pre_hook(hook)


@pitfall(ours={how: ours(L2(STRENGTH), how) for how in COUPLINGS}, naive=add_gradients_before)
def test_c1_gradients_that_a_closure_computes_anew(attach: Attach) -> None:
    """What is added before the closure runs is zeroed by it."""

    def trained(closure: bool) -> nn.Module:
        model = make_net()
        optimizer = SGD(model.parameters(), lr=0.1)
        attach(model, optimizer)
        for batch in batches():
            compute = partial(forward_backward, model, optimizer, batch)
            if not closure:
                compute()
            optimizer.step(compute if closure else None)
        return model

    assert_same(trained(closure=True), trained(closure=False))


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


@pitfall(ours=ours(L1(STRENGTH)), naive=soften_after)
def test_c2_hooks_run_in_a_step_that_a_fused_optimizer_skips(attach: Attach) -> None:
    assert not differ(scaled(attach, 4096.0, fused=True), scaled(attach, 0, fused=True))


@pitfall(ours=ours(L2(STRENGTH)), naive=add_gradients_before)
def test_c3_what_is_added_to_scaled_gradients_is_divided_by_the_scale(attach: Attach) -> None:
    assert not differ(scaled(attach, 65536.0, fused=True), scaled(attach, 0, fused=True))


def test_c2_c3_without_these_pits_the_naive_hooks_would_do() -> None:
    without = scaled(nothing, 0, True)
    assert not differ(scaled(add_gradients_before, 65536.0, True), without)
    assert differ(scaled(add_gradients_before, 0, True), without)
    assert not differ(scaled(soften_after, 4096.0, False), scaled(soften_after, 0, False))


def add_gradients_in_the_backward_pass(model: nn.Module, optimizer: Optimizer) -> None:
    """L2 as a hook on gradients, which ends where L2 in the loss does."""

    def hook(w: Tensor) -> None:
        w.grad.add_(w.detach(), alpha=2 * STRENGTH)

    for w in weights_of(model):
        w.register_post_accumulate_grad_hook(hook)


@pitfall(ours=ours(L2(STRENGTH)), naive=add_gradients_in_the_backward_pass)
@pytest.mark.parametrize("clip_first", [True, False])
def test_c4_fault_34_the_penalty_acts_after_clipping_whoever_comes_first(
    attach: Attach, clip_first: bool
) -> None:
    model = nn.Linear(2, 2, bias=False)
    optimizer = SGD(model.parameters(), lr=0.1)

    def clip(*_: object) -> None:
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)

    if clip_first:  # in a hook before ours
        optimizer.register_step_pre_hook(clip)
    attach(model, optimizer)
    before, clipped = model.weight.detach().clone(), torch.full((2, 2), 0.5)
    (100 * model(torch.ones(1, 2))).sum().backward()
    if not clip_first:  # in the loop, after regularize
        clip()
    optimizer.step()
    assert_close(model.weight.detach(), before - 0.1 * (clipped + 2 * STRENGTH * before))


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


def trained_in_parts(parts: int, attach: Attach = nothing, in_loss: float = 0.0) -> nn.Module:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    attach(model, optimizer)
    (batch,) = batches(1)
    for X, y in zip(*(rows.chunk(parts) for rows in batch), strict=True):
        loss = data_loss(model, (X, y)) / parts
        (loss + L2(in_loss)(model)).backward()
    optimizer.step()
    return model


@pitfall(ours=ours(L2(STRENGTH)), naive=add_gradients_in_the_backward_pass)
def test_c5_accumulated_micro_batches_get_the_penalty_once(attach: Attach) -> None:
    assert_same(trained_in_parts(1, attach), trained_in_parts(1, in_loss=STRENGTH))
    assert_same(trained_in_parts(4, attach), trained_in_parts(1, attach))


def test_c5_in_the_loss_it_counts_once_for_every_backward_pass() -> None:
    expected = trained_in_parts(1, in_loss=4 * STRENGTH)
    assert_same(trained_in_parts(4, in_loss=STRENGTH), expected)
    assert_same(trained_in_parts(4, add_gradients_in_the_backward_pass), expected)


def add_gradients_by_modules(model: nn.Module, optimizer: Optimizer) -> None:
    """L2 as a hook on the backward pass of every layer."""

    def hook(module: Any, *_: object) -> None:
        if module.weight.grad is not None:
            module.weight.grad.add_(module.weight.detach(), alpha=2 * STRENGTH)

    for layer in (model[0], model[2]):
        layer.register_full_backward_hook(hook)


@pytest.mark.filterwarnings("ignore:Full backward hook is firing:UserWarning")
@pitfall(ours=ours(L2(STRENGTH)), naive=add_gradients_by_modules)
def test_c7_hooks_of_modules_run_before_the_first_gradient_is_there(attach: Attach) -> None:
    def trained(attach: Attach, in_loss: float = 0.0) -> nn.Module:
        model = make_net()
        optimizer = SGD(model.parameters(), lr=0.1)
        attach(model, optimizer)
        for batch in batches(1):
            (data_loss(model, batch) + L2(in_loss)(model)).backward()
            optimizer.step()
        return model

    found, exact = trained(attach), trained(nothing, in_loss=STRENGTH)
    assert_same(found[2], exact[2])
    assert_same(found[0], exact[0])


def shrink_in_the_forward_pass(model: nn.Module, optimizer: Optimizer) -> None:
    """Decoupled L2 as a hook on the forward pass of every layer."""

    def hook(module: Any, *_: object) -> None:
        module.weight.data.mul_(1 - 0.1 * 2 * STRENGTH)

    for layer in (model[0], model[2]):
        layer.register_forward_hook(hook)


@pitfall(ours=ours(L2(STRENGTH), "decoupled"), naive=shrink_in_the_forward_pass)
def test_c8_a_model_that_is_compiled_already(attach: Attach) -> None:
    """Hooks that a module gets after its first compiled call are not seen."""
    X, y = torch.randn(8, 4).double(), torch.randint(0, 3, (8,))

    def trained(attach: Attach, compiled: bool) -> nn.Module:
        model = make_net()
        optimizer = SGD(model.parameters(), lr=0.1)
        run = torch.compile(model, backend="eager") if compiled else model
        run(X)
        attach(model, optimizer)
        nn.functional.cross_entropy(run(X), y).backward()
        optimizer.step()
        torch._dynamo.reset()
        return model

    assert differ(trained(attach, compiled=False), trained(nothing, compiled=False))
    assert_same(trained(attach, compiled=True), trained(attach, compiled=False))
