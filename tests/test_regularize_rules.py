"""Ordered rules: several penalties and constraints in one handle, the first match wins."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import torch
from _training import STRENGTH, assert_same, batches, forward_backward, make_net, moved, train
from torch import Tensor, nn
from torch.optim import SGD, Adam
from torch.testing import assert_close

from shrinkage.constraints import Constraint, NonNegative
from shrinkage.errors import ShrinkageError, ShrinkageWarning
from shrinkage.parameters import everything, weights
from shrinkage.penalties import L1, L2, ElasticNet
from shrinkage.regularizing.regularize import regularize


@dataclass(frozen=True)
class Ball(Constraint):
    """Keeps the norm of a tensor at most ``radius``."""

    radius: float

    def project(self, w: Tensor) -> Tensor:
        return w * (self.radius / w.norm()).clamp(max=1)

    def violation(self, w: Tensor) -> Tensor:
        return (w.norm() - self.radius).clamp_min(0)


def trained(rules: Any, make: Any = partial(SGD, lr=0.1, momentum=0.9), **options: Any) -> Any:
    model = make_net()
    optimizer = make(model.parameters())
    handle = regularize(model, optimizer, rules, **options)
    for batch in batches():
        forward_backward(model, optimizer, batch)
        optimizer.step()
    model.optimizer = optimizer  # a handle acts as long as its optimizer lives
    return model, handle


def test_the_first_rule_that_matches_a_tensor_wins() -> None:
    rules = {"2.weight": L1(0.01), "2.bias": None, "0.*": None, everything: L2(0.02)}
    with pytest.raises(ShrinkageError, match=r"everything: L2\(0.02\), coupled never acts"):
        trained(rules)
    del rules["2.bias"]
    model, handle = trained(rules, how="coupled")
    assert_same(
        model,
        train(
            partial(SGD, lr=0.1, momentum=0.9),
            in_loss=lambda net: L1(0.01)(net, "2.weight") + L2(0.02)(net, "2.bias"),
        ),
    )
    assert [row["rule"] for row in handle.summary().rows] == [
        "'0.*': None",
        "'0.*': None",
        "'2.weight': L1(0.01), coupled",
        "everything: L2(0.02), coupled",
    ]
    assert [row["penalized"] for row in handle.summary().rows] == [False, False, True, True]
    assert handle.summary().rows[0]["why"] == "left alone: glob '0.*'"


@pytest.mark.parametrize(
    "key",
    ["2.w*", re.compile(r"^2\.weight$"), lambda name, w: name == "2.weight", nn.Linear, weights],
    ids=["glob", "regex", "function", "type", "weights"],
)
def test_a_rule_takes_any_selection_and_its_own_coupling(key: Any) -> None:
    model, handle = trained({"0.*": L2(0.02), key: L1(0.05)})
    assert [rule.how for rule in handle.rules] == ["coupled", "proximal"]
    expected = make_net()
    optimizer = SGD(expected.parameters(), lr=0.1, momentum=0.9)
    regularize(expected, optimizer, L2(0.02), select="0.*")
    regularize(expected, optimizer, L1(0.05), select="2.weight")
    for batch in batches():
        forward_backward(expected, optimizer, batch)
        optimizer.step()
    assert not moved(model, expected)
    assert_close(
        handle.value(),
        L2(0.02)(model, "0.*").detach() + L1(0.05)(model, "2.weight").detach(),
    )


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        ({"0.*": L2(0.1), "heda.*": L1(0.1)}, r"'heda\.\*' matches no parameter"),
        ({"0.*": L2(0.1), "0.weight": L1(0.1)}, r"rule '0\.weight': L1\(0\.1\).*Put it before"),
        ({weights: None, nn.Linear: L1(0.1)}, r"rule Linear: L1\(0\.1\), proximal never acts"),
        ({"0.*": L2(0.1), "0.weight": None}, r"rule '0\.weight': None never acts"),
        ({"0.*": None}, "leave every tensor alone"),
        ({}, "leave every tensor alone"),
        ({"0.*": 0.1}, r"penalty=0\.1 is not a penalty; .*rules such as"),
        ({3: L2(0.1)}, "select=3 is not a selection"),
    ],
)
def test_rules_that_would_not_act_are_refused_by_name(rules: Any, message: str) -> None:
    with pytest.raises(ShrinkageError, match=message):
        trained(rules)


def test_rules_and_select_together_are_refused() -> None:
    with pytest.raises(ShrinkageError, match="select=everything beside rules"):
        trained({"0.*": L2(0.1)}, select=everything)


def test_a_coupling_for_a_constraint_is_refused_unless_it_is_for_the_penalties_beside() -> None:
    with pytest.raises(ShrinkageError, match=r"how='coupled' beside .*leave how= out"):
        trained(Ball(1.0), how="coupled")
    _, handle = trained({"0.*": Ball(1.0), "2.*": L1(0.1)}, how="coupled")
    assert [rule.how for rule in handle.rules] == ["projected", "coupled"]


def test_a7_the_table_of_rules_says_why_a_parametrized_weight_is_left_out() -> None:
    model = make_net()
    nn.utils.parametrizations.weight_norm(model[0])
    optimizer = SGD(model.parameters(), lr=0.1)
    with pytest.warns(ShrinkageWarning, match=r"left alone: \d\d% .*original1 \(parametrized\)"):
        handle = regularize(model, optimizer, {"2.bias": L1(0.1), weights: L2(0.1)})
    why = {row["name"]: row["why"] for row in handle.summary().rows}
    assert "effective weight 0.weight" in why["0.parametrizations.weight.original1"]
    assert why["0.bias"] == "no rule matches"


def test_each_rule_has_its_penalty_and_a_single_one_needs_no_number() -> None:
    _, handle = trained({"0.*": L2(0.1), "2.*": L2(0.2)})
    with pytest.raises(
        ShrinkageError, match=r"2 rules; say which one: handle\.rules\[0\]\.penalty"
    ):
        _ = handle.penalty
    with pytest.raises(ShrinkageError, match="2 rules"):
        handle.penalty = L2(0.3)
    handle.rules[1].penalty = handle.rules[1].penalty.at(0.3)
    assert repr(handle) == "2 rules, on SGD"
    lines = str(handle.summary()).splitlines()
    assert lines[2].startswith("rule 1: '0.*': L2(0.1), coupled; elsewhere: torch weight_decay=0.2")
    assert lines[3].startswith("rule 2: '2.*': L2(0.3), coupled; elsewhere: torch weight_decay=0.6")
    assert {row["strength"] for row in handle.summary().rows} == {0.1, 0.3}


def test_another_kind_of_penalty_is_refused_on_the_way() -> None:
    _, handle = trained(L2(0.1))
    with pytest.raises(ShrinkageError, match=r"L1\(0\.1\).* cannot replace L2.*regularize again"):
        handle.penalty = L1(0.1)


def test_a_rule_of_l2_beside_weight_decay_warns_only_where_both_act() -> None:
    model = make_net()
    groups = [
        {"params": model[0].parameters(), "weight_decay": 0.5},
        {"params": model[2].parameters(), "weight_decay": 0.0},
    ]
    regularize(model, SGD(groups, lr=0.1), {"0.*": L1(0.1), "2.*": L2(0.1)}).remove()
    with pytest.warns(UserWarning, match=r"weight_decay=0\.5, and L2\(0\.1\)"):
        regularize(model, SGD(groups, lr=0.1), {"2.*": L1(0.1), "0.*": L2(0.1)})


def test_a_constraint_is_projected_on_after_the_prox() -> None:
    model = nn.Linear(3, 2, bias=False)
    optimizer = SGD(model.parameters(), lr=0.1)
    with torch.no_grad():
        model.weight.mul_(10)
    handle = regularize(model, optimizer, Ball(1.0))
    regularize(model, optimizer, L1(0.5))
    assert handle.how == "projected"
    before = model.weight.detach().clone()
    model(torch.zeros(1, 3)).sum().backward()
    optimizer.step()
    assert_close(model.weight.detach(), Ball(1.0).project(L1(0.5).prox(before, 0.1)))
    assert handle.value() == 0
    (row,) = handle.summary().rows
    assert (row["penalty"], row["how"], row["value"]) == ("Ball", "projected", 0.0)
    assert str(handle) == "Ball(radius=1.0), projected, on SGD"


def test_two_constraints_on_a_tensor_are_refused() -> None:
    model = make_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    regularize(model, optimizer, {"0.*": Ball(1.0), "2.*": None})

    with pytest.raises(ShrinkageError, match=r"0\.weight already carries Ball.*two projections"):
        regularize(model, optimizer, NonNegative())
    regularize(model, optimizer, {"0.*": L2(0.1), weights: NonNegative()})


@pytest.mark.parametrize("fused", [False, True])
def test_c2_a_skipped_step_is_not_projected(fused: bool) -> None:
    model = nn.Linear(2, 2, bias=False)
    optimizer = Adam(model.parameters(), lr=0.01, fused=fused)
    regularize(model, optimizer, Ball(1e-3))
    before = model.weight.detach().clone()
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    for broken in (True, False):
        scaler.scale(model(torch.ones(1, 2)).sum()).backward()
        if broken:
            model.weight.grad[0, 0] = torch.inf
        scaler.step(optimizer)
        scaler.update()
        optimizer.zero_grad()
        assert torch.equal(model.weight, before) == broken
    assert_close(model.weight.norm().item(), 1e-3)


def test_rules_act_like_single_handles_under_lbfgs_and_two_handles_share_one_closure() -> None:
    from torch.optim import LBFGS

    (batch,) = batches(1)
    nets, losses = [make_net(), make_net()], []
    for net, together in zip(nets, (True, False), strict=True):
        optimizer = LBFGS(net.parameters(), lr=0.5)
        if together:
            regularize(net, optimizer, {"0.*": L2(0.1), "2.*": ElasticNet(STRENGTH)}, how="coupled")
        else:
            regularize(net, optimizer, L2(0.1), select="0.*")
            regularize(net, optimizer, ElasticNet(STRENGTH), select="2.*", how="coupled")
        losses.append([optimizer.step(partial(forward_backward, net, optimizer, batch)).item()])
    assert_same(*nets)
    assert losses[0] == losses[1]
