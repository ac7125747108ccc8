"""Pitfalls of when a penalty acts, each beside an implementation that falls into it."""

from __future__ import annotations

import copy
from collections.abc import Callable
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
    moved,
)
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import SGD, Adam, Optimizer
from torch.testing import assert_close

from shrinkage.constraints import MaxNorm
from shrinkage.engine import fit_path
from shrinkage.parameters import selected_parameters
from shrinkage.penalties import L1, L2, GroupLasso
from shrinkage.regularize import regularize
from shrinkage.schedules import linear

COUPLINGS = ["coupled", "decoupled", "proximal"]
Attach = Callable[[nn.Module, Optimizer], Any]


def weights_of(model: nn.Module) -> list[Tensor]:
    return list(selected_parameters(model).values())


def add_gradients_before(model: nn.Module, optimizer: Optimizer) -> None:
    """L2 as a step pre-hook of one line."""

    def hook(*_: object) -> None:
        for w in weights_of(model):
            if w.grad is not None:
                w.grad.add_(w.detach(), alpha=2 * STRENGTH)

    optimizer.register_step_pre_hook(hook)


def soften_after(model: nn.Module, optimizer: Optimizer) -> None:
    """The prox of L1 as a step post-hook of one line, with the rate the optimizer was made with."""

    def hook(*_: object) -> None:
        for w in weights_of(model):
            w.data = L1(STRENGTH).prox(w.data, optimizer.defaults["lr"])

    optimizer.register_step_post_hook(hook)


def nothing(model: nn.Module, optimizer: Optimizer) -> None:
    """No penalty."""


def ours(penalty: Any, how: str | None = None) -> Attach:
    return partial(regularize, penalty=penalty, how=how)


def differ(one: nn.Module, other: nn.Module) -> bool:
    try:
        assert_same(one, other, rtol=1e-5, atol=1e-7)
    except AssertionError:
        return True
    return False


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


