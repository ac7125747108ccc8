"""torch's optimizers as pure updates: a tensor, its gradient and its state in, new ones out."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer, RMSprop

from shrinkage.errors import ShrinkageError

State: TypeAlias = tuple[Tensor, ...]
Apply: TypeAlias = Callable[[Tensor, Tensor, State, Tensor, Tensor], tuple[Tensor, State]]
MakeOptimizer: TypeAlias = Callable[[Iterable[Tensor]], Optimizer]


class Update(NamedTuple):
    """One optimizer for one tensor.

    Attributes:
        slots: How many state tensors of the parameter's shape it keeps, zeros at the start.
        apply: ``(w, gradient, state, count, lr) -> (w, state)``; ``count`` is 1 at the first step.
        settings: The optimizer's own settings, without the learning rate.
    """

    slots: int
    apply: Apply
    settings: dict[str, Any]


def update_for(optimizer: MakeOptimizer) -> Update | None:
    """Return the pure update equal to ``optimizer``, or None if there is none.

    Args:
        optimizer: ``torch.optim.Adam`` or another class, or a ``functools.partial`` of it.

    Example:
        >>> update_for(functools.partial(torch.optim.SGD, lr=0.1, momentum=0.9)).slots
        1
    """
    settings = settings_of(optimizer)
    if settings is None or settings.get("amsgrad") or settings.get("differentiable"):
        return None
    build = {SGD: _sgd, Adam: _adam, AdamW: _adam, RMSprop: _rmsprop}[_class_of(optimizer)]
    return build(settings)


def settings_of(optimizer: MakeOptimizer) -> dict[str, Any] | None:
    """Return the settings of a mapped optimizer, its defaults included, else None."""
    kind = _class_of(optimizer)
    if kind not in (SGD, Adam, AdamW, RMSprop):
        return None
    given = optimizer.keywords if isinstance(optimizer, functools.partial) else {}
    try:
        bound = inspect.signature(kind).bind((), **given)
    except TypeError as error:
        raise ShrinkageError(f"{kind.__name__} does not take these arguments: {error}.") from error
    bound.apply_defaults()
    settings = dict(bound.arguments)
    del settings["params"]
    if kind is AdamW:
        settings["decoupled_weight_decay"] = True
    settings["class"] = kind.__name__
    return settings


def _class_of(optimizer: MakeOptimizer) -> Any:
    if isinstance(optimizer, functools.partial):
        return optimizer.func if not optimizer.args else None
    return optimizer


def _directed(w: Tensor, gradient: Tensor, settings: dict[str, Any]) -> Tensor:
    signed = -gradient if settings["maximize"] else gradient
    decay = settings["weight_decay"]
    return signed + decay * w if decay and not settings.get("decoupled_weight_decay") else signed


def _sgd(settings: dict[str, Any]) -> Update:
    momentum, dampening = settings["momentum"], settings["dampening"]

    def apply(w: Tensor, g: Tensor, state: State, count: Tensor, lr: Tensor) -> tuple[Tensor, State]:
        g = _directed(w, g, settings)
        if not momentum:
            return w - lr * g, ()
        fresh = torch.where(count > 1, 1 - dampening, 1.0).to(w.dtype) if dampening else 1
        velocity = momentum * state[0] + fresh * g
        direction = g + momentum * velocity if settings["nesterov"] else velocity
        return w - lr * direction, (velocity,)

    return Update(1 if momentum else 0, apply, settings)


def _adam(settings: dict[str, Any]) -> Update:
    beta1, beta2 = settings["betas"]
    decay = settings["weight_decay"] if settings["decoupled_weight_decay"] else 0

    def apply(w: Tensor, g: Tensor, state: State, count: Tensor, lr: Tensor) -> tuple[Tensor, State]:
        g = _directed(w, g, settings)
        mean = torch.lerp(state[0], g, 1 - beta1)
        square = beta2 * state[1] + (1 - beta2) * g * g
        correction1 = (1 - beta1**count).to(w.dtype)
        correction2 = (1 - beta2**count).sqrt().to(w.dtype)
        start = w * (1 - lr * decay) if decay else w
        denominator = square.sqrt() / correction2 + settings["eps"]
        return start - lr / correction1 * mean / denominator, (mean, square)

    return Update(2, apply, settings)


def _rmsprop(settings: dict[str, Any]) -> Update:
    alpha, momentum, centered = settings["alpha"], settings["momentum"], settings["centered"]

    def apply(w: Tensor, g: Tensor, state: State, count: Tensor, lr: Tensor) -> tuple[Tensor, State]:
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

    return Update(1 + bool(centered) + bool(momentum), apply, settings)
