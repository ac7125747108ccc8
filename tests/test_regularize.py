"""A penalty on an optimizer equals the penalty in the loss; numbers are pitfalls and faults."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from _training import (
    STRENGTH,
    assert_same,
    batches,
    data_loss,
    make_net,
    moved,
    train,
)
from torch import Tensor, nn
from torch.optim import LBFGS, SGD, Adam, AdamW, Optimizer, RMSprop
from torch.testing import assert_close

from shrinkage.errors import ShrinkageError
from shrinkage.parameters import everything
from shrinkage.penalties import L1, L2, ElasticNet, GroupLasso, Penalty
from shrinkage.regularizing.regularize import regularize

PENALTIES = [L2(0.01), L1(0.01), ElasticNet(0.01), GroupLasso(0.01)]
OPTIMIZERS: list[Callable[..., Optimizer]] = [
    partial(SGD, lr=0.1),
    partial(SGD, lr=0.1, momentum=0.9, nesterov=True, foreach=True),
    partial(SGD, lr=0.1, momentum=0.9, fused=True),
    partial(Adam, lr=0.01, foreach=False),
    partial(Adam, lr=0.01, foreach=True),
    partial(Adam, lr=0.01, fused=True),
    partial(Adam, lr=torch.tensor(0.01)),
    partial(RMSprop, lr=0.01, foreach=False),
    partial(RMSprop, lr=0.01, foreach=True),
]


@pytest.mark.parametrize("make_optimizer", OPTIMIZERS, ids=str)
@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("closure", [False, True])
def test_coupled_is_the_penalty_in_the_loss(
    make_optimizer: Callable[..., Optimizer], penalty: Penalty, closure: bool
) -> None:
    hooked = train(make_optimizer, penalty=penalty, how="coupled", closure=closure)
    assert_same(hooked, train(make_optimizer, in_loss=penalty, closure=closure))
    assert moved(hooked, train(make_optimizer))


@pytest.mark.parametrize("make_optimizer", OPTIMIZERS, ids=str)
def test_coupled_l2_is_twice_the_weight_decay(make_optimizer: Callable[..., Optimizer]) -> None:
    decay = partial(make_optimizer, weight_decay=2 * STRENGTH)
    hooked = train(make_optimizer, penalty=L2(STRENGTH), select=everything)
    assert_same(hooked, train(decay))


@pytest.mark.parametrize("foreach", [False, True])
@pytest.mark.parametrize("closure", [False, True])
def test_decoupled_l2_is_adamw(foreach: bool, closure: bool) -> None:
    adam, adamw = (partial(make, lr=0.01, foreach=foreach) for make in (Adam, AdamW))
    hooked = train(adam, penalty=L2(STRENGTH), how="decoupled", select=everything, closure=closure)
    assert_same(hooked, train(partial(adamw, weight_decay=2 * STRENGTH)))


def test_everything_is_the_tutorials_corrected_formula() -> None:
    def formula(model: nn.Module) -> Tensor:
        return STRENGTH * sum((p**2).sum() for p in model.parameters())

    model = make_net().float()
    assert_close(L2(STRENGTH)(model, everything), formula(model))
    hooked = train(partial(Adam, lr=0.01), penalty=L2(STRENGTH), select=everything)
    assert_same(hooked, train(partial(Adam, lr=0.01), in_loss=formula))


@pytest.mark.parametrize("line_search", [None, "strong_wolfe"])
@pytest.mark.parametrize("named", [False, True])
def test_c1_lbfgs_reads_the_penalty_in_the_loss(line_search: str | None, named: bool) -> None:
    def trained(hooked: bool) -> tuple[nn.Module, list[Tensor]]:
        net = make_net()
        (batch,) = batches(1)
        optimizer = LBFGS(net.parameters(), lr=0.5, line_search_fn=line_search)
        if hooked:
            regularize(net, optimizer, L2(STRENGTH))

        def closure() -> Tensor:
            optimizer.zero_grad()
            loss = data_loss(net, batch)
            if not hooked:
                loss = loss + L2(STRENGTH)(net)
            loss.backward()
            return loss.detach()

        steps = (
            optimizer.step(closure=closure) if named else optimizer.step(closure) for _ in "abc"
        )
        return net, list(steps)

    (one, losses), (other, expected) = trained(hooked=True), trained(hooked=False)
    assert_same(one, other)
    assert_close(losses, expected)


@pytest.mark.parametrize("how", ["decoupled", "proximal"])
def test_c1_lbfgs_refuses_other_couplings(how: str) -> None:
    net = make_net()
    with pytest.raises(ShrinkageError, match=r"LBFGS.*line search.*use how='coupled'"):
        regularize(net, LBFGS(net.parameters()), L2(STRENGTH), how=how)


def test_closure_keeps_its_loss_and_may_be_named() -> None:
    net = make_net()
    optimizer = SGD(net.parameters(), lr=0.1)
    regularize(net, optimizer, L2(100.0))
    (batch,) = batches(1)
    loss = data_loss(net, batch)
    assert optimizer.step(closure=lambda: loss) is loss


def test_b4_proximal_sgd_reaches_the_lasso_and_its_support() -> None:
    linear_model = pytest.importorskip("sklearn.linear_model")
    generator = torch.Generator().manual_seed(3)
    X = torch.randn(80, 20, generator=generator, dtype=torch.float64)
    truth = torch.where(torch.arange(20) < 5, 2.0, 0.0).double()
    y = X @ truth + torch.randn(80, generator=generator, dtype=torch.float64)
    alpha = 0.1
    lasso = linear_model.Lasso(alpha, fit_intercept=False, tol=1e-12).fit(X.numpy(), y.numpy())
    model = nn.Linear(20, 1, bias=False).double()
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, L1(2 * alpha))
    assert handle.how == "proximal"
    for _ in range(1000):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(X).squeeze(1), y).backward()
        optimizer.step()
    found = model.weight.detach().squeeze(0)
    assert_close(found, torch.from_numpy(lasso.coef_), rtol=0, atol=1e-9)
    assert torch.equal(found == 0, torch.from_numpy(lasso.coef_ == 0))
    assert 0 < int((found == 0).sum()) < 20


@pytest.mark.parametrize("penalty", PENALTIES, ids=lambda p: type(p).__name__)
@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
@pytest.mark.parametrize("closure", [False, True])
def test_b5_strength_zero_is_bitwise_no_penalty(penalty: Penalty, how: str, closure: bool) -> None:
    for make in (partial(SGD, lr=0.1, momentum=0.9), partial(Adam, lr=0.01)):
        zero = train(make, penalty=penalty.at(0.0), how=how, closure=closure)
        assert not moved(zero, train(make, closure=closure))


def test_scheduler_at_rate_zero_leaves_the_weights_alone() -> None:
    for how in ("decoupled", "proximal"):
        model = train(partial(SGD, lr=0.0), penalty=L1(1.0), how=how)
        assert not moved(model, make_net())


def test_maximize_lowers_the_penalty_too() -> None:
    up = partial(SGD, lr=0.1, maximize=True)
    hooked = train(up, penalty=L2(STRENGTH), select=everything)
    assert_same(hooked, train(partial(up, weight_decay=2 * STRENGTH)))
