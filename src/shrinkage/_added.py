"""The penalty's gradient is added to ``.grad`` once in a step, whatever happens in the step."""

from __future__ import annotations

import weakref
from typing import Any, NamedTuple

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
    step is tried again after it failed.
    """
    gradient = w.grad
    assert gradient is not None
    step = _steps.setdefault(optimizer, {})
    _, version, owners = step.get(id(gradient), (gradient, -1, ()))
    if version != gradient._version:
        owners = ()
    if owner not in owners:
        factor = _factor(optimizer, group)
        both = coupled(penalty, w, gradient if factor is None else gradient / factor)
        gradient.copy_(both if factor is None else factor * both)
        step[id(gradient)] = Added(gradient, gradient._version, (*owners, owner))


def end_step(optimizer: Optimizer) -> None:
    """Forget what was added: the next step starts anew."""
    _steps.pop(optimizer, None)


def _factor(optimizer: Optimizer, group: dict[str, Any]) -> float | Tensor | None:
    """Return what multiplies ``.grad``: a fused optimizer's AMP scale, -1 if it maximizes."""
    scale: Tensor | None = getattr(optimizer, "grad_scale", None)
    if not group.get("maximize"):
        return scale
    return -1.0 if scale is None else -scale
