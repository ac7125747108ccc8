"""References, sums and constraints on an optimizer: the same as in the loss, or refused at once."""

from __future__ import annotations

import copy
from functools import partial
from typing import Any

import pytest
import torch
from _training import assert_same, batches, forward_backward, make_net, train
from torch import Tensor, nn
from torch.optim import SGD, Adam
from torch.testing import assert_close

from shrinkage.constraints import Constraint, MaxNorm, NonNegative, UnitNorm
from shrinkage.coupling import check_coupling
from shrinkage.errors import ShrinkageError
from shrinkage.penalties import (
    L1,
    L2,
    MCP,
    GroupLasso,
    NuclearNorm,
    Orthogonal,
    Penalty,
    SparseGroupLasso,
    Sum,
)
from shrinkage.regularizing.regularize import regularize

START = copy.deepcopy(make_net().state_dict())
SGD_MOMENTUM = partial(SGD, lr=0.1, momentum=0.9)
ADAM = partial(Adam, lr=0.01)


@pytest.mark.parametrize("make", [SGD_MOMENTUM, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize(
    "penalty",
    [
        L2(0.05, toward=START),
        L1(0.05, toward=START),
        L1(0.01) + L2(0.05),
        L1(0.01, toward=START) + L2(0.05) + NuclearNorm(0.02),
        L2(0.05) + Orthogonal(0.01),
    ],
    ids=repr,
)
def test_coupled_is_as_in_the_loss(penalty: Penalty, make: Any) -> None:
    ours = train(make, penalty=penalty, how="coupled")
    assert_same(ours, train(make, in_loss=penalty))


def test_decoupled_takes_off_what_pulls_to_the_reference() -> None:
    penalty = L2(0.05, toward=START) + L2(0.02)
    model, plain = make_net(), make_net()
    optimizer, other = SGD(model.parameters(), lr=0.1), SGD(plain.parameters(), lr=0.1)
    regularize(model, optimizer, penalty, how="decoupled")
    for batch in batches():
        forward_backward(model, optimizer, batch)
        optimizer.step()
        before = {n: w.detach().clone() for n, w in plain.named_parameters()}
        forward_backward(plain, other, batch)
        other.step()
        with torch.no_grad():
            for name in ("0.weight", "2.weight"):
                w = before[name]
                pull = 2 * 0.05 * (w - START[name]) + 2 * 0.02 * w
                plain.get_parameter(name).sub_(0.1 * pull)
    assert_same(model, plain)


@pytest.mark.parametrize("make", [SGD_MOMENTUM, ADAM], ids=["sgd", "adam"])
def test_proximal_toward_a_snapshot_ends_at_it_exactly(make: Any) -> None:
    model = make_net()
    optimizer = make(model.parameters())
    regularize(model, optimizer, L1(100.0, toward=model.state_dict()))
    for batch in batches():
        forward_backward(model, optimizer, batch)
        optimizer.step()
        for name in ("0.weight", "2.weight"):
            assert torch.equal(model.state_dict()[name], START[name])
    assert not torch.equal(model.state_dict()["0.bias"], START["0.bias"])


def test_a_proximal_sum_is_the_sparse_group_lasso() -> None:
    ours = train(SGD_MOMENTUM, penalty=L1(0.2) + GroupLasso(0.1), how="proximal")
    theirs = train(SGD_MOMENTUM, penalty=SparseGroupLasso(0.3, l1_ratio=2 / 3), how="proximal")
    assert_same(ours, theirs)
    zeros = ours[0].weight == 0
    assert 0 < int(zeros.sum()) < zeros.numel()
    assert torch.equal(zeros, theirs[0].weight == 0)


def test_what_cannot_be_done_is_refused_before_training() -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    with pytest.raises(ShrinkageError, match=r"^0\.weight: L1.* has no exact prox"):
        regularize(model, optimizer, L1(0.1) + NuclearNorm(0.1))
    with pytest.raises(ShrinkageError, match=r"toward= has no '0\.weight'"):
        regularize(model, optimizer, L2(0.1, toward={"other": torch.zeros(2)}))
    with pytest.raises(ShrinkageError, match=r"toward= has shape \(1,\)"):
        regularize(model, optimizer, L2(0.1, toward={"0.weight": torch.zeros(1)}))
    handle = regularize(model, optimizer, L1(0.1) + NuclearNorm(0.1), how="coupled")
    assert isinstance(handle.penalty, Sum)
    check_coupling(L1(0.1) + MCP(0.1), torch.zeros(2), "decoupled")


def test_the_summary_of_a_reference_and_of_a_sum() -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    penalty = L1(0.1) + L2(0.2, toward=START)
    with regularize(model, optimizer, penalty, how="coupled") as handle:
        assert_close(handle.value(), penalty(model).detach())
        rows = {row["name"]: row for row in handle.summary().rows}
        assert rows["0.weight"]["penalty"] == "L1 + L2"
        assert "L1(0.1) + L2(0.2, toward=<" in repr(handle)


@pytest.mark.parametrize("make", [SGD_MOMENTUM, ADAM], ids=["sgd", "adam"])
@pytest.mark.parametrize("constraint", [MaxNorm(0.5), UnitNorm(dim=1), NonNegative()], ids=repr)
def test_constraints_hold_after_every_step(constraint: Constraint, make: Any) -> None:
    model = make_net()
    optimizer = make(model.parameters())
    regularize(model, optimizer, constraint)
    assert constraint.violation(model[0].weight) > 0
    for batch in batches():
        forward_backward(model, optimizer, batch)
        optimizer.step()
        for layer in (model[0], model[2]):
            assert constraint.violation(layer.weight) == 0
    assert model[0].bias.any()


def test_projected_gradient_descent_finds_the_non_negative_least_squares_solution() -> None:
    nnls = pytest.importorskip("scipy.optimize").nnls
    X = torch.randn(30, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    y = X @ torch.tensor([1.0, -2.0, 0.5, 0.0, 3.0], dtype=torch.float64)

    def residual(model: nn.Module) -> Tensor:
        return (model(X)[:, 0] - y).square().mean()

    model = nn.Linear(5, 1, bias=False).double()
    optimizer = SGD(model.parameters(), lr=0.1)
    regularize(model, optimizer, NonNegative())
    for _ in range(500):
        optimizer.zero_grad()
        residual(model).backward()
        optimizer.step()
    expected, _ = nnls(X.numpy(), y.numpy())
    assert_close(model.weight.detach()[0], torch.from_numpy(expected), rtol=1e-6, atol=1e-8)
