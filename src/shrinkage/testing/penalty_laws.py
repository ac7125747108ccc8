"""The laws every penalty obeys: for the penalties here and for your own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import FrozenInstanceError, fields, replace
from functools import partial
from itertools import combinations

import torch
from torch import Tensor
from torch.testing import assert_close

from shrinkage.penalties import Penalty
from shrinkage.testing.laws import Tensors, check_laws

STEPS = (0.1, 1.0, 5.0)


def check_penalty(penalty: Penalty, *, seed: int = 0, shape: tuple[int, ...] = (4, 3)) -> None:
    """Check that ``penalty`` obeys the laws; run it on a penalty of your own.

    Its formulas are compared with autograd and with a search for the minimizer of its value, in
    float64, at zeros too.

    Args:
        penalty: The penalty, with a strength above 0. Its ``toward``, if any, is one tensor.
        seed: Seed of the tensors it is tried on.
        shape: Shape of these tensors.

    Raises:
        AssertionError: A law does not hold; the first line names the law and the penalty.

    Example:
        >>> from shrinkage.penalties import L2
        >>> check_penalty(L2(0.1))
    """
    check_laws(LAWS, penalty, Tensors(shape, seed, center=_center(penalty)))


def value_is_never_negative_and_zero_without_strength(penalty: Penalty, tensors: Tensors) -> None:
    """The value is a 0-d tensor, nowhere below 0, and 0 everywhere at strength 0."""
    for w in tensors.smooth() + tensors.kinked():
        value, without = penalty.value(w), penalty.at(0.0).value(w)
        assert value.shape == (), f"value has shape {tuple(value.shape)}, not ()"
        assert value >= 0, f"value {value.item()} at {w}"
        assert without == 0, f"value {without.item()} at {w} and strength 0"


def value_is_proportional_to_the_strength_if_linear(penalty: Penalty, tensors: Tensors) -> None:
    """Twice the strength is twice the value, where the penalty says that it is linear."""
    for w in tensors.smooth() if penalty.linear else []:
        assert_close(penalty.at(2 * penalty.strength).value(w), 2 * penalty.value(w))


def gradient_is_the_derivative_of_value(penalty: Penalty, tensors: Tensors) -> None:
    """Away from kinks the gradient is autograd's."""
    for w in tensors.smooth():
        assert_close(penalty.gradient(w), _autograd(penalty, w))


def gradient_at_a_kink_is_a_subgradient(penalty: Penalty, tensors: Tensors) -> None:
    """At kinks the gradient is finite, zero at the center, and a subgradient."""
    assert not penalty.gradient(tensors.zero()).any(), "the gradient at the center is not zero"
    for w in tensors.kinked():
        gradient = penalty.gradient(w)
        assert gradient.isfinite().all(), f"gradient {gradient} at {w}"
        others = [w + gradient, w - gradient, *tensors.draw(5)]
        for u in others if penalty.convex else []:
            rise, bound = penalty.value(u) - penalty.value(w), (gradient * (u - w)).sum()
            assert rise >= bound - 1e-9, f"gradient {gradient} at {w} is no subgradient"


def autograd_of_value_is_finite_at_zeros(penalty: Penalty, tensors: Tensors) -> None:
    """The penalty in the loss gives no NaN at zeros."""
    for w in tensors.kinked():
        derivative = _autograd(penalty, w)
        assert derivative.isfinite().all(), f"autograd of value gives {derivative} at {w}"


def prox_is_the_minimizer(penalty: Penalty, tensors: Tensors) -> None:
    """Nothing found by search beats the prox, for several steps and at zeros."""
    for w in tensors.smooth() + tensors.kinked():
        for step in STEPS:
            found = penalty.prox(w, step)
            others = _candidates(found, w, tensors, convex=penalty.convex)
            objective = partial(_objective, penalty, w, step)
            best, values = objective(found), torch.func.vmap(objective)(others)
            assert best.isfinite(), f"prox({w}, {step}) is {found}"
            assert values.min() >= best - 1e-10 * (1 + best), (
                f"prox({w}, {step}) is {found} with objective {best.item()}, but "
                f"{others[values.argmin()]} has {values.min().item()}"
            )


def the_least_value_is_zero(penalty: Penalty, tensors: Tensors) -> None:
    """Where the prox ends as its step grows, at zero for most penalties, the value is 0."""
    for w in tensors.smooth() + tensors.kinked():
        least = penalty.value(penalty.prox(w, 1e9))
        assert least < 1e-9, f"value {least.item()} at the prox of {w} for a huge step"