class Parts(nn.Module):
    """A weight in use, an unused and a frozen one."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused, self.frozen = (nn.Linear(3, 3) for _ in range(3))
        self.frozen.requires_grad_(False)

    def forward(self, X: Tensor) -> Tensor:
        return self.frozen(self.used(X))


@pytest.mark.parametrize("how", COUPLINGS)
def test_c6_what_no_gradient_reached_stays_as_it_is(how: str) -> None:
    def decay_all(model: nn.Module, optimizer: Optimizer) -> None:
        def hook(*_: object) -> None:
            for w in weights_of(model):
                w.data.mul_(1 - 0.1 * 2 * STRENGTH)

        optimizer.register_step_post_hook(hook)

    def changed(attach: Attach) -> tuple[list[str], list[str]]:
        """Say which weights a step moves, and which one without any gradient."""
        torch.manual_seed(0)
        model = Parts()
        optimizer = SGD(model.parameters(), lr=0.1)
        attach(model, optimizer)
        found = []
        for use in (True, False):
            before = copy.deepcopy(model)
            optimizer.zero_grad(set_to_none=True)
            if use:
                model(torch.ones(1, 3)).sum().backward()
            optimizer.step()
            found.append([n for n, m in model.named_children() if moved(m, getattr(before, n))])
        return found[0], found[1]

    every = ["used", "unused", "frozen"]
    assert changed(decay_all) == (every, every)
    assert changed(ours(L2(STRENGTH), how)) == (["used"], [])


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


def test_c9_writing_into_what_an_index_returns_is_lost() -> None:
    w = torch.ones(4, 3)
    w[[0, 2]].mul_(0.5)
    assert torch.equal(w, torch.ones(4, 3))
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = SGD(model.parameters(), lr=0.1)
    gamma = model[1].weight.detach().clone()
    regularize(model, optimizer, {"0.weight": GroupLasso(20.0), "1.weight": L1(1.0)})
    (0 * model(torch.randn(8, 3))).sum().backward()
    optimizer.step()
    assert not model[0].weight.any()
    assert_close(model[1].weight.detach(), gamma - 0.1)


def test_c10_the_rate_is_that_of_the_step() -> None:
    """The one in ``defaults`` is that of the first step and of no group."""

    def trained(attach: Attach) -> list[Tensor]:
        model = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False))
        for layer in model:
            nn.init.ones_(layer.weight)
        groups = [
            {"params": model[0].parameters()},
            {"params": model[1].parameters(), "lr": torch.tensor(0.5)},
        ]
        optimizer = SGD(groups, lr=0.1)
        attach(model, optimizer)
        for rate in (0.1, 0.2, 0.0):
            optimizer.param_groups[0]["lr"] = rate
            (0 * model(torch.ones(1, 2))).sum().backward()
            optimizer.step()
        return [w.detach() for w in model.parameters()]

    start = trained(nothing)
    expected = [L1(STRENGTH).prox(w, rate) for w, rate in zip(start, (0.3, 1.5), strict=True)]
    naive = trained(soften_after)
    assert_close(naive[0], expected[0])
    assert (naive[1] - expected[1]).abs().max() > 1e-3
    for how in ("decoupled", "proximal"):
        assert_close(trained(ours(L1(STRENGTH), how)), expected)


def test_c11_a_constraint_holds_after_the_step_and_leaves_momentum_alone() -> None:
    """Before the step it is too early, momentum carries on."""

    def project_before(model: nn.Module, optimizer: Optimizer) -> None:
        def hook(*_: object) -> None:
            for w in weights_of(model):
                w.data = MaxNorm(0.2).project(w.data)

        optimizer.register_step_pre_hook(hook)

    def trained(attach: Attach) -> tuple[list[float], nn.Module, Optimizer]:
        model = make_net()
        optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
        attach(model, optimizer)
        outside = []
        for batch in batches():
            forward_backward(model, optimizer, batch)
            optimizer.step()
            outside.append(max(MaxNorm(0.2).violation(w).item() for w in weights_of(model)))
        return outside, model, optimizer

    def by_hand() -> tuple[Tensor, Tensor]:
        model = make_net()
        kept = [torch.zeros_like(w) for w in model.parameters()]
        for batch in batches():
            gradients = torch.autograd.grad(data_loss(model, batch), list(model.parameters()))
            for w, m, g in zip(model.parameters(), kept, gradients, strict=True):
                m.mul_(0.9).add_(g)
                w.data -= 0.1 * m
                w.data = MaxNorm(0.2).project(w.data) if w.dim() == 2 else w.data
        return model[0].weight.detach(), kept[0]

    assert max(trained(project_before)[0]) > 1e-3
    outside, model, optimizer = trained(ours(MaxNorm(0.2)))
    assert outside == [0.0] * len(outside)
    weight, momentum = by_hand()
    assert_close(model[0].weight.detach(), weight)
    assert_close(optimizer.state[model[0].weight]["momentum_buffer"], momentum)


def test_c12_no_reported_loss_contains_the_penalty() -> None:
    """Losses of two strengths, or of training and validation, could not be compared."""
    X, y = torch.randn(40, 3), torch.randn(40)
    model = nn.Linear(3, 1)

    def naive(X: Tensor, y: Tensor) -> Tensor:
        return mse_loss(model(X)[:, 0], y) + L2(5.0)(model)

    without = mse_loss(model(X)[:, 0], y)
    assert naive(X, y) > without + 0.1
    optimizer = SGD(model.parameters(), lr=0.0)
    regularize(model, optimizer, L2(5.0))
    assert_close(optimizer.step(lambda: mse_loss(model(X)[:, 0], y)), without)
    still = partial(SGD, lr=0.0)  # so every member has its first weights
    result = fit_path(nn.Linear(3, 1), X, y, L2(1.0), strengths=[5.0], optimizer=still, epochs=1)
    for losses in (result.train_loss, result.valid_loss, result.fit_loss):
        assert losses.shape[0] == 2
        assert torch.equal(losses[0], losses[1])


def test_c13_a_schedule_goes_on_where_it_stopped() -> None:
    """A strength that a hook keeps to itself starts anew."""
    work = list(batches(6))

    def trained(stops: bool, keeps: bool = True) -> nn.Module:
        model = make_net()
        optimizer = SGD(model.parameters(), lr=0.1)
        attach = partial(regularize, model, optimizer, L2(0.1), schedule=linear(0, 1, steps=6))
        handle = attach()
        for number, batch in enumerate(work):
            if stops and number == 3:
                state = handle.state_dict()
                handle.remove()
                handle = attach()
                if keeps:
                    handle.load_state_dict(state)
            forward_backward(model, optimizer, batch)
            optimizer.step()
        return model

    assert differ(trained(stops=True, keeps=False), trained(stops=False))
    assert not moved(trained(stops=True), trained(stops=False))


@pytest.mark.parametrize("how", COUPLINGS)
def test_c14_every_step_is_one_application(how: str) -> None:
    """A penalty in what is computed for the log acts when something is logged."""
    shrink = {"proximal": 1 / (1 + 0.2 * STRENGTH)}.get(how, 1 - 0.2 * STRENGTH)

    def trained(attach: Attach, every: int = 0) -> Tensor:
        model = nn.Linear(2, 2, bias=False)
        nn.init.ones_(model.weight)
        optimizer = SGD(model.parameters(), lr=0.1)
        attach(model, optimizer)
        for step in range(6):
            model.weight.grad = torch.zeros(2, 2)
            if every and step % every == 0:
                L2(STRENGTH)(model).backward()
            optimizer.step()
        return model.weight.detach()

    assert_close(trained(nothing, every=3), torch.full((2, 2), (1 - 0.2 * STRENGTH) ** 2))
    assert_close(trained(ours(L2(STRENGTH), how)), torch.full((2, 2), shrink**6))
