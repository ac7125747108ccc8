"""A penalty around a reference: the same laws, snapshots that stay, loud refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.testing import assert_close

from shrinkage.errors import ShrinkageError
from shrinkage.penalties import L1, L2, GroupLasso, Orthogonal, Penalty, SpectralNorm, catalogue
from shrinkage.result.described import penalty_facts, penalty_from
from shrinkage.testing import check_penalty

SHAPE = (4, 3)
REFERENCE = torch.randn(SHAPE, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
PENALTIES = [
    kind(**example, toward=REFERENCE)
    for kind in catalogue().values()
    if kind.takes_toward
    for example in kind.examples
]


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 2))


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_the_laws_hold_around_a_reference(penalty: Penalty) -> None:
    check_penalty(penalty, shape=SHAPE)


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_it_is_the_penalty_of_the_difference(penalty: Penalty, dtype: torch.dtype) -> None:
    w = torch.randn(SHAPE, generator=torch.Generator().manual_seed(6)).to(dtype)
    plain, wide = penalty.around_zero(), torch.float64 if dtype == torch.float64 else torch.float32
    difference = w.to(wide) - REFERENCE.to(wide)
    assert_close(penalty.value(w), plain.value(difference))
    assert_close(penalty.gradient(w), plain.gradient(difference).to(dtype))
    moved = REFERENCE.to(wide) + plain.prox(difference, 0.7)
    assert_close(penalty.prox(w, 0.7), moved.to(dtype))
    assert_close(penalty.strength_max(w), plain.strength_max(w))


@pytest.mark.parametrize("penalty", PENALTIES, ids=repr)
def test_a_strong_pull_ends_at_the_reference_exactly(penalty: Penalty) -> None:
    if not penalty.smooth and getattr(penalty, "l1_ratio", 1) > 0:
        w = REFERENCE + 0.01
        assert torch.equal(penalty.at(10.0).prox(w, 10.0), REFERENCE)


def test_l2_sp_by_hand() -> None:
    penalty = L2(0.5, toward=torch.tensor([1.0, -1.0]))
    w = torch.tensor([3.0, -1.0])
    assert penalty.value(w) == 2.0
    assert torch.equal(penalty.gradient(w), torch.tensor([2.0, 0.0]))
    assert torch.equal(penalty.prox(w, 1.0), torch.tensor([2.0, -1.0]))


@pytest.mark.parametrize("form", ["state_dict", "parameters", "with extra"])
def test_a_snapshot_stays_when_the_model_moves_on(form: str) -> None:
    model = net()
    toward: dict[str, Any] = {
        "state_dict": model.state_dict(),
        "parameters": dict(model.named_parameters()),
        "with extra": {**model.state_dict(), "steps": torch.tensor(3), "note": "text"},
    }[form]
    penalty, before = L2(0.1, toward=toward), [w.detach().clone() for w in model.parameters()]
    assert penalty(model) == 0
    with torch.no_grad():
        for w in model.parameters():
            w.mul_(3).add_(1)
    moved = [w.double() - b.double() for w, b in zip(model.parameters(), before, strict=True)]
    expected = 0.1 * (moved[0].square().sum() + moved[2].square().sum())
    value = penalty(model)
    assert_close(value.double(), expected, rtol=1e-6, atol=0)
    value.backward()
    assert_close(model[0].weight.grad, 0.2 * moved[0].float())
    reference = penalty.for_tensor("0.weight", model[0].weight).toward
    assert isinstance(reference, dict)
    assert not any(w.requires_grad for w in reference.values())


def test_a_tensor_as_reference_is_copied_too() -> None:
    reference = torch.zeros(2)
    penalty = L1(1.0, toward=reference)
    reference.add_(5)
    assert penalty.value(torch.ones(2)) == 2


def test_another_strength_shares_the_snapshot() -> None:
    penalty = L2(0.1, toward=net().state_dict())
    assert penalty.at(0.2).toward is penalty.toward
    assert replace(penalty, strength=3.0).toward is penalty.toward


def test_binding_is_the_identity_without_a_reference() -> None:
    penalty = L1(0.1)
    assert penalty.for_tensor("any", torch.ones(2)) is penalty
    bound = L2(0.1, toward=net().state_dict()).for_tensor("0.weight", torch.ones(2, 3))
    again = bound.for_tensor("0.weight", torch.ones(2, 3))
    assert_close(again.value(torch.ones(2, 3)), bound.value(torch.ones(2, 3)))


def test_twins_elsewhere_have_no_reference() -> None:
    assert repr(L2(0.1, toward=torch.zeros(2))) == "L2(0.1, toward=<1 tensors>)"
    assert not L1(0.1, toward=torch.zeros(2)).twins()


@pytest.mark.parametrize("kind", [Orthogonal, SpectralNorm])
def test_penalties_without_a_center_refuse(kind: type[Penalty]) -> None:
    with pytest.raises(ShrinkageError, match=f"^{kind.__name__} cannot pull to a reference"):
        kind(0.1, toward=torch.zeros(2, 2))


@pytest.mark.parametrize(
    ("toward", "message"),
    [
        (net(), "toward=Sequential is not a reference; give model.state_dict()"),
        (3.0, "toward=float is not a reference"),
        ({}, "holds no floating-point tensor"),
        (torch.tensor([1, 2]), "holds no floating-point tensor"),
        ({"a": torch.tensor([1.0, float("nan")])}, "not finite at a"),
        (torch.tensor([float("inf")]), "not finite at its tensor"),
    ],
)
def test_what_is_no_reference_is_refused(toward: Any, message: str) -> None:
    with pytest.raises(ShrinkageError, match=f"^L2: .*{message}"):
        L2(0.1, toward=toward)


def test_references_that_do_not_fit_are_refused() -> None:
    model, w = net(), torch.zeros(2, 3)
    penalty = L2(0.1, toward={"0.weigth": w, "2.weight": torch.zeros(2, 1)})
    with pytest.raises(
        ShrinkageError, match=r"toward= has no '0.weight'; nearest names: 2.weight, 0.weigth"
    ):
        penalty(model)
    with pytest.raises(ShrinkageError, match=r"2.weight: toward= has shape \(2, 1\).*\(2, 2\)"):
        penalty.for_tensor("2.weight", model[2].weight)
    for operation in (penalty.value, penalty.gradient, lambda w: penalty.prox(w, 1.0)):
        with pytest.raises(ShrinkageError, match=r"use penalty.for_tensor\(name, w\)"):
            operation(w)
    with pytest.raises(ShrinkageError, match=r"toward= has shape \(2,\), the tensor \(1, 2\)"):
        GroupLasso(0.1, toward=torch.zeros(2)).value(torch.zeros(1, 2))


@pytest.mark.parametrize("prefix", ["_orig_mod.", "module.", "module._orig_mod."])
def test_the_reference_of_a_wrapped_model_is_that_of_the_model(prefix: str) -> None:
    model = net()
    wrapped = {prefix + name: torch.zeros_like(w) for name, w in model.state_dict().items()}
    assert_close(L2(0.1, toward=wrapped)(model), L2(0.1)(model))
    own = nn.ModuleDict({"module": model})  # not a wrapper, but named like one
    assert_close(L2(0.1, toward=own.state_dict())(own), torch.tensor(0.0))


def test_it_maps_over_strengths_and_compiles() -> None:
    penalty = L1(0.1, toward={"w": REFERENCE})

    def operations(w: Tensor, strength: Tensor) -> list[Tensor]:
        one = penalty.at(strength).for_tensor("w", w)
        return [one.value(w), one.gradient(w), one.prox(w, 0.5)]

    strengths = torch.tensor([0.0, 0.3], dtype=torch.float64)
    w = REFERENCE + torch.linspace(-1, 1, 12, dtype=torch.float64).reshape(SHAPE)
    mapped = torch.func.vmap(operations, (None, 0))
    compiled = torch.compile(mapped, fullgraph=True, backend="aot_eager")
    looped = [
        torch.stack(pair) for pair in zip(*(operations(w, s) for s in strengths), strict=True)
    ]
    assert_close(mapped(w, strengths), looped)
    assert_close(compiled(w, strengths), looped)


def test_a_saved_run_remembers_the_reference() -> None:
    penalty = GroupLasso(0.1, dim=(0, 1), toward={"a": REFERENCE, "b": torch.ones(2, 2)})
    facts = json.loads(json.dumps(penalty_facts(penalty)))
    again = penalty_from(facts)
    w = REFERENCE.flip(0)
    assert type(again) is GroupLasso
    assert again.dim == (0, 1)
    assert torch.equal(again.for_tensor("a", w).gradient(w), penalty.for_tensor("a", w).gradient(w))
