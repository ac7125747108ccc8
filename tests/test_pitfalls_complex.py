"""Pitfalls of complex weights, each beside an implementation that falls into it."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from _pitfalls import EVERY, Operation, every_penalty, normal, pitfall, sum_of_squares
from torch import Tensor, nn
from torch.optim import SGD
from torch.testing import assert_close

from shrinkage.errors import ShrinkageError
from shrinkage.penalties import L1, L2, ElasticNet, GroupLasso, NuclearNorm, Penalty
from shrinkage.regularizing.regularize import regularize


def complex_tensor(*shape: int) -> Tensor:
    return torch.view_as_complex(normal(*shape, 2).double())


ABSOLUTE = [penalty for penalty in EVERY if penalty.absolute]


@pitfall(ours={repr(p): p.value for p in ABSOLUTE}, naive=sum_of_squares)
def test_b8_the_penalty_of_complex_weights_is_that_of_their_absolute_values(
    value: Operation,
) -> None:
    """A square of a complex number is complex."""
    w = complex_tensor(4, 3)
    assert_close(value(w), value(w.abs()))


def soft_threshold_of_parts(w: Tensor) -> Tensor:
    return torch.view_as_complex(L1(1.0).prox(torch.view_as_real(w), 0.1))


@pitfall(ours={repr(p): partial(p.prox, step=0.1) for p in ABSOLUTE}, naive=soft_threshold_of_parts)
def test_b8_a_complex_weight_keeps_its_phase(prox: Operation) -> None:
    w = complex_tensor(4, 3)
    moved = prox(w)
    kept = moved != 0
    assert kept.any()
    assert_close(moved[kept].angle(), w[kept].angle())
    assert (moved.abs() <= w.abs()).all()
    zero = torch.zeros_like(w)
    assert torch.equal(prox(zero), zero)


@every_penalty
def test_b8_a_complex_weight_has_a_gradient_and_a_prox_or_is_refused(penalty: Penalty) -> None:
    torch.manual_seed(0)
    w = complex_tensor(4, 3)
    if not penalty.absolute:
        for operation in (penalty.value, penalty.gradient, partial(penalty.prox, step=1.0)):
            with pytest.raises(ShrinkageError, match=r"torch.complex128 .*real floating-point"):
                operation(w)
        return
    free = w.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(penalty.value(free), free)
    assert_close(penalty.gradient(w), gradient)
    moved = penalty.prox(w, 0.1)
    for _ in range(200):  # no other point is lower: the definition of the prox
        other = moved + 0.1 * complex_tensor_like(moved)
        assert objective(penalty, moved, w) <= objective(penalty, other, w) + 1e-12


def complex_tensor_like(w: Tensor) -> Tensor:
    return torch.view_as_complex(torch.randn(*w.shape, 2, dtype=torch.float64))


def objective(penalty: Penalty, u: Tensor, w: Tensor) -> Tensor:
    return (u - w).abs().square().sum() / 2 + 0.1 * penalty.value(u)


@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
@pytest.mark.parametrize("penalty", [L2(0.3), L1(0.3), ElasticNet(0.3), GroupLasso(0.1)], ids=repr)
def test_fault_28_a_complex_weight_in_a_step_is_its_two_real_parts(
    how: str, penalty: Penalty
) -> None:
    model = nn.Linear(3, 4, bias=False, dtype=torch.complex128)
    before = model.weight.detach().clone()
    optimizer = SGD(model.parameters(), lr=0.2)
    handle = regularize(model, optimizer, penalty, how=how)
    assert_close(handle.value(), penalty(model).detach())
    assert handle.summary().rows[0]["value"] == handle.value().item()
    model.weight.grad = complex_tensor(4, 3)
    gradient = model.weight.grad.clone()
    optimizer.step()
    free = before.clone().requires_grad_()
    (own,) = torch.autograd.grad(penalty.value(free), free)
    expected = before - 0.2 * gradient - 0.2 * own
    if how == "proximal":
        expected = penalty.prox(before - 0.2 * gradient, 0.2)
    assert_close(model.weight.detach(), expected)


def test_b8_complex_weights_are_refused_by_name_where_there_is_no_formula() -> None:
    model = nn.Linear(2, 2, dtype=torch.complex64)
    for penalty in (NuclearNorm(0.1), L2(0.1) + NuclearNorm(0.1)):
        with pytest.raises(ShrinkageError, match=r"weight: .*complex64 has no weights to shrink"):
            regularize(model, SGD(model.parameters(), lr=0.1), penalty, how="coupled")
