"""Whether an optimizer normalizes gradients, so that their size is lost."""

from __future__ import annotations

from torch.optim import Optimizer

WITHOUT_EPS = ("LARS", "Lion", "Rprop", "Shampoo", "Sign", "Tiger")
"""Parts of the names of those that do so and have no setting ``eps``."""


def is_adaptive(optimizer: Optimizer) -> bool:
    """Return whether the optimizer divides gradients by their size, going by settings and name."""
    name = type(optimizer).__name__
    divides = any(setting.startswith("eps") for setting in optimizer.defaults)
    return (divides and "SGD" not in name) or any(part in name for part in WITHOUT_EPS)
