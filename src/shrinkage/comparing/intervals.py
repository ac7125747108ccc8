r"""Confidence intervals of differences between contenders on the same test rows, all at once.

With :math:`d_i` the difference of two contenders' losses on row i of T,

.. math:: \bar d \pm c \, \frac{s_d}{\sqrt T}

where c is the quantile of the largest of all compared :math:`|t|`, so that with the given
confidence every interval holds at the same time. It is found by drawing the contenders' mean losses
from a multivariate t distribution of T-1 degrees of freedom with the correlations that the rows
show (Hothorn, Bretz & Westfall 2008).
"""

from __future__ import annotations

import numpy
import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError

DRAWS = 20_000


def simultaneous(losses: Tensor, pairs: Tensor, confidence: float) -> Tensor:
    """Return difference, lower and upper end for every pair.

    Args:
        losses: The losses of all contenders on the same rows.
        pairs: Which two to compare: the difference is that of the first minus the second.
        confidence: Of all intervals together.

    Shape:
        losses: (M, T). pairs: (P, 2). Returned: (P, 3), float64.

    Raises:
        ShrinkageError: There are fewer than two rows.

    References:
        Hothorn, Bretz & Westfall (2008), Simultaneous Inference in General Parametric Models,
        Biometrical Journal 50(3), 346-363.
    """
    rows = losses.shape[1]
    if rows < 2:
        raise ShrinkageError(f"intervals need at least two test rows, not {rows}.")
    losses = losses.double()
    differences = losses[pairs[:, 0]] - losses[pairs[:, 1]]
    mean, error = differences.mean(1), differences.std(1) / rows**0.5
    reach = critical_value(losses, pairs[error > 0], confidence) * error
    return torch.stack([mean, mean - reach, mean + reach], 1)


def critical_value(losses: Tensor, pairs: Tensor, confidence: float) -> float:
    """Return the quantile of the largest absolute t of these pairs.

    Shape:
        losses: (M, T), float64. pairs: (P, 2), each of two contenders that differ.
    """
    if not len(pairs):
        return 0.0
    rows = losses.shape[1]
    centered = losses - losses.mean(0)  # what all have in common cancels in every pair
    centered = centered - centered.mean(1, keepdim=True)
    values, vectors = torch.linalg.eigh(centered @ centered.T / (rows - 1))
    random = numpy.random.default_rng(0)
    normal = torch.from_numpy(random.standard_normal((DRAWS, len(losses))))
    scale = torch.from_numpy(random.chisquare(rows - 1, DRAWS) / (rows - 1)).sqrt()
    means = normal @ (vectors * values.clamp(min=0).sqrt()).T / scale.unsqueeze(1)
    spread = (centered[pairs[:, 0]] - centered[pairs[:, 1]]).std(1)
    largest = torch.zeros(DRAWS, dtype=torch.float64)
    for (one, other), deviation in zip(pairs.tolist(), spread, strict=True):
        torch.maximum(largest, (means[:, one] - means[:, other]).abs() / deviation, out=largest)
    return float(largest.quantile(confidence))
