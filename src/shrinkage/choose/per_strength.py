"""Numbers per strength that figures, pages and screens share, and the range of losses they show."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from shrinkage.choose import Curve, curve
from shrinkage.result.path_result import PathResult
from shrinkage.result.points import combinations

MARGIN, ABOVE = 0.06, 0.6


def total_norm(result: PathResult) -> Tensor:
    """Return the norm (K,) of all penalized weights together, in the models of the folds."""
    return result.norms.double().square().sum(-1).sqrt().mean((1, 2))


def zero_share(result: PathResult) -> Tensor:
    """Return the share (K,) of exact zeros among penalized weights, in the models of the folds.

    Without a refit the sizes of the tensors are not known, and each counts alike.
    """
    known = result.refit.weights if result.refit else {}
    sizes = [known[n][0, 0].numel() if n in known else 1 for n in result.tensor_names]
    share = torch.tensor(sizes, dtype=torch.float64) / max(sum(sizes), 1)
    return result.sparsity.double().mean((1, 2)) @ share


def best_points(result: PathResult) -> list[int]:
    """Return the best point of every combination of knobs, best first; lost ones come last."""
    losses = curve(result).mean.nan_to_num(nan=math.inf)
    paths = combinations(result.knobs, len(losses))
    best = [int(path[losses[path].argmin()]) for path in paths]
    return sorted(best, key=losses.tolist().__getitem__)


def frame(values: Curve, train: Tensor, judged: Sequence[int]) -> tuple[float, float] | None:
    """Return the lowest and highest loss to show: strengths that ruin the fit lie outside.

    Args:
        values: The held-out loss.
        train: The training loss beside it.
        judged: Places of strength 0 and of the chosen strengths, which stay well inside.

    Shape:
        train: (K,).
    """
    error, known = values.standard_error.nan_to_num(), values.mean.isfinite()
    if not known.any():
        return None
    high, low = values.mean + error, torch.minimum(values.mean - error, train.nan_to_num(math.inf))
    at = [k for k in judged if known[k]] or known.nonzero().flatten().tolist()
    top, bottom = float(high[at].max()), float(low[known].min())
    room = (top - bottom) or abs(top) or 1.0
    return bottom - MARGIN * room, min(top + ABOVE * room, float(high[known].max()) + MARGIN * room)
