"""From the outputs of a classifier to classes."""

from __future__ import annotations

import torch
from torch import Tensor


def predicted(outputs: Tensor) -> Tensor:
    """Return the class of the largest output; a single output is the logit of class 1."""
    return (outputs[..., 0] > 0).long() if outputs.shape[-1] == 1 else outputs.argmax(-1)


def correct(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return 1 where the predicted class is the target, 0 where not, NaN for NaN outputs."""
    right = (predicted(outputs) == targets).double()
    return right.masked_fill(outputs.isnan().any(-1), torch.nan)
