"""The main chart: the held-out loss over the strengths, or another metric of the kept outputs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from shrinkage.choose import Choice, Curve, curve
from shrinkage.choose.choices import choices_of
from shrinkage.choose.overview import loss_name
from shrinkage.choose.per_strength import frame, total_norm, zero_share
from shrinkage.errors import ShrinkageError
from shrinkage.report.curves import loss_label
from shrinkage.report.thin import plain
from shrinkage.result.path_result import PathResult

OF_NUMBERS = {"", "mse", "MSELoss", "L1Loss", "HuberLoss", "SmoothL1Loss"}
"""The losses of numbers that the outputs stand for, rather than for logits."""


@dataclass(frozen=True, eq=False)
class Judged:
    """A metric over the strengths, and what it would choose.

    Attributes:
        name: What the page calls it.
        label: The same with its unit, for an axis.
        values: Mean, error and folds as they are shown.
        sign: 1 where less is better, else -1.
        choices: By rule; empty where every strength diverged.
    """

    name: str
    label: str
    values: Curve
    sign: float
    choices: Mapping[str, Choice]


def judged_metrics(result: PathResult, by_loss: Mapping[str, Choice]) -> list[Judged]:
    """Return the loss, whose choices are known, and the other metrics that these outputs give."""
    found = [Judged("loss", loss_label(result), curve(result), 1.0, by_loss)]
    for name, (metric, label, factor) in _metrics(result).items():
        try:
            values = curve(result, metric)
        except ShrinkageError:
            continue
        shown = Curve(
            factor * values.mean, abs(factor) * values.standard_error, factor * values.per_fold
        )
        found.append(
            Judged(name, label, shown, -math.copysign(1, factor), _choices(result, metric))
        )
    return found


def _metrics(result: PathResult) -> dict[str, tuple[str, str, float]]:
    """Metrics of which more is better by what the page calls them: theirs, a label, a factor."""
    if result.task == "regression":
        if loss_name(result) not in OF_NUMBERS:
            return {}
        error = "mean absolute error"
        return {"R²": ("r2", "R²", 1.0), error: ("neg_mean_absolute_error", error, -1.0)}
    several = result.predictions.shape[-1] > 2
    return {
        "accuracy": ("accuracy", "accuracy, %", 100.0),
        "balanced accuracy": ("balanced_accuracy", "balanced accuracy, %", 100.0),
        "area under ROC": ("roc_auc_ovr" if several else "roc_auc", "area under ROC", 1.0),
    }


def _choices(result: PathResult, metric: str) -> dict[str, Choice]:
    try:
        return choices_of(result, metric)
    except ShrinkageError:
        return {}


def validation(result: PathResult, places: list[int], judged: Sequence[Judged]) -> dict[str, Any]:
    """Return every metric with the frame to show it in, and the axis on top."""
    return {
        "metrics": [_numbers(result, places, one) for one in judged],
        "top": _shrinkage(result, places),
    }


def _numbers(result: PathResult, places: list[int], one: Judged) -> dict[str, Any]:
    values, unknown = one.values, torch.full_like(one.values.mean, torch.nan)
    is_loss = one.name == "loss"
    train = result.fit_loss.double().mean((1, 2)) if is_loss else unknown
    train = train.masked_fill(values.mean.isnan(), torch.nan)
    compared = [0, *(choice.index for choice in one.choices.values())]
    limits = frame(replace(values, mean=one.sign * values.mean), train, compared)
    return {
        "name": one.name,
        "label": one.label,
        "more": one.sign < 0,
        "valid": plain(values.mean[places]),
        "error": plain(values.standard_error[places]),
        "train": plain(train[places]) if is_loss else None,
        "frame": limits and sorted(one.sign * limit for limit in limits),
        "marks": [
            {"rule": rule, "place": places.index(choice.index)}
            for rule, choice in one.choices.items()
        ],
    }


def _shrinkage(result: PathResult, places: list[int]) -> dict[str, Any] | None:
    """The axis on top: exact zeros where there are any, else how much of the norm is left."""
    if not result.tensor_names:
        return None
    zeros = zero_share(result)
    if bool((zeros > 0).any()):
        return {"title": "weights that are exactly zero", "percent": plain(100 * zeros[places])}
    total = total_norm(result)
    title = "weight norm left, no exact zeros"
    return {"title": title, "percent": plain(100 * (total / total[0])[places])}
