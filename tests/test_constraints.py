"""Every constraint obeys the laws, and each law can fail; oracles, conventions, refusals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import FrozenInstanceError
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.testing import assert_close

from shrinkage.constraints import Constraint, MaxNorm, NonNegative, UnitNorm
from shrinkage.errors import ShrinkageError
from shrinkage.testing import check_constraint
from shrinkage.testing.constraint_laws import LAWS
from shrinkage.testing.laws import Tensors

KINDS: list[type[Constraint]] = [MaxNorm, NonNegative, UnitNorm]
CASES = [
    pytest.param(kind(**example), shape, id=f"{kind.__name__}-{example}-{shape}")
    for kind in KINDS
    for example in kind.examples
    for shape in [(5,), (4, 3), (1, 6), (4, 2, 3, 3)]
    if "dim" not in example or len(shape) > 1
]
W = torch.tensor([[3.0, -4.0], [0.0, 0.0], [0.6, 0.8]])


@pytest.mark.parametrize(("constraint", "shape"), CASES)
def test_constraint_obeys_the_laws(constraint: Constraint, shape: tuple[int, ...]) -> None:
    check_constraint(constraint, shape=shape)


def make(base: type[Constraint], **wrong: Any) -> Constraint:
    kind: Callable[..., Constraint] = type("Wrong", (base,), wrong)
    return kind(**base.examples[0])


def by_keras_formula(self: MaxNorm, w: Tensor) -> Tensor:
    norm = torch.linalg.vector_norm(w, dim=list(range(1, w.dim())), keepdim=True)
    return w * (norm.clamp_max(self.limit) / (norm + 1e-7))


WRONG: dict[str, list[Constraint]] = {
    "type shape and input are kept": [
        make(NonNegative, project=lambda c, w: w.double().clamp_min(0)),
        make(NonNegative, project=lambda c, w: w.clamp_min_(0)),
        make(NonNegative, violation=lambda c, w: (-w).clamp_min(0)),
    ],
    "a projection satisfies the constraint": [
        make(MaxNorm, project=lambda c, w: w.clone()),
        make(MaxNorm, project=lambda c, w: MaxNorm(1.01 * c.limit).project(w)),
    ],
    "what satisfies the constraint stays": [
        make(MaxNorm, project=by_keras_formula),
        make(NonNegative, project=lambda c, w: w.clamp_min(0.1)),
        make(NonNegative, violation=lambda c, w: NonNegative.violation(c, w) * 0),
    ],
    "the projection is the nearest point": [
        make(NonNegative, project=lambda c, w: w.abs()),
        make(UnitNorm, project=lambda c, w: UnitNorm.project(c, w.flip(1))),
    ],
    "projections on a convex set are non expansive": [make(UnitNorm, convex=True)],
    "vmap over weights is a loop": [
        make(NonNegative, violation=lambda c, w: torch.tensor(float((-w).max().clamp_min(0)))),
    ],
}


@pytest.mark.parametrize(
    ("law", "constraint"), [(law, one) for law, ones in WRONG.items() for one in ones]
)
def test_a_wrong_constraint_is_caught_by_the_law_meant_for_it(
    law: str, constraint: Constraint
) -> None:
    (function,) = (f for f in LAWS if f.__name__.replace("_", " ") == law)
    with pytest.raises(Exception):  # noqa: B017, PT011
        function(constraint, Tensors((4, 3), 0))
    with pytest.raises(AssertionError, match=r"^law '.*' does not hold for "):
        check_constraint(constraint)


def test_every_law_has_a_wrong_constraint() -> None:
    assert list(WRONG) == [law.__name__.replace("_", " ") for law in LAWS]


def test_values_by_hand() -> None:
    assert_close(MaxNorm(2.0).project(W), torch.tensor([[1.2, -1.6], [0.0, 0.0], [0.6, 0.8]]))
    assert_close(MaxNorm(2.0).violation(W), torch.tensor(3.0))
    assert_close(UnitNorm().project(W), torch.tensor([[0.6, -0.8], [0.0, 0.0], [0.6, 0.8]]))
    assert_close(UnitNorm().violation(W), torch.tensor(4.0))
    assert UnitNorm().violation(torch.zeros(2, 2)) == 1
    assert torch.equal(NonNegative().project(W), torch.tensor([[3.0, 0], [0, 0], [0.6, 0.8]]))
    assert NonNegative().violation(W) == 4


@pytest.mark.parametrize("dim", [0, 1, 2])
def test_dim_is_that_of_torch_renorm(dim: int) -> None:
    w = torch.randn(4, 3, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert_close(MaxNorm(0.7, dim=dim).project(w), torch.renorm(w, 2, dim, 0.7), rtol=1e-6, atol=0)


def test_keras_names_the_axes_that_are_summed_over() -> None:
    """Its formula, up to its epsilon, on a kernel of Dense and of Conv2D, outputs last."""

    def keras(kernel: Tensor, axis: list[int]) -> Tensor:
        norm = kernel.square().sum(axis, keepdim=True).sqrt()
        return kernel * norm.clamp(0, 0.7) / norm

    w = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    dense = keras(w[:, :, 0, 0].T, [0]).T
    assert_close(MaxNorm(0.7).project(w[:, :, 0, 0]), dense)
    conv = keras(w.permute(2, 3, 1, 0), [0, 1, 2]).permute(3, 2, 0, 1)
    assert_close(MaxNorm(0.7).project(w), conv)


@pytest.mark.parametrize("constraint", [MaxNorm(1.3), UnitNorm(), NonNegative()], ids=repr)
def test_the_projection_is_what_gradient_descent_on_the_distance_finds(
    constraint: Constraint,
) -> None:
    """A numeric oracle on tensors that satisfy the constraint by their form, not by projection."""
    w = torch.randn(2, 3, generator=torch.Generator().manual_seed(3), dtype=torch.float64) * 2

    def formed(free: Tensor) -> Tensor:
        if isinstance(constraint, NonNegative):
            return free.square()
        norm = free.square().sum(1, keepdim=True).sqrt()
        unit = free / norm
        return unit if isinstance(constraint, UnitNorm) else unit * 1.3 * norm.sin().abs()

    free = torch.full_like(w, 0.5).add(0.1 * w).requires_grad_()
    solver = torch.optim.LBFGS([free], max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        distance = (formed(free) - w).square().sum()
        distance.backward()
        return distance

    solver.step(closure)
    assert_close(constraint.project(w), formed(free).detach(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_norms_of_half_precision_are_summed_in_float32(dtype: torch.dtype) -> None:
    w = torch.full((1, 70_000), 300.0, dtype=dtype)
    projected = MaxNorm(1000.0).project(w)
    assert_close(projected.float(), torch.full((1, 70_000), 1000 / 70_000**0.5), rtol=4e-3, atol=0)


def test_empty_tensors_satisfy_every_constraint() -> None:
    for constraint in (MaxNorm(1.0), NonNegative()):
        assert constraint.project(torch.zeros(0, 3)).shape == (0, 3)
        assert constraint.violation(torch.zeros(0, 3)) == 0


@pytest.mark.parametrize("constraint", [MaxNorm(1.0), UnitNorm(), NonNegative()], ids=repr)
@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64])
def test_what_is_not_real_is_refused(constraint: Constraint, dtype: torch.dtype) -> None:
    for operation in (constraint.project, constraint.violation):
        with pytest.raises(ShrinkageError, match=f"a tensor of type {dtype} .*real"):
            operation(torch.zeros(2, 2, dtype=dtype))


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: MaxNorm(0.0), "limit=0.0 must be a finite number above 0"),
        (lambda: MaxNorm(float("nan")), "limit=nan must be a finite number"),
        (lambda: MaxNorm("3"), "limit='3' must be a finite number"),
        (lambda: MaxNorm(1.0, dim=1.5), "dim=1.5 is neither an axis nor a tuple of axes"),
        (lambda: UnitNorm(dim=()), r"dim=\(\) is neither an axis"),
        (lambda: UnitNorm(dim=2).project(W), r"dim=2 is not an axis of a tensor of shape \(3, 2\)"),
        (lambda: MaxNorm(1.0, dim=(0, -2)).project(W), r"dim=\(0, -2\) is not an axis"),
    ],
)
def test_bad_settings_are_refused(build: Callable[[], object], message: str) -> None:
    with pytest.raises(ShrinkageError, match=message):
        build()


def test_constraints_are_frozen_and_comparable() -> None:
    with pytest.raises(FrozenInstanceError):
        MaxNorm(1.0).limit = 2.0  # type: ignore[misc]
    assert MaxNorm(1.0) == MaxNorm(1.0) != MaxNorm(1.0, dim=1)
    assert repr(MaxNorm(1.0)) == "MaxNorm(limit=1.0, dim=0)"