def prox_of_step_or_strength_zero_changes_nothing(penalty: Penalty, tensors: Tensors) -> None:
    """The prox of no penalty is the identity, bit for bit."""
    tiny = [w * 1e-200 for w in tensors.directions()]
    for w in tensors.smooth() + tensors.kinked() + tiny:
        for wide in (w, w.float()):
            for prox in (penalty.prox(wide, 0.0), penalty.at(0.0).prox(wide, 1.0)):
                assert torch.equal(prox, wide), f"{prox} is not {wide}"


def prox_of_a_convex_penalty_is_non_expansive(penalty: Penalty, tensors: Tensors) -> None:
    """Two tensors are never further apart after the prox of a convex penalty."""
    if not penalty.convex:
        return
    points = [w for scale in (0.1, 0.5, 1.0, 3.0) for w in tensors.draw(6, scale)]
    for a, b in combinations([tensors.zero(), *points], 2):
        for step in STEPS:
            before = (a - b).norm()
            after = (penalty.prox(a, step) - penalty.prox(b, step)).norm()
            assert after <= before * (1 + 1e-12), (
                f"{a} and {b} are {before.item()} apart, their proxes {after.item()}"
            )


def strength_max_is_where_zero_becomes_the_minimizer(penalty: Penalty, tensors: Tensors) -> None:
    """A proximal gradient step from the center stays just above it, and leaves just below."""
    step, center = STEPS[0], tensors.zero()
    for gradient in tensors.directions():
        limit = penalty.strength_max(gradient)
        assert limit.shape == (), f"strength_max has shape {tuple(limit.shape)}, not ()"
        below = 0.999 * limit.item() if limit.isfinite() else 1e6
        assert not penalty.at(below).prox(center - step * gradient, step).equal(center), (
            f"the center is a fixed point at strength {below}, below strength_max {limit.item()}"
        )
        if limit.isfinite():
            above = penalty.at(1.001 * limit.item()).prox(center - step * gradient, step)
            assert above.equal(center), f"{above} is left above strength_max {limit.item()}"
    assert penalty.strength_max(0 * center) == 0, "strength_max of a zero gradient is not 0"


def vmap_over_strengths_and_weights_is_a_loop(penalty: Penalty, tensors: Tensors) -> None:
    """Mapped over strengths, steps and weights, the operations are what they are one by one."""
    members = torch.stack(tensors.draw(3))
    strengths = torch.tensor([0.0, 0.1, 1.0], dtype=torch.float64)
    steps = torch.tensor(STEPS, dtype=torch.float64)

    def all_operations(w: Tensor, strength: Tensor, step: Tensor) -> tuple[Tensor, ...]:
        one = penalty.at(strength)
        return one.value(w), one.gradient(w), one.prox(w, step), one.strength_max(w)

    mapped = torch.func.vmap(all_operations)(members, strengths, steps)
    looped = map(all_operations, members, strengths, steps)
    assert_close(mapped, tuple(map(torch.stack, zip(*looped, strict=True))))


def type_shape_and_input_are_kept(penalty: Penalty, tensors: Tensors) -> None:
    """Gradient and prox have the type, shape and device of the weights, which stay untouched."""
    for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16):
        w = tensors.kinked()[1].to(dtype)
        before = w.clone()
        penalty.value(w)
        for result in (penalty.gradient(w), penalty.prox(w, 0.5)):
            kept = (result.dtype, result.shape, result.device) == (w.dtype, w.shape, w.device)
            assert kept, f"from {w.dtype} {tuple(w.shape)} to {result.dtype} {tuple(result.shape)}"
            assert torch.equal(w, before), "the input was changed"


def half_precision_is_summed_in_float32(penalty: Penalty, tensors: Tensors) -> None:
    """The value of many float16 weights is summed in float32: no overflow, no drift."""
    tall, wide = ([70_000], [700, 100]) if len(tensors.shape) > 1 else ([70_000], [70_000])
    for shape in (tall, wide):
        ones = torch.ones(shape + [1] * (len(tensors.shape) - len(shape)), dtype=torch.float16)
        here = replace(penalty, toward=-ones) if penalty.toward is not None else penalty
        value = here.value(ones)
        assert value.dtype == torch.float32, f"the value of float16 weights is {value.dtype}"
        assert_close(value.double(), here.value(ones.double()), rtol=1e-3, atol=0.0)


