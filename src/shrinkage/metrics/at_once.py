"""The most common metrics in closed form, of all members at once."""

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


def balanced_accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return the accuracy within each class of the targets, a mean over the classes."""
    right = correct(outputs, targets)
    return torch.stack([right[..., targets == c].mean(-1) for c in set(targets.tolist())]).mean(0)


def area_under_roc(outputs: Tensor, targets: Tensor) -> Tensor:
    """Return how often a row of a class scores above one of the rest, a mean over the classes.

    Ties count half. Two classes are one comparison, by their logits; more are compared by their
    probabilities. NaN for NaN outputs, and where a class has no rows.

    Shape:
        outputs: (..., N, C). targets: (N,). Returned: (...), float64.
    """
    wide = outputs.double()
    if wide.shape[-1] <= 2:
        scores = wide[..., -1:] - (wide[..., :1] if wide.shape[-1] == 2 else 0)
        positive = (targets == 1).unsqueeze(-1)
    else:
        scores = wide.softmax(-1)
        positive = targets.unsqueeze(-1) == torch.arange(wide.shape[-1])
    scores = scores.transpose(-1, -2).contiguous()
    ordered = scores.sort(-1).values
    below, up_to = (torch.searchsorted(ordered, scores, right=right) for right in (False, True))
    ranks = (below + up_to + 1) / 2
    count = positive.sum(0)
    above = (ranks.double() * positive.T).sum(-1) - count * (count + 1) / 2
    area = (above / (count * (len(targets) - count))).mean(-1)
    return area.masked_fill(wide.isnan().any(-1).any(-1), torch.nan)


def explained(mean_square: Tensor, targets: Tensor) -> Tensor:
    """Return R², the part of the targets' variance that a mean squared error leaves explained.

    It is NaN where the targets do not vary, as those of a single row.

    Shape:
        mean_square: any. targets: (N,) or (N, M).
    """
    spread = targets.double().var(0, correction=0).mean()
    return 1 - mean_square / spread if spread > 0 else torch.full_like(mean_square, torch.nan)
