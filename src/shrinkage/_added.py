"""The penalty's gradient is added to ``.grad`` once in a step, whatever happens in the step."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.optim import Optimizer

from shrinkage.coupling import coupled
from shrinkage.penalties import Penalty


class Added(NamedTuple):
    """Whose penalties a gradient holds; void once its version has moved on."""

    gradient: Tensor
    version: int
    owners: tuple[object, ...]


_steps: weakref.WeakKeyDictionary[Optimizer, dict[int, Added]] = weakref.WeakKeyDictionary()


def add_once(
    owner: object, penalty: Penalty, w: Tensor, optimizer: Optimizer, group: dict[str, Any]
) -> None:
    """Add the gradient of ``penalty`` to ``w.grad``, unless ``owner`` did so in this step.

    That happens when ``step`` calls the ``step`` of a base class, whose hooks run too, and when a
    step is tried again after it failed. Under ``torch.compile`` no account is kept: it would
    compile every step anew.
    """
    gradient = w.grad
    assert gradient is not None
    factor = _factor(optimizer, group)
    if torch.compiler.is_compiling():
        gradient.copy_(_with_penalty(penalty, w, gradient, factor))
        return
    step = _steps.setdefault(optimizer, {})
    _, version, owners = step.get(id(gradient), (gradient, -1, ()))
    if version != gradient._version:
        owners = ()
    if owner not in owners:
        gradient.copy_(_with_penalty(penalty, w, gradient, factor))
        step[id(gradient)] = Added(gradient, gradient._version, (*owners, owner))


def end_step(optimizer: Optimizer) -> None:
    """Forget what was added: the next step starts anew."""
    if not torch.compiler.is_compiling():
        _steps.pop(optimizer, None)


def _with_penalty(
    penalty: Penalty, w: Tensor, gradient: Tensor, factor: float | Tensor | None
) -> Tensor:
    if factor is None:
        return coupled(penalty, w, gradient)
    return factor * coupled(penalty, w, gradient / factor)


def _factor(optimizer: Optimizer, group: dict[str, Any]) -> float | Tensor | None:
    """Return what multiplies ``.grad``: a fused optimizer's AMP scale, -1 if it maximizes."""
    scale: Tensor | None = getattr(optimizer, "grad_scale", None)
    if not group.get("maximize"):
        return scale
    return -1.0 if scale is None else -scale
