"""Pitfalls of steps and of what is said of them, each beside an implementation that falls in."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial

import pytest
import torch
from _pitfalls import COUPLINGS, Attach, nothing, ours, pitfall, soften_after, weights_of
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
from shrinkage.penalties import L1, L2
from shrinkage.regularizing.regularize import Regularization, regularize
from shrinkage.schedules import linear


class Parts(nn.Module):
    """A weight in use, an unused and a frozen one."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused, self.frozen = (nn.Linear(3, 3) for _ in range(3))
        self.frozen.requires_grad_(False)

    def forward(self, X: Tensor) -> Tensor:
        return self.frozen(self.used(X))


def decay_all(model: nn.Module, optimizer: Optimizer) -> None:
    """Decoupled L2 as a step post-hook of one line."""

    def hook(*_: object) -> None:
        for w in weights_of(model):
            w.data.mul_(1 - 0.1 * 2 * STRENGTH)

    optimizer.register_step_post_hook(hook)


@pitfall(ours={how: ours(L2(STRENGTH), how) for how in COUPLINGS}, naive=decay_all)
def test_c6_what_no_gradient_reached_stays_as_it_is(attach: Attach) -> None:
    torch.manual_seed(0)
    model = Parts()
    optimizer = SGD(model.parameters(), lr=0.1)
    attach(model, optimizer)
    for moving in (["used"], []):
        before = copy.deepcopy(model)
        optimizer.zero_grad(set_to_none=True)
        if moving:
            model(torch.ones(1, 3)).sum().backward()
        optimizer.step()
        changed = [n for n, m in model.named_children() if moved(m, getattr(before, n))]
        assert changed == moving


def soften_in_an_index(model: nn.Module, optimizer: Optimizer) -> None:
    """The prox of L1 on the channels that a list numbers."""

    def hook(*_: object) -> None:
        gamma = model[1].weight.data
        gamma[[0, 1, 2, 3]].sub_(0.1 * L1(1.0).gradient(gamma))

    optimizer.register_step_post_hook(hook)


@pitfall(
    ours={how: ours({"1.weight": L1(1.0)}, how) for how in COUPLINGS}, naive=soften_in_an_index
)
def test_c9_writing_into_what_an_index_returns_is_lost(attach: Attach) -> None:
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = SGD(model.parameters(), lr=0.1)
    gamma = model[1].weight.detach().clone()
    attach(model, optimizer)
    (0 * model(torch.randn(8, 3))).sum().backward()
    optimizer.step()
    assert_close(model[1].weight.detach(), gamma - 0.1)


@pitfall(
    ours={how: ours(L1(STRENGTH), how) for how in ("decoupled", "proximal")}, naive=soften_after
)
def test_c10_the_rate_is_that_of_the_step(attach: Attach) -> None:
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
    assert_close(trained(attach), expected)


def project_before(model: nn.Module, optimizer: Optimizer) -> None:
    """The projection as a step pre-hook of one line."""

    def hook(*_: object) -> None:
        for w in weights_of(model):
            w.data = MaxNorm(0.2).project(w.data)

    optimizer.register_step_pre_hook(hook)


@pitfall(ours=ours(MaxNorm(0.2)), naive=project_before)
def test_c11_a_constraint_holds_after_the_step_and_leaves_momentum_alone(attach: Attach) -> None:
    """Before the step it is too early, momentum carries on."""
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    attach(model, optimizer)
    for batch in batches():
        forward_backward(model, optimizer, batch)
        optimizer.step()
        assert max(MaxNorm(0.2).violation(w).item() for w in weights_of(model)) == 0

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

    weight, momentum = by_hand()
    assert_close(model[0].weight.detach(), weight)
    assert_close(optimizer.state[model[0].weight]["momentum_buffer"], momentum)


Reported = Callable[[L2], Tensor]
X, y = torch.linspace(-1, 1, 120).reshape(40, 3), torch.ones(40)


def of_the_objective(penalty: L2) -> Tensor:
    """What most loops report: the number that they minimize."""
    model = ones_net()
    return mse_loss(model(X)[:, 0], y) + penalty(model)