def at_returns_a_copy(penalty: Penalty, tensors: Tensors) -> None:
    """Another strength makes another penalty; the first one is frozen."""
    own = penalty.strength
    other = penalty.at(2.0)
    assert type(other) is type(penalty), f"at returns a {type(other).__name__}"
    assert (other.strength, penalty.strength) == (2.0, own), "at changed the penalty itself"
    for field in fields(penalty):
        if field.name != "strength":
            mine, others = getattr(penalty, field.name), getattr(other, field.name)
            assert mine is others or mine == others, field.name
    try:
        penalty.strength = own  # type: ignore[misc]
    except FrozenInstanceError:
        return
    raise AssertionError("the penalty is not frozen: a strength can be assigned")


def repr_is_the_call_that_makes_it(penalty: Penalty, tensors: Tensors) -> None:
    """The text names the class, the strength and the other fields, of a sum the terms, and no more.

    It stands in the text of other objects, where a comment would swallow what follows.
    """
    call = repr(penalty)
    assert "#" not in call, f"{call} ends in a comment"
    for term in getattr(penalty, "terms", ()):
        repr_is_the_call_that_makes_it(term, tensors)
        assert repr(term) in call, f"{call} does not show {term!r}"
    if hasattr(penalty, "terms"):
        return
    given = {f.name: getattr(penalty, f.name) for f in fields(penalty)}
    silent = {"strength", "toward"} if penalty.toward is None else {"strength"}
    wanted = [f"{name}={value!r}" for name, value in given.items() if name not in silent]
    assert call.startswith(f"{type(penalty).__name__}({float(penalty.strength):g}"), call
    assert all(text in call for text in wanted), f"{call} does not show {wanted}"


LAWS: tuple[Callable[[Penalty, Tensors], None], ...] = (
    at_returns_a_copy,
    type_shape_and_input_are_kept,
    vmap_over_strengths_and_weights_is_a_loop,
    value_is_never_negative_and_zero_without_strength,
    value_is_proportional_to_the_strength_if_linear,
    gradient_is_the_derivative_of_value,
    gradient_at_a_kink_is_a_subgradient,
    autograd_of_value_is_finite_at_zeros,
    prox_is_the_minimizer,
    the_least_value_is_zero,
    prox_of_step_or_strength_zero_changes_nothing,
    prox_of_a_convex_penalty_is_non_expansive,
    strength_max_is_where_zero_becomes_the_minimizer,
    half_precision_is_summed_in_float32,
    repr_is_the_call_that_makes_it,
)


def _autograd(penalty: Penalty, w: Tensor) -> Tensor:
    leaf = w.clone().requires_grad_()
    (derivative,) = torch.autograd.grad(penalty.value(leaf), leaf)
    return derivative


def _objective(penalty: Penalty, w: Tensor, step: float, u: Tensor) -> Tensor:
    return (u - w).square().sum() / 2 + step * penalty.value(u)


def _candidates(found: Tensor, w: Tensor, tensors: Tensors, *, convex: bool) -> Tensor:
    """Return what may beat ``found``: tensors around it, sparser and, if not convex, far away."""
    found, w = found - tensors.center, w - tensors.center
    units = torch.eye(found.numel(), dtype=found.dtype).reshape(-1, *found.shape)
    others = torch.stack([*tensors.draw(20), w, found, w - found, torch.zeros_like(w)])
    directions = torch.cat([units, others])
    candidates = [found + length * directions for length in (1e-4, -1e-4, 1e-2, -1e-2, 0.3, -0.3)]
    candidates += [others, found * (1 - units)]
    for axis, size in enumerate(found.shape):
        without = [found.index_fill(axis, torch.tensor(i), 0.0) for i in range(size)]
        candidates.append(torch.stack(without))
    if not convex:
        levels = torch.linspace(-1.5, 1.5, 61, dtype=w.dtype) * w.abs().max()
        candidates += [found * (1 - units) + level * units for level in levels]
        candidates += [torch.stack(tensors.draw(100, scale)) for scale in (0.1, 1.0, 10.0)]
    return torch.cat(candidates) + tensors.center


def _center(penalty: Penalty) -> Tensor | float:
    if penalty.toward is None:
        return 0.0
    assert isinstance(penalty.toward, Mapping)
    (center,) = penalty.toward.values()
    return center
