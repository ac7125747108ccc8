"""The laws every constraint obeys: for the constraints here and for your own."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import torch
from torch import Tensor
from torch.testing import assert_close

from shrinkage.constraints import Constraint
from shrinkage.testing.laws import Tensors, check_laws

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16)


def check_constraint(
    constraint: Constraint, *, seed: int = 0, shape: tuple[int, ...] = (4, 3)
) -> None:
    """Check that ``constraint`` obeys the laws; run it on a constraint of your own.

    Args:
        constraint: The constraint.
        seed: Seed of the tensors it is tried on.
        shape: Shape of these tensors.

    Raises:
        AssertionError: A law does not hold; the first line names the law and the constraint.

    Example:
        >>> from shrinkage.constraints import MaxNorm
        >>> check_constraint(MaxNorm(1.0))
    """
    check_laws(LAWS, constraint, Tensors(shape, seed))


def type_shape_and_input_are_kept(constraint: Constraint, tensors: Tensors) -> None:
    """The projection has the type and shape of the weights, which stay; the violation is 0-d."""
    for dtype in DTYPES:
        w = tensors.smooth()[2].to(dtype)
        before, projected = w.clone(), constraint.project(w)
        kept = (projected.dtype, projected.shape) == (w.dtype, w.shape)
        assert kept, f"from {w.dtype} {tuple(w.shape)} to {projected.dtype} {projected.shape}"
        assert torch.equal(w, before), "the input was changed"
        shape = tuple(constraint.violation(w).shape)
        assert shape == (), f"violation has shape {shape}, not ()"


def a_projection_satisfies_the_constraint(constraint: Constraint, tensors: Tensors) -> None:
    """The projected tensor has no violation, in any type."""
    for w in _points(tensors):
        violation = constraint.violation(constraint.project(w))
        assert violation == 0, f"violation {violation.item()} of the projection of {w}"


def what_satisfies_the_constraint_stays(constraint: Constraint, tensors: Tensors) -> None:
    """Projecting again changes nothing, bit for bit; what is moved had a violation."""
    for w in _points(tensors):
        projected = constraint.project(w)
        assert torch.equal(constraint.project(projected), projected), f"{w} moves twice"
        inside, stays = constraint.violation(w) == 0, torch.equal(projected, w)
        assert constraint.violation(w) >= 0, f"violation {constraint.violation(w).item()} of {w}"
        assert bool(inside) == stays, f"{w} with violation {constraint.violation(w).item()}"


def the_projection_is_the_nearest_point(constraint: Constraint, tensors: Tensors) -> None:
    """No tensor of the set that a search finds is nearer."""
    around = [direction / 10**k for k in range(4) for direction in tensors.draw(20)]
    for w in tensors.smooth():
        found = constraint.project(w)
        for direction in around:
            for start in (found, w, 0 * w):
                other = constraint.project(start + direction)
                if constraint.violation(other) == 0:
                    assert (other - w).norm() >= (found - w).norm() * (1 - 1e-9), (
                        f"{other} is nearer to {w} than {found}"
                    )


def projections_on_a_convex_set_are_non_expansive(constraint: Constraint, tensors: Tensors) -> None:
    """Two tensors are never further apart after projection on a convex set."""
    points = [w for scale in (0.1, 0.5, 1.0, 3.0) for w in tensors.draw(6, scale)]
    for a, b in combinations([tensors.zero(), *points], 2) if constraint.convex else ():
        after = (constraint.project(a) - constraint.project(b)).norm()
        assert after <= (a - b).norm() * (1 + 1e-12), f"{a} and {b} move apart"


def vmap_over_weights_is_a_loop(constraint: Constraint, tensors: Tensors) -> None:
    """Mapped over weights, the operations are what they are one by one."""
    members = torch.stack(tensors.smooth())
    for operation in (constraint.project, constraint.violation):
        looped = torch.stack([operation(w) for w in members])
        assert_close(torch.func.vmap(operation)(members), looped)


LAWS: tuple[Callable[[Constraint, Tensors], None], ...] = (
    type_shape_and_input_are_kept,
    a_projection_satisfies_the_constraint,
    what_satisfies_the_constraint_stays,
    the_projection_is_the_nearest_point,
    projections_on_a_convex_set_are_non_expansive,
    vmap_over_weights_is_a_loop,
)


def _points(tensors: Tensors) -> list[Tensor]:
    """Return tensors without zeros, of every type, of many sizes and of one sign too."""
    drawn = [w * scale for scale in (0.01, 0.3, 1.0, 3.0, 100.0) for w in tensors.draw(10)]
    return [w.to(dtype) for own in drawn for w in (own, own.abs()) for dtype in DTYPES]