def of_a_closure(penalty: L2) -> Tensor:
    model = ones_net()
    optimizer = SGD(model.parameters(), lr=0.0)
    regularize(model, optimizer, penalty)
    return optimizer.step(lambda: mse_loss(model(X)[:, 0], y))


def of_stats(penalty: L2) -> Tensor:
    model = ones_net()
    optimizer = SGD(model.parameters(), lr=0.0)
    handle = regularize(model, optimizer, penalty, stats_every=1)
    loss = mse_loss(model(X)[:, 0], y)
    loss.backward()
    handle.observe(loss)
    optimizer.step()
    return torch.tensor(handle.stats()[0]["loss"])


def of_a_path(penalty: L2) -> Tensor:
    still = partial(SGD, lr=1e-30)  # so every member has its first weights
    strengths = [penalty.strength]
    result = fit_path(ones_net(), X, y, L2(1.0), strengths=strengths, optimizer=still, epochs=1)
    means = [result.train_loss, result.valid_loss, result.fit_loss]
    return torch.stack([losses[-1].mean() for losses in means])


def ones_net() -> nn.Module:
    model = nn.Linear(3, 1)
    nn.init.ones_(model.weight)
    return model


@pitfall(ours={f.__name__: f for f in (of_a_closure, of_stats, of_a_path)}, naive=of_the_objective)
def test_c12_no_reported_loss_contains_the_penalty(reported: Reported) -> None:
    """Losses of two strengths, or of training and validation, could not be compared."""
    torch.manual_seed(0)
    weak = reported(L2(1.0))
    torch.manual_seed(0)
    assert_close(reported(L2(5.0)), weak)


def forget(old: Regularization, new: Regularization) -> None:
    """What becomes of a strength that a hook keeps to itself."""


def load(old: Regularization, new: Regularization) -> None:
    new.load_state_dict(old.state_dict())


@pitfall(ours=load, naive=forget)
def test_c13_a_schedule_goes_on_where_it_stopped(
    carry: Callable[[Regularization, Regularization], None],
) -> None:
    work = list(batches(6))

    def trained(stops: bool) -> nn.Module:
        model = make_net()
        optimizer = SGD(model.parameters(), lr=0.1)
        attach = partial(regularize, model, optimizer, L2(0.1), schedule=linear(0, 1, steps=6))
        handle = attach()
        for number, batch in enumerate(work):
            if stops and number == 3:
                handle.remove()
                old, handle = handle, attach()
                carry(old, handle)
            forward_backward(model, optimizer, batch)
            optimizer.step()
        return model

    assert not moved(trained(stops=True), trained(stops=False))


Log = Callable[[], object]


def penalize_what_is_logged(model: nn.Module, optimizer: Optimizer) -> Log:
    """The penalty in the sum that is computed to be shown."""
    return lambda: L2(STRENGTH)(model).backward()


def log_the_value(model: nn.Module, optimizer: Optimizer) -> Log:
    return regularize(model, optimizer, L2(STRENGTH)).value


def log_the_summary(model: nn.Module, optimizer: Optimizer) -> Log:
    return regularize(model, optimizer, L2(STRENGTH), how="decoupled").summary


@pitfall(
    ours={f.__name__: f for f in (log_the_value, log_the_summary)}, naive=penalize_what_is_logged
)
@pytest.mark.parametrize("every", [2, 3, 7])
def test_c14_every_step_is_one_application(
    attach: Callable[[nn.Module, Optimizer], Log], every: int
) -> None:
    """However often something is logged."""
    model = nn.Linear(2, 2, bias=False)
    nn.init.ones_(model.weight)
    optimizer = SGD(model.parameters(), lr=0.1)
    log = attach(model, optimizer)
    for step in range(6):
        model.weight.grad = torch.zeros(2, 2)
        if step % every == every - 1:
            log()
        optimizer.step()
    assert_close(model.weight.detach(), torch.full((2, 2), (1 - 0.2 * STRENGTH) ** 6))
