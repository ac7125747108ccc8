"""Whether an optimizer normalizes gradients, so that their size is lost."""

from __future__ import annotations

from torch.optim import Optimizer

NORMALIZE = (
    *("A2Grad", "AdaGO", "DAdapt", "FOCUS", "FTRL", "Fromage", "Gravity", "Kron", "LARS", "Lion"),
    *("Muon", "ROSE", "Rprop", "SCION", "Shampoo", "Sign", "SpectralSphere", "Tiger", "VSGD"),
)
"""Parts of the names of optimizers that normalize, but are not known by a setting ``eps``."""

DO_NOT = ("ASGD", "Adai", "ApolloDQN", "AvaGrad", "ScheduleFreeSGD", "TAM")
"""Names of optimizers, besides ``SGD...``, that have ``eps`` for another purpose."""


def is_adaptive(optimizer: Optimizer) -> bool:
    """Return whether the optimizer divides gradients by their size, going by settings and name."""
    name = type(optimizer).__name__
    if any(part in name for part in NORMALIZE):
        return True
    divides = any(setting.startswith("eps") for setting in optimizer.defaults)
    return divides and not (name.startswith("SGD") or name in DO_NOT)
