r"""Where the scatter of a path comes from: strengths, folds, seeds, and the rest.

A member's metric is modeled as

.. math:: y_{kfs} = \mu + a_k + b_f + (ab)_{kf} + c_{s(f)} + e_{kfs}

with strengths k crossed with folds f, and seeds s nested in folds: a seed starts every fold from
weights of its own. All strengths of one fold and seed share :math:`b_f + c_{s(f)}`, which is what
a paired difference cancels. With the mean squares of the balanced analysis of variance,

.. math::
    \sigma^2_e &= M_e, &
    \sigma^2_c &= (M_c - M_e) / K, &
    \sigma^2_{ab} &= (M_{ab} - M_e) / S, \\
    \sigma^2_b &= (M_b - M_{ab} - M_c + M_e) / KS, &
    \sigma^2_a &= (M_a - M_{ab}) / FS, &

each at least 0. Folds count alike here, whatever their rows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from shrinkage.choose.choices import choice_by
from shrinkage.choose.held_out import (
    curve,
    fold_rows,
    looks,
    mean_and_error,
    need_folds,
    whole_members,
)
from shrinkage.choose.judgment import unpenalized
from shrinkage.errors import ShrinkageError
from shrinkage.metrics import Metric
from shrinkage.result.path_result import PathResult


@dataclass(frozen=True)
class Noise:
    """Variance components of a held-out metric, and what pairing buys.

    The unit of a component is the metric's, squared. With one seed, ``seed`` is NaN and counts in
    ``fold``, ``residual`` is NaN and counts in ``strength_by_fold``.

    Args:
        strength: Of the means of the strengths.
        fold: What all strengths and seeds of a fold have in common.
        seed: What all strengths of a fold and seed have in common beyond it.
        strength_by_fold: What a strength has in common in one fold, over its seeds.
        residual: What is left.
        paired_error: Standard error of the difference between the minimum and strength 0, taken
            inside the folds.
        unpaired_error: The same if they did not share folds and seeds.
    """

    strength: float
    fold: float
    seed: float
    strength_by_fold: float
    residual: float
    paired_error: float
    unpaired_error: float

    @property
    def folds_saved(self) -> float:
        """How many times the folds an unpaired comparison needs for the same standard error."""
        if self.paired_error == 0:
            return math.nan if self.unpaired_error == 0 else math.inf
        return (self.unpaired_error / self.paired_error) ** 2


def noise(result: PathResult, metric: Metric = "loss") -> Noise:
    r"""Split the scatter of a held-out metric into strength, fold, seed and the rest.

    Strengths at which a member diverged are left out.

    Args:
        result: The path.
        metric: As in `PathResult.metric`.

    Raises:
        ShrinkageError: There is one fold only, or fewer than two strengths are whole.
    """
    need_folds(result, "the split of the noise")
    values = whole_members(result, metric)
    values = values[~values.isnan().flatten(1).any(1)]
    if len(values) < 2:
        raise ShrinkageError(
            "the split of the noise needs two strengths at which no member diverged; this path "
            f"has {len(values)}. Lower the learning rate, or standardize the inputs, and run again."
        )
    per_fold, rows = curve(result, metric).per_fold, fold_rows(result)
    index = choice_by("minimum", result, metric).index
    best, base = per_fold[index], per_fold[unpenalized(result, index)]
    seen = looks(result)
    each = torch.stack([mean_and_error(losses, rows, seen)[1] for losses in (best, base)])
    return Noise(
        **components(values),
        paired_error=mean_and_error(best - base, rows, seen)[1].item(),
        unpaired_error=each.norm().item(),
    )


def components(values: Tensor) -> dict[str, float]:
    """Return the variance components of the table of all members.

    Args:
        values: The metric.

    Shape:
        (K, F, S).
    """
    K, F, S = values.shape
    mean = values.mean()
    by_strength, by_fold = values.mean((1, 2)), values.mean((0, 2))
    by_both, by_seed = values.mean(2), values.mean(0)
    crossed = by_both - by_strength.unsqueeze(1) - by_fold + mean
    left = values - by_both.unsqueeze(2) - by_seed + by_fold.unsqueeze(1)

    def square(deviations: Tensor, repeated: int, freedom: int) -> float:
        return repeated * deviations.square().sum().item() / freedom if freedom else math.nan

    a = square(by_strength - mean, F * S, K - 1)
    b = square(by_fold - mean, K * S, F - 1)
    ab = square(crossed, S, (K - 1) * (F - 1))
    c = square(by_seed - by_fold.unsqueeze(1), K, F * (S - 1))
    e = square(left, 1, (K - 1) * F * (S - 1))
    one_seed = S == 1
    return {
        "strength": max(0.0, (a - ab) / (F * S)),
        "fold": max(0.0, (b - ab) / K if one_seed else (b - ab - c + e) / (K * S)),
        "seed": math.nan if one_seed else max(0.0, (c - e) / K),
        "strength_by_fold": ab if one_seed else max(0.0, (ab - e) / S),
        "residual": e,
    }
