"""torch's optimizers as pure updates: a tensor, its gradient and its state in, new ones out."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from types import MethodType
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from shrinkage.errors import ShrinkageError
from shrinkage.identity import named

State: TypeAlias = tuple[Tensor, ...]
Apply: TypeAlias = Callable[[Tensor, Tensor, State, Tensor, Tensor], tuple[Tensor, State]]
MakeOptimizer: TypeAlias = Callable[[Iterable[Tensor]], Optimizer]

ADAM = functools.partial(Adam, lr=1e-3)
"""The optimizer where none is given."""


class Update(NamedTuple):
    """One optimizer for one tensor.

    Attributes:
        slots: How many state tensors of the parameter's shape it keeps, zeros at the start.
        factors: ``count -> numbers`` that depend on the step alone; ``count`` is 1 at the first.
        apply: ``(w, gradient, state, factors, lr) -> (w, state)``.
        settings: The optimizer's own settings.
    """

    slots: int
    factors: Callable[[int], tuple[float, ...]]
    apply: Apply
    settings: dict[str, Any]


def stepping(optimizer: Optimizer) -> Callable[[Callable[[], Tensor]], object]:
    """Return what takes a step, given a closure that computes gradients.

    torch's own optimizers but LBFGS need no closure: there the gradients are computed first, as in
    a loop by hand, so hooks and subclasses that change them act on those of this step.
    """
    kinds = {kind for kind in type(optimizer).__mro__ if kind.__module__.startswith("torch.optim.")}
    if torch.optim.LBFGS in kinds or kinds <= {Optimizer}:
        return optimizer.step  # type: ignore[return-value]

    def step(closure: Callable[[], Tensor]) -> None:
        closure()
        optimizer.step()

    return step


def update_for(optimizer: MakeOptimizer) -> Update | None:
    """Return the pure update equal to ``optimizer``, or None if there is none.

    Args:
        optimizer: ``torch.optim.Adam`` or another class, or a ``functools.partial`` of it.

    Raises:
        ShrinkageError: The class does not take these settings.

    Example:
        >>> update_for(functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9)).slots
        1
    """
    kind = _class_of(optimizer)
    if kind not in (SGD, Adam, AdamW, RMSprop):
        return None
    settings = unmoving(optimizer).defaults
    if settings.get("amsgrad") or settings.get("differentiable"):
        return None
    return _built({**settings, "class": kind.__name__})


def with_decay(update: Update, decay: float | Tensor) -> Update:
    """Return the same optimizer with another ``weight_decay``."""
    return _built({**update.settings, "weight_decay": decay})


def _built(settings: dict[str, Any]) -> Update:
    builders = {"SGD": _sgd, "Adam": _adam, "AdamW": _adam, "RMSprop": _rmsprop}
    return builders[settings["class"]](settings)


def unmoving(optimizer: MakeOptimizer) -> Optimizer:
    """Return the optimizer on one dummy parameter, without the power to move it.

    Its settings and groups are real, so it can be read and scheduled. Where the class is known,
    it costs no import of torch's compiler, as the real one does (seconds).

    Raises:
        ShrinkageError: The class does not take these settings.
    """
    kind = _class_of(optimizer)
    given = optimizer.keywords if isinstance(optimizer, functools.partial) else {}
    dummy = [torch.nn.Parameter(torch.zeros(1))]
    if not callable(optimizer):
        what = repr(optimizer) if isinstance(optimizer, str) else type(optimizer).__name__
        raise ShrinkageError(
            f"optimizer={what}: give what makes an optimizer for each member, such as "
            "functools.partial(torch.optim.Adam, lr=1e-3), without parameters."
        )
    try:
        if isinstance(kind, type) and issubclass(kind, Optimizer):
            return type(kind.__name__, (_Unmoving, kind), {})(dummy, **given)  # type: ignore[no-any-return]
        real = optimizer(dummy)
    except (TypeError, ValueError) as error:
        name = getattr(kind, "__name__", repr(optimizer))
        raise ShrinkageError(f"{name} does not take these settings: {error}.") from error
    real.step = MethodType(_Unmoving.step, real)  # type: ignore[method-assign]
    return real


def sparse_refused(optimizer: MakeOptimizer) -> str | None:
    """Return what the optimizer says to the sparse gradient of an embedding; None if it takes it.

    One step is tried, of two dummy parameters; the other one's gradient is dense.
    """
    rows, other = torch.nn.Parameter(torch.zeros(2, 1)), torch.nn.Parameter(torch.zeros(1))
    picked = torch.nn.functional.embedding(torch.tensor([0]), rows, sparse=True)
    (picked.sum() + other.sum()).backward()  # type: ignore[no-untyped-call]
    try:
        optimizer([rows, other]).step(lambda: 0.0)
    except RuntimeError as error:
        return f"{named(optimizer)} fails on them: {str(error).splitlines()[0].rstrip('.')}"
    return None


class _Unmoving(Optimizer):
    def add_param_group(self, param_group: dict[str, Any]) -> None:
        self.param_groups.append({**self.defaults, **param_group})

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        return None


def _class_of(optimizer: MakeOptimizer) -> Any:
    if isinstance(optimizer, functools.partial):
        return optimizer.func if not optimizer.args else None
    return optimizer


def _directed(w: Tensor, gradient: Tensor, settings: dict[str, Any]) -> Tensor:
    signed = -gradient if settings["maximize"] else gradient
    decays = _decays(settings) and not settings.get("decoupled_weight_decay")
    return signed + settings["weight_decay"] * w if decays else signed


def _decays(settings: dict[str, Any]) -> bool:
    return isinstance(settings["weight_decay"], Tensor) or settings["weight_decay"] != 0


def _sgd(settings: dict[str, Any]) -> Update:
    momentum, dampening = settings["momentum"], settings["dampening"]

    def factors(count: int) -> tuple[float, ...]:
        return (1 - dampening if count > 1 else 1.0,)

    def apply(
        w: Tensor, g: Tensor, state: State, factors: Tensor, lr: Tensor
    ) -> tuple[Tensor, State]:
        g = _directed(w, g, settings)
        if not momentum:
            return w - lr * g, ()
        velocity = momentum * state[0] + factors[0] * g
        direction = g + momentum * velocity if settings["nesterov"] else velocity
        return w - lr * direction, (velocity,)

    return Update(1 if momentum else 0, factors, apply, settings)


def _adam(settings: dict[str, Any]) -> Update:
    beta1, beta2 = settings["betas"]
    decays = _decays(settings) and settings["decoupled_weight_decay"]

    def factors(count: int) -> tuple[float, ...]:
        return 1 / (1 - beta1**count), (1 - beta2**count) ** -0.5

    def apply(
        w: Tensor, g: Tensor, state: State, factors: Tensor, lr: Tensor
    ) -> tuple[Tensor, State]:
        g = _directed(w, g, settings)
        mean = torch.lerp(state[0], g, 1 - beta1)
        square = beta2 * state[1] + (1 - beta2) * g * g
        start = w * (1 - lr * settings["weight_decay"]) if decays else w
        denominator = square.sqrt() * factors[1] + settings["eps"]
        return start - lr * factors[0] * mean / denominator, (mean, square)

    return Update(2, factors, apply, settings)


def _rmsprop(settings: dict[str, Any]) -> Update:
    alpha, momentum, centered = settings["alpha"], settings["momentum"], settings["centered"]

    def apply(
        w: Tensor, g: Tensor, state: State, factors: Tensor, lr: Tensor
    ) -> tuple[Tensor, State]:
        g = _directed(w, g, settings)
        slots = list(state)
        slots[0] = alpha * slots[0] + (1 - alpha) * g * g
        spread = slots[0]
        if centered:
            slots[1] = torch.lerp(slots[1], g, 1 - alpha)
            spread = spread - slots[1] * slots[1]
        direction = g / (spread.sqrt() + settings["eps"])
        if momentum:
            slots[-1] = momentum * slots[-1] + direction
            direction = slots[-1]
        return w - lr * direction, tuple(slots)

    return Update(1 + bool(centered) + bool(momentum), lambda _: (1.0,), apply, settings)
