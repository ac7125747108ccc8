"""What the out-of-fold outputs tell: calibration and confusion, or residuals."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from shrinkage import labels
from shrinkage.choose.overview import loss_name
from shrinkage.metrics import predicted
from shrinkage.report.thin import evenly, plain
from shrinkage.result.path_result import PathResult

BINS, MOST_CLASSES, MOST_POINTS, BARS, LONGEST_NAME = 10, 12, 300, 31, 14
SOFTMAX = {"", "cross_entropy", "CrossEntropyLoss"}
SIGMOID = {"BCEWithLogitsLoss", "binary_cross_entropy_with_logits"}


def out_of_fold(result: PathResult, places: list[int]) -> dict[str, Any]:
    """Return what every strength predicted for rows that it had not seen, seeds pooled."""
    if result.task == "regression":
        return {"residuals": _residuals(result, places)}
    logits = _are_logits(result)
    return {
        "calibration": [_calibration(_probabilities(result, k), result.targets) for k in places]
        if logits
        else None,
        "confusion": _confusion(result, places),
    }


def _are_logits(result: PathResult) -> bool:
    one = result.predictions.shape[-1] == 1
    return loss_name(result) in (SIGMOID if one else SOFTMAX)


def _probabilities(result: PathResult, k: int) -> Tensor:
    """(S, N, C) probabilities of all classes; a single output is the logit of class 1."""
    outputs = result.predictions[k].double()
    if outputs.shape[-1] > 1:
        return outputs.softmax(-1)
    return torch.cat([1 - outputs.sigmoid(), outputs.sigmoid()], -1)


def _calibration(probabilities: Tensor, targets: Tensor) -> dict[str, Any]:
    """Return how often the model was right in each bin of its confidence, of equal width."""
    confidence, classes = probabilities.max(-1)
    known = confidence.isfinite()
    confidence, right = confidence[known], (classes == targets)[known].double()
    if not len(confidence):
        return {"bins": [], "error": None}
    place = (confidence * BINS).long().clamp(max=BINS - 1)
    count = torch.bincount(place, minlength=BINS).double()
    claimed, observed = (torch.bincount(place, v, BINS) / count for v in (confidence, right))
    error = ((claimed - observed).abs() * count).nansum() / count.sum()
    filled = count > 0
    rows = torch.stack([claimed, observed, count / count.sum()], 1)[filled]
    return {
        "bins": plain(rows),
        "error": plain(error),
        "confidence": plain(confidence.mean()),
        "accuracy": plain(right.mean()),
    }


def _confusion(result: PathResult, places: list[int]) -> dict[str, Any]:
    """Rows by true and predicted class, means over seeds; of many classes the most mistaken."""
    classes = max(result.predictions.shape[-1], 2, int(result.targets.max()) + 1)
    shown = _most_mistaken(result, classes)
    counts = [_counts(result, k, classes) for k in places]
    return {
        "classes": labels.short_names([_names(result, classes)[c] for c in shown], LONGEST_NAME),
        "total": classes,
        "counts": [plain(c[shown][:, shown]) for c in counts],
        "rows": [plain(c.sum()) for c in counts],
        "right": [plain(c.diagonal().sum()) for c in counts],
    }


def _names(result: PathResult, classes: int) -> list[str]:
    """Return the labels of the classes, or their names in the data; without them their numbers."""
    data = result.about.get("data")
    names = result.classes or (data.get("classes") if isinstance(data, dict) else None)
    if not isinstance(names, list) or len(names) != classes:
        return [str(number) for number in range(classes)]
    return [str(name) for name in names]


def _counts(result: PathResult, k: int, classes: int) -> Tensor:
    outputs = result.predictions[k]
    known = ~outputs.isnan().any(-1)
    pairs = (result.targets * classes + predicted(outputs))[known]
    counts = torch.bincount(pairs, minlength=classes * classes).double()
    return counts.view(classes, classes) / len(result.seeds)


def _most_mistaken(result: PathResult, classes: int) -> list[int]:
    if classes <= MOST_CLASSES:
        return list(range(classes))
    counts = _counts(result, 0, classes)
    mistakes = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
    return sorted(mistakes.topk(MOST_CLASSES).indices.tolist())


def _residuals(result: PathResult, places: list[int]) -> dict[str, Any]:
    """Predicted against observed for some rows, and the histogram of all residuals."""
    targets = result.targets.double().flatten()
    n, outputs = len(result.targets), result.predictions.shape[-1]
    if len(targets) != n * outputs:
        return {"points": [], "total": len(targets)}
    rows = evenly(len(targets), MOST_POINTS)
    predictions = [result.predictions[k].flatten(1) for k in places]
    drawn = [p[:, rows].double().mean(0) for p in predictions]
    reaches = [(d - targets[rows]).abs().max() for d in drawn]
    reach = next((float(r) for r in reaches if r.isfinite() and r > 0), None)
    if reach is None:
        return {"points": [], "total": len(targets)}
    return {
        "total": len(targets),
        "observed": plain(targets[rows]),
        "points": [plain(d) for d in drawn],
        "reach": reach,
        "bars": [_histogram(p.double() - targets, reach) for p in predictions],
        "error": [plain((p.double() - targets).square().mean().sqrt()) for p in predictions],
        "spread": plain(targets.std(correction=0)),
    }


def _histogram(residuals: Tensor, reach: float) -> list[float]:
    """Percent of the residuals in each bar; the outermost hold what lies beyond."""
    known = residuals[residuals.isfinite()].clamp(-reach, reach)
    counts = torch.histc(known, BARS, -reach, reach) if len(known) else torch.zeros(BARS)
    shares: list[float] = plain(100 * counts / max(len(known), 1))
    return shares
