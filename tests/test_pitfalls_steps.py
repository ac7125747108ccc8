"""Pitfalls of steps and of what is said of them, each beside an implementation that falls in."""

from __future__ import annotations

import copy
from functools import partial

import pytest
import torch
from _pitfalls import COUPLINGS, Attach, differ, nothing, ours, soften_after, weights_of
from _training import (
    STRENGTH,
    batches,
    data_loss,
    forward_backward,
    make_net,
    moved,
)
from torch import Tensor, nn
from torch.nn.functional import mse_loss
from torch.optim import SGD, Optimizer
from torch.testing import assert_close

from shrinkage.constraints import MaxNorm
from shrinkage.engine import fit_path
from shrinkage.penalties import L1, L2, GroupLasso
from shrinkage.regularize import regularize
from shrinkage.schedules import linear


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
