"""What is known of optimizers by their names and settings, none of which they say themselves."""

from __future__ import annotations

from typing import Any

from torch import Tensor
from torch.optim import Optimizer

NORMALIZE = (
    *("A2Grad", "AdaGO", "DAdapt", "FOCUS", "FTRL", "Fromage", "Gravity", "Kron", "LARS", "Lion"),
    *("Muon", "ROSE", "Rprop", "SCION", "Shampoo", "Sign", "SpectralSphere", "Tiger", "VSGD"),
)
"""Parts of the names of optimizers that normalize, but are not known by a setting ``eps``."""

DO_NOT = ("ASGD", "Adai", "ApolloDQN", "AvaGrad", "ScheduleFreeSGD", "TAM")
"""Names of optimizers, besides ``SGD...``, that have ``eps`` for another purpose."""

OWN = ("A2Grad", "AccSGD", "DAdaptAdaGrad", "DAdaptSGD", "FTRL", "MADGRAD", "SRMM")
NOT_LAST = {
    **dict.fromkeys(OWN, "it computes the weights from others, which it keeps to itself"),
    "LBFGS": "its line search needs the penalty in the loss it minimizes",
    "FOCUS": "it pulls the weights back to where they were",
    "Lookahead": "it mixes in slow weights afterwards",
    "Nero": "it brings every unit back to its norm",
    "PruneOptimizer": "it writes weights of its own afterwards",
    "Ranger": "it mixes in slow weights afterwards",
    "ScheduleFree": "it trains on averages of other weights, which it keeps to itself",
    "TRAC": "it moves the weights again afterwards",
}
"""Optimizers, by a part of their names, that undo what acts on the weights after their step."""

ESTIMATES = ("DAdapt", "Prodigy")
"""Parts of the names of optimizers whose rate is ``lr`` times an estimate of their own."""

INSIDE = ("base_optimizer", "original_optimizer", "optimizer")
"""Attributes in which wrappers keep the optimizer they wrap: sharpness-aware, Opacus', others."""


def is_adaptive(optimizer: Optimizer) -> bool:
    """Return whether the optimizer divides gradients by their size, going by settings and name."""
    name = type(optimizer).__name__
    if any(part in name for part in NORMALIZE):
        return True
    divides = any(setting.startswith("eps") for setting in optimizer.defaults)
    return divides and not (name.startswith("SGD") or name in DO_NOT)


def hookable(optimizer: object) -> bool:
    """Return whether a step of the optimizer runs hooks."""
    return isinstance(getattr(optimizer, "_optimizer_step_pre_hooks", None), dict)


def inside(optimizer: Any) -> Any:
    """Return the optimizer that a wrapper steps; itself where nothing is wrapped."""
    found = (getattr(optimizer, name, None) for name in INSIDE)
    inner = next((one for one in found if one is not None), None)
    averages = "ScheduleFree" in type(optimizer).__name__  # inside, the weights are others
    wraps = inner is not None and not averages and (hookable(inner) or not hookable(optimizer))
    return inner if wraps else optimizer


def only_makes_its_state(optimizer: Optimizer) -> bool:
    """Return whether a step is none: its rates and gradients are 0, and the state is empty.

    ``torch.distributed.checkpoint`` makes it to read or load the state of a new optimizer.
    """
    if optimizer.state or not all(map(_has_rate_zero, optimizer.param_groups)):
        return False
    gradients = [w.grad for group in optimizer.param_groups for w in group["params"]]
    found = [gradient for gradient in gradients if gradient is not None]
    return bool(found) and not any(gradient.any() for gradient in found)


def _has_rate_zero(group: dict[str, Any]) -> bool:
    lr = group.get("lr", 0.0)
    return bool(lr == 0) if not isinstance(lr, Tensor) or lr.is_cpu else False  # no waiting
