"""One step of one member, against the same step written out."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from _problems import classes, linear, perceptron, problem_of
from torch import Tensor, nn

from shrinkage.engine.member.layers import narrow_linear, replaced
from shrinkage.engine.member.member import Member, trained_names
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.member.step import Batch, make_step
from shrinkage.engine.member.update import Update, update_for
from shrinkage.penalties import L1, L2, ElasticNet, GroupLasso

X, Y = classes(n=12)
EVEN = torch.ones(12, dtype=torch.float64)
PLAIN = functools.partial(torch.optim.SGD, lr=0.1)
MOMENTUM = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9)
LR = torch.tensor(0.1, dtype=torch.float64)


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def update_of(problem: Problem) -> Update:
    update = update_for(problem.optimizer)
    assert update is not None
    return update


def member_of(problem: Problem, model: nn.Module) -> Member:
    params = {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}
    fixed = {n: b.detach().clone() for n, b in model.named_buffers()}
    fixed |= {n: p.detach().clone() for n, p in model.named_parameters() if not p.requires_grad}
    slots = {
        n: tuple(torch.zeros_like(p) for _ in range(update_of(problem).slots))
        for n, p in params.items()
    }
    return Member(params, fixed, slots, torch.tensor(-1), scalar(0))


def batch_of(
    problem: Problem, count: int, x: Tensor = X, y: Tensor = Y, weight: Tensor = EVEN
) -> Batch:
    factors = torch.tensor(update_of(problem).factors(count), dtype=torch.float64)
    return Batch(LR, factors, torch.tensor(count), x, y, weight, torch.empty(0))


def stepped(problem: Problem, model: nn.Module, strength: float, steps: int = 1) -> Member:
    step = make_step(model, problem, update_of(problem))
    member = member_of(problem, model)
    for count in range(1, steps + 1):
        member = step(member, {"strength": scalar(strength)}, batch_of(problem, count))
    return member


@pytest.mark.parametrize("penalty", [L2(1.0), L1(1.0), ElasticNet(1.0), GroupLasso(1.0)])
@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
def test_one_step_written_out(penalty: Any, how: str) -> None:
    problem = problem_of(linear(), X, Y, penalty, how=how, optimizer=PLAIN)
    model = problem.build(3)
    w = model.weight.detach().clone()
    loss = F.cross_entropy(model(X), Y)
    g, g_bias = torch.autograd.grad(loss, [model.weight, model.bias])
    p = penalty.at(0.4)
    expected = {
        "coupled": w - 0.1 * (g + p.gradient(w)),
        "decoupled": w - 0.1 * p.gradient(w) - 0.1 * g,
        "proximal": p.prox(w - 0.1 * g, 0.1),
    }[how]
    member = stepped(problem, model, 0.4)
    torch.testing.assert_close(member.params["weight"], expected, rtol=1e-12, atol=1e-14)
    bias = model.bias.detach() - 0.1 * g_bias
    torch.testing.assert_close(member.params["bias"], bias, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(member.total, 12 * loss.detach(), rtol=1e-12, atol=0)
    assert int(member.diverged) == -1


def test_rows_of_weight_zero_change_nothing() -> None:
    problem = problem_of(perceptron(), X, Y, optimizer=MOMENTUM)
    model = problem.build(3)
    step = make_step(model, problem, update_of(problem))
    real, point = torch.ones(5, dtype=torch.float64), {"strength": scalar(0.1)}
    one = batch_of(problem, 1, X[:5], Y[:5], real)
    short = step(member_of(problem, model), point, one)
    rows = torch.tensor([0, 1, 2, 3, 4, 0, 0])
    padded = torch.cat([real, torch.zeros(2, dtype=torch.float64)])
    one = batch_of(problem, 1, X[rows], Y[rows], padded)
    long = step(member_of(problem, model), point, one)
    for name, tensor in short.params.items():
        torch.testing.assert_close(long.params[name], tensor, rtol=1e-12, atol=1e-14)
    torch.testing.assert_close(long.total, short.total)


def test_a_diverged_member_is_marked_with_its_step_and_stays_as_it_is() -> None:
    target = X[:, 0]
    problem = problem_of(nn.Linear(4, 1).double(), X, target, L2(1.0), optimizer=PLAIN)
    step = make_step(problem.build(0), problem, update_of(problem))
    member = member_of(problem, problem.build(0))
    marks, totals, weights = [], [], []
    for count in range(1, 121):
        member = step(member, {"strength": scalar(1000.0)}, batch_of(problem, count, y=target))
        marks.append(int(member.diverged))
        totals.append(float(member.total))
        weights.append(member.params["weight"].clone())
    first = next(i for i, mark in enumerate(marks) if mark >= 0)
    assert first > 3
    assert marks[first:] == [first + 1] * (120 - first)
    assert not math.isfinite(totals[first])
    assert all(map(math.isfinite, totals[:first]))
    for later in weights[first:]:
        assert torch.equal(later.isnan(), weights[first].isnan())


def test_a_diverged_member_does_not_come_back() -> None:
    # the loss overflows, its gradient does not: the next step would be finite again
    problem = problem_of(nn.Linear(4, 1).double(), X, Y.double(), optimizer=MOMENTUM)
    step = make_step(problem.build(0), problem, update_of(problem))
    member = step(
        member_of(problem, problem.build(0)),
        {"strength": scalar(0.1)},
        batch_of(problem, 1, y=1e200 * (Y.double() + 1)),
    )
    assert int(member.diverged) == 1
    assert member.params["weight"].isfinite().all()
    later = step(member, {"strength": scalar(0.1)}, batch_of(problem, 2, y=Y.double()))
    assert int(later.diverged) == 1
    for name, tensor in member.params.items():
        assert torch.equal(later.params[name], tensor)
        assert torch.equal(later.slots[name][0], member.slots[name][0])


def test_buffers_move_with_the_model() -> None:
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).double()
    problem = problem_of(model, X, Y, optimizer=PLAIN)
    start = problem.build(1)
    member = stepped(problem, start, 0.0, steps=2)
    own = problem.build(1).train()
    optimizer = torch.optim.SGD(own.parameters(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        F.cross_entropy(own(X), Y).backward()
        optimizer.step()
    state = {**member.params, **member.fixed}
    for name, tensor in own.state_dict().items():
        torch.testing.assert_close(state[name], tensor, rtol=1e-12, atol=1e-12)
    assert int(state["1.num_batches_tracked"]) == 2
    assert int(start[1].num_batches_tracked) == 0


def test_frozen_parameters_are_used_and_never_moved() -> None:
    def half_frozen() -> nn.Module:
        model = perceptron()
        model[0].weight.requires_grad_(False)
        return model

    problem = problem_of(half_frozen, X, Y)
    model = problem.build(0)
    assert trained_names(model) == ("0.bias", "2.weight", "2.bias")
    assert problem.selected == ("2.weight",)
    member = stepped(problem, model, 0.5, steps=3)
    assert torch.equal(member.fixed["0.weight"], model[0].weight)
    assert not torch.equal(member.params["0.bias"], model[0].bias)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("units", [1, 3, 10, 15, 16])
def test_narrow_layers_compute_what_torch_does(units: int, bias: bool) -> None:
    generator = torch.Generator().manual_seed(units)
    x, hidden = torch.randn(7, 6, generator=generator), torch.randn(4, 7, 6, generator=generator)
    w, b = torch.randn(4, units, 6, generator=generator), torch.randn(4, units, generator=generator)

    def loss(w: Tensor, b: Tensor, x: Tensor) -> Tensor:
        return F.linear(x, w, b if bias else None).sin().sum()

    for rows, axis in ((x, None), (hidden, 0)):
        in_dims = (0, 0, axis)
        both = torch.func.vmap(torch.func.grad_and_value(loss, argnums=(0, 2)), in_dims=in_dims)
        usual = both(w, b, rows)
        with replaced(narrow_linear()):
            turned = both(w, b, rows)
        torch.testing.assert_close(turned, usual)
