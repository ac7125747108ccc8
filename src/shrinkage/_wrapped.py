"""The model inside what wraps it for training."""

from __future__ import annotations

from torch import nn


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside ``torch.compile``, DDP and ``DataParallel``, which share its tensors.

    A copy for inspection does without what they add: communication and compiled code.
    """
    inner = getattr(model, "_orig_mod", model)
    if isinstance(inner, nn.parallel.DistributedDataParallel | nn.DataParallel):
        inner = inner.module
    return inner if inner is model else unwrapped(inner)
