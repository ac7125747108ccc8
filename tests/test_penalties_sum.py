"""Sums of penalties: the laws where the prox is exact, refusals elsewhere."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from shrinkage.coupling import resolve_coupling
from shrinkage.errors import ShrinkageError
from shrinkage.penalties import (
    L1,
    L2,
    MCP,
    SCAD,
    ElasticNet,
    GroupLasso,
    NuclearNorm,
    Orthogonal,
    Penalty,
    SparseGroupLasso,
    SpectralNorm,
    Sum,
    catalogue,
)
from shrinkage.result.described import penalty_facts, penalty_from
from shrinkage.testing import check_penalty

W = torch.randn(4, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
EXACT: list[Penalty] = [
    L1(0.3) + L2(0.2),
    L2(0.1) + L2(0.2),
    L1(0.1) + L1(0.2) + L1(0.3),
    L1(0.3) + GroupLasso(0.2),
    L2(0.1) + GroupLasso(0.2, dim=1) + L1(0.3),
    GroupLasso(0.3) + GroupLasso(0.2, dim=(0, 1)) + L1(0.1),
    ElasticNet(0.3) + SparseGroupLasso(0.2, l1_ratio=0.4),
    NuclearNorm(0.3) + L2(0.2) + NuclearNorm(0.1),
    SpectralNorm(0.3) + L2(0.2),
    (L1(0.3) + L2(0.2)).at(2.0) + L1(0.1),
]
NO_CLOSED_PROX: list[Penalty] = [
    L1(0.3) + NuclearNorm(0.2),
    L1(0.3) + MCP(0.2),
    MCP(0.3) + MCP(0.3),
    GroupLasso(0.3) + GroupLasso(0.3, dim=1),
    NuclearNorm(0.3) + SpectralNorm(0.2),
    L1(0.3, toward=W) + GroupLasso(0.2),
    L1(0.3, toward=W) + L1(0.3, toward=-W),
    Orthogonal(0.3) + L1(0.1),
]


@pytest.mark.parametrize("penalty", EXACT, ids=repr)
def test_exact_sums_obey_the_laws(penalty: Penalty) -> None:
    check_penalty(penalty)


def test_nested_groups_of_a_convolution_obey_the_laws() -> None:
    filters_and_kernels = GroupLasso(0.2) + GroupLasso(0.1, dim=(0, 1)) + L1(0.05)
    check_penalty(filters_and_kernels, shape=(3, 2, 2, 2))


@pytest.mark.parametrize("penalty", NO_CLOSED_PROX, ids=repr)
def test_an_inexact_prox_is_refused_but_not_the_gradient(penalty: Penalty) -> None:
    with pytest.raises(
        ShrinkageError, match=r"has no exact prox. The prox is exact .* Use how='coupled'"
    ):
        penalty.prox(torch.zeros_like(W), 1.0)
    leaf = W.clone().requires_grad_()
    (derivative,) = torch.autograd.grad(penalty.value(leaf), leaf)
    assert_close(penalty.gradient(W), derivative)


def test_equal_penalties_written_in_two_ways() -> None:
    for one, other in [
        (L1(0.3) + L2(0.1), ElasticNet(0.5, l1_ratio=0.6)),
        (L1(0.3) + GroupLasso(0.2, dim=1), SparseGroupLasso(0.5, l1_ratio=0.6, dim=1)),
        (L2(0.3) + L2(0.1), L2(0.4)),
        ((L1(0.3) + L1(0.1)).at(0.5), L1(0.2)),
        (L1(0.3) + L2(0.0), L1(0.3)),
    ]:
        assert_close(one.value(W), other.value(W))
        assert_close(one.gradient(W), other.gradient(W))
        assert_close(one.prox(W, 0.7), other.prox(W, 0.7))
        ours, theirs = one.strength_max(W) / one.strength, other.strength_max(W) / other.strength
        assert_close(ours, theirs)


@pytest.mark.parametrize("other", [MCP(0.4, gamma=0.6), SCAD(0.3), MCP(0.2, gamma=3.0)], ids=repr)
def test_l2_beside_a_penalty_that_is_not_convex(other: Penalty) -> None:
    """The prox against a grid, for small and large steps."""
    grid = torch.linspace(-4, 4, 16001, dtype=torch.float64)
    penalty = other + L2(0.1, toward=torch.tensor(0.3, dtype=torch.float64))
    for step in (0.1, 1.0, 10.0):
        for w in (-3.0, -0.4, 0.0, 0.7, 2.0):
            point = torch.tensor(w, dtype=torch.float64)
            values = torch.func.vmap(penalty.value)(grid)
            objective = (grid - point).square() / 2 + step * values
            found = penalty.prox(point, step)
            ours = (found - point).square() / 2 + step * penalty.value(found)
            assert ours <= objective.min() + 1e-12


def test_l2_around_another_reference_than_the_rest() -> None:
    penalty = L1(0.3, toward=W) + L2(0.2, toward=2 * W)
    check = torch.randn(5000, 4, 3, generator=torch.Generator().manual_seed(2)).double()
    for w in (0 * W, 3 * W, W + 0.1):
        found = penalty.prox(w, 0.7)
        candidates = torch.cat([found + scale * check for scale in (1e-3, 0.1, 1.0)])

        def objective(u: torch.Tensor, w: torch.Tensor = w) -> torch.Tensor:
            return (u - w).square().sum() / 2 + 0.7 * penalty.value(u)

        assert torch.func.vmap(objective)(candidates).min() >= objective(found)
    with pytest.raises(
        ShrinkageError, match="no strength_max, because its terms pull to different ref"
    ):
        penalty.strength_max(W)


def test_equal_references_are_one_and_are_bound_together() -> None:
    model = nn.Linear(3, 4)
    before = copy.deepcopy(model.state_dict())
    penalty = L1(0.3, toward=model.state_dict()) + GroupLasso(0.2, toward=before)
    assert isinstance(penalty, Sum)
    assert penalty.terms[0].toward is penalty.terms[1].toward
    w = model.weight.detach()
    both = penalty.for_tensor("weight", w)
    moved = w + SparseGroupLasso(0.5, l1_ratio=0.6).prox(torch.ones_like(w), 0.1)
    assert_close(both.prox(w + 1, 0.1), moved)
    assert torch.equal(both.center(w), w)
    assert penalty(model) == 0
    assert both.strength_max(w).isfinite()


def test_binding_is_the_identity_without_references() -> None:
    penalty = L1(0.1) + L2(0.1)
    assert penalty.for_tensor("w", W) is penalty


def test_strength_max_is_refused_where_it_cannot_be_said() -> None:
    with pytest.raises(ShrinkageError, match="MCP and SCAD are not linear in their strength"):
        (MCP(0.2) + L2(0.1)).strength_max(W)
    with pytest.raises(ShrinkageError, match="has no exact prox"):
        (L1(0.2) + NuclearNorm(0.1)).strength_max(W)
    assert (L2(0.1) + L2(0.3)).strength_max(W) == torch.inf
    assert (L1(0.0) + L2(0.3)).strength_max(W) == torch.inf


def test_flags_flattening_and_text() -> None:
    two = L1(1e-4) + L2(1e-3)
    three = two + GroupLasso(0.1, dim=1)
    assert isinstance(three, Sum)
    assert [type(term) for term in three.terms] == [L1, L2, GroupLasso]
    assert repr(three) == "L1(0.0001) + L2(0.001) + GroupLasso(0.1, dim=1)"
    assert repr(two.at(0.5)) == "(L1(0.0001) + L2(0.001)).at(0.5)"
    assert (two.convex, two.smooth) == (True, False)
    assert ((L2(1.0) + Orthogonal(1.0)).convex, (L2(1.0) + L2(1.0)).smooth) == (False, True)
    assert resolve_coupling(None, two) == "proximal"
    assert resolve_coupling(None, L2(0.1) + Orthogonal(0.1)) == "coupled"
    assert Sum not in catalogue().values()


def test_what_is_no_penalty_is_refused() -> None:
    with pytest.raises(TypeError, match="unsupported operand"):
        L1(0.1) + 1.0  # type: ignore[operator]
    with pytest.raises(ShrinkageError, match=r"terms=.* must be penalties; add them with"):
        Sum(terms=())
    with pytest.raises(ShrinkageError, match=r"^Sum cannot pull to a reference"):
        Sum(terms=(L1(0.1),), toward=W)


def test_a_saved_run_remembers_the_terms() -> None:
    penalty = (L1(0.3) + GroupLasso(0.2, dim=(0, 1), toward=W)).at(2.0)
    again = penalty_from(json.loads(json.dumps(penalty_facts(penalty))))
    assert repr(again) == repr(penalty)
    assert torch.equal(again.gradient(W), penalty.gradient(W))


def test_a_new_factor_compiles_nothing_new() -> None:
    from torch._dynamo.testing import CompileCounterWithBackend

    penalty = L1(0.3) + GroupLasso(0.2) + L2(0.1)

    def operations(w: torch.Tensor, strength: torch.Tensor) -> list[torch.Tensor]:
        one = penalty.at(strength)
        return [one.value(w), one.gradient(w), one.prox(w, 0.5)]

    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(operations, fullgraph=True, backend=counter)
    for strength in (0.0, 0.1, 2.0):
        assert_close(compiled(W, torch.tensor(strength)), operations(W, torch.tensor(strength)))
    assert counter.frame_count == 1


def test_pythons_sum_adds_penalties_up() -> None:
    assert repr(sum([L1(0.1), L2(0.2), L2(0.3)])) == "L1(0.1) + L2(0.2) + L2(0.3)"
    for other in (1, 0.0, False):
        with pytest.raises(TypeError, match="unsupported operand"):
            other + L1(0.1)


def test_the_strengths_of_a_sum_are_its_own_and_those_of_its_terms() -> None:
    inner, live = (L1(0.5) + L2(0.25)).at(2.0), torch.tensor(0.125)
    penalty = Sum(terms=(inner, GroupLasso(live)))
    assert penalty.strengths() == [1.0, 2.0, 0.5, 0.25, live]
    assert penalty.strengths()[-1] is live
    changed = penalty.with_strengths([2.0, 3.0, 0.1, 0.2, live])
    assert changed.strengths() == [2.0, 3.0, 0.1, 0.2, live]
    assert repr(changed) == "((L1(0.1) + L2(0.2)).at(3) + GroupLasso(0.125, dim=0)).at(2)"
    assert L1(0.5).with_strengths([0.1]).strengths() == [0.1]
