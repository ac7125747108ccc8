"""fault 28: parameters without a size yet are skipped until they have one."""

from __future__ import annotations

import re

import pytest
import torch
from _training import STRENGTH, assert_same, batches, data_loss
from torch import nn
from torch.optim import SGD, Optimizer
from torch.testing import assert_close

from shrinkage.errors import ShrinkageError, ShrinkageWarning
from shrinkage.parameters import Selection, everything, explain_selection, selected_parameters
from shrinkage.penalties import L1, L2, GroupLasso
from shrinkage.regularizing.regularize import regularize


def lazy_net() -> nn.Sequential:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.LazyLinear(3)).double()


def train(model: nn.Module, optimizer: Optimizer) -> None:
    for batch in batches(3):
        optimizer.zero_grad()
        data_loss(model, batch).backward()
        optimizer.step()


@pytest.mark.parametrize("how", ["coupled", "decoupled", "proximal"])
def test_what_gets_its_size_is_penalized_from_that_step_on(how: str) -> None:
    late, early = lazy_net(), lazy_net()
    torch.manual_seed(2)
    early(torch.zeros(1, 4).double())
    torch.manual_seed(2)
    for model in (late, early):
        optimizer = SGD(model.parameters(), lr=0.1)
        regularize(model, optimizer, L1(0.1), how=how)
        train(model, optimizer)
    assert_same(late, early, rtol=0, atol=0)


def test_it_is_listed_until_then() -> None:
    model = lazy_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, L2(STRENGTH))
    before = {row["name"]: row for row in handle.summary().rows}
    assert before["2.weight"]["why"] == "not initialized yet: weight of LazyLinear"
    assert before["2.bias"]["why"] == "bias of LazyLinear"
    assert [row["penalized"] for row in before.values()] == [True, False, False, False]
    assert (before["2.weight"]["numel"], before["2.weight"]["value"]) == (0, 0)
    assert "1 of 4 tensors, 24 of 30 numbers" in str(handle.summary())
    assert_close(handle.value(), STRENGTH * model[0].weight.detach().square().sum())
    train(model, optimizer)
    assert [row["penalized"] for row in handle.summary().rows] == [True, False, True, False]
    assert_close(handle.value(), L2(STRENGTH)(model).detach())


@pytest.mark.parametrize(
    "select",
    ["0.*", re.compile("weight"), nn.Linear, everything, lambda name, w: w.dim() == 2],
    ids=["glob", "regex", "type", "everything", "callable"],
)
def test_a_model_of_nothing_else_is_taken(select: Selection) -> None:
    model = nn.Sequential(nn.LazyLinear(3), nn.LazyBatchNorm1d())
    assert selected_parameters(model, select) == {}
    assert L2(1.0)(model, select) == 0
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, L2(1.0), select=select)
    assert handle.value() == 0
    optimizer.step()
    model(torch.ones(2, 2)).sum().backward()
    optimizer.step()
    assert handle.value() == L2(1.0)(model, select) > 0


def test_what_can_never_match_is_refused_at_once() -> None:
    model = nn.Sequential(nn.LazyLinear(3))
    with pytest.raises(ShrinkageError, match=r"'1\.\*' matches no parameter"):
        explain_selection(model, "1.*")
    with pytest.raises(ShrinkageError, match="matches no parameter"):
        explain_selection(nn.LazyBatchNorm1d())


def test_a_callable_that_matches_nothing_is_refused_when_it_can_be_asked() -> None:
    model = nn.LazyLinear(3)
    optimizer = SGD(model.parameters(), lr=0.1)
    regularize(model, optimizer, L2(1.0), select=lambda name, w: w.dim() == 7)
    model(torch.ones(1, 2)).sum().backward()
    with pytest.raises(ShrinkageError, match="matches no parameter"):
        optimizer.step()


def test_what_the_penalty_does_not_take_is_refused_when_it_is_known() -> None:
    model = nn.LazyLinear(3)
    optimizer = SGD(model.parameters(), lr=0.1)
    regularize(model, optimizer, GroupLasso(1.0, dim=1), select=everything)
    model(torch.ones(1, 2)).sum().backward()
    with pytest.raises(ShrinkageError, match=r"^bias: GroupLasso: dim=1"):
        optimizer.step()


def test_the_first_rule_that_matches_wins_as_ever() -> None:
    model = lazy_net()
    optimizer = SGD(model.parameters(), lr=0.1)
    rules = {"2.*": None, "*.weight": L1(0.5)}
    handle = regularize(model, optimizer, rules, how="coupled")
    reasons = {row["name"]: row["why"] for row in handle.summary().rows}
    assert reasons["2.weight"] == "left alone: not initialized yet: glob '2.*'"
    handle.remove()
    handle = regularize(model, optimizer, {"0.weight": L2(0.1), "2.weight": L1(0.5)})
    (row,) = (row for row in handle.summary().rows if row["name"] == "2.weight")
    assert (row["why"], row["rule_number"]) == ("not initialized yet: glob '2.weight'", 2)
    train(model, optimizer)
    (row,) = (row for row in handle.summary().rows if row["name"] == "2.weight")
    assert (row["penalty"], row["strength"]) == ("L1", 0.5)


def test_a_rule_that_could_not_be_asked_is_asked_again() -> None:
    late, early = lazy_net(), lazy_net()
    torch.manual_seed(2)
    early(torch.zeros(1, 4).double())
    torch.manual_seed(2)
    rules = {lambda name, w: w.dim() == 1: None, "*": L1(0.5)}
    for model, known in ((late, False), (early, True)):
        optimizer = SGD(model.parameters(), lr=0.1)
        handle = regularize(model, optimizer, rules)
        assert [row["penalized"] for row in handle.summary().rows] == [True, False, known, False]
        train(model, optimizer)
    assert_same(late, early, rtol=0, atol=0)


def test_two_penalties_on_one_tensor_are_refused_before_it_has_a_size() -> None:
    model = nn.LazyLinear(3)
    optimizer = SGD(model.parameters(), lr=0.1)
    regularize(model, optimizer, L2(0.1))
    with pytest.raises(ShrinkageError, match="weight already carries L2"):
        regularize(model, optimizer, L2(0.1))


def test_an_optimizer_without_it_is_told_of_when_it_has_its_size() -> None:
    model = lazy_net()
    optimizer = SGD(model[0].parameters(), lr=0.1)
    regularize(model, optimizer, L2(STRENGTH))
    with pytest.warns(ShrinkageWarning, match=r"does not hold 2\.weight"):
        train(model, optimizer)


def test_a_fused_optimizer_is_asked_for_sizes_that_are_there() -> None:
    model = lazy_net()
    optimizer = SGD(model.parameters(), lr=0.1, fused=True)
    regularize(model, optimizer, L2(STRENGTH))
    train(model, optimizer)


def test_a_reference_needs_a_size() -> None:
    with pytest.raises(
        ShrinkageError, match=r"toward= has no size yet at 2\.weight; run one batch"
    ):
        L2(0.1, toward=lazy_net().state_dict())
