"""The couplings as pure functions."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from shrinkage.coupling import check_coupling, coupled, decoupled, proximal, resolve_coupling
from shrinkage.errors import ShrinkageError
from shrinkage.penalties import L1, L2, MCP, ElasticNet, GroupLasso, Penalty

W = torch.tensor([[3.0, -0.1], [0.0, 1.0]])
G = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


def test_coupled_adds_the_gradient() -> None:
    assert_close(coupled(L2(0.5), W, G), G + W)
    assert_close(coupled(L1(0.5), W, G), G + torch.tensor([[0.5, -0.5], [0.0, 0.5]]))


@pytest.mark.parametrize("lr", [0.1, torch.tensor(0.1)])
def test_decoupled_l2_multiplies_as_adamw_does(lr: float | torch.Tensor) -> None:
    assert_close(W - decoupled(L2(0.5), W, lr), W * (1 - 0.1 * 1.0))


@pytest.mark.parametrize("lr", [0.4, torch.tensor(0.4)])
def test_proximal_takes_the_rate_as_step(lr: float | torch.Tensor) -> None:
    assert_close(proximal(L1(0.5), W, lr), torch.tensor([[2.8, 0.0], [0.0, 0.8]]))


@pytest.mark.parametrize("penalty", [L2(0.5), L1(0.5), ElasticNet(0.5), GroupLasso(0.5)])
def test_arguments_are_left_alone_and_zero_changes_nothing(penalty: Penalty) -> None:
    w, gradient = W.clone(), G.clone()
    coupled(penalty, w, gradient)
    decoupled(penalty, w, 0.1)
    proximal(penalty, w, 0.1)
    assert torch.equal(w, W)
    assert torch.equal(gradient, G)
    zero = penalty.at(0.0)
    assert torch.equal(coupled(zero, W, G), G)
    assert not decoupled(zero, W, 0.1).any()
    assert torch.equal(proximal(zero, W, 0.1), W)


def test_default_is_coupled_for_smooth_and_proximal_for_kinks() -> None:
    assert resolve_coupling(None, L2(0.1)) == "coupled"
    for penalty in (L1(0.1), ElasticNet(0.1), GroupLasso(0.1)):
        assert resolve_coupling(None, penalty) == "proximal"
    for how in ("coupled", "decoupled", "proximal"):
        assert resolve_coupling(how, L2(0.1)) == how


@pytest.mark.parametrize("how", ["loss", "prox", "", "Coupled"])
def test_unknown_coupling_is_refused(how: str) -> None:
    with pytest.raises(
        ShrinkageError, match=r"choose from coupled, decoupled, proximal.*penalty\("
    ):
        resolve_coupling(how, L2(0.1))


def test_a_sum_without_exact_prox_is_refused_before_training() -> None:
    check_coupling(L1(0.1) + L2(0.1), W, "proximal")
    check_coupling(L1(0.1) + MCP(0.1), W, "coupled")
    with pytest.raises(ShrinkageError, match="has no exact prox"):
        check_coupling(L1(0.1) + MCP(0.1), W, "proximal")
