"""Metrics computed from kept outputs: accuracy, and any scikit-learn scorer."""

from __future__ import annotations

import functools
import math
import warnings
from collections.abc import Callable
from typing import Any, TypeAlias

import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError, choose_from

Metric: TypeAlias = str | Callable[[Any, Any, Any], float]

OF_NUMBERS = frozenset(
    {
        "d2_absolute_error_score",
        "explained_variance",
        "max_error",
        "neg_max_error",
        "neg_mean_absolute_error",
        "neg_mean_absolute_percentage_error",
        "neg_mean_gamma_deviance",
        "neg_mean_poisson_deviance",
        "neg_mean_squared_error",
        "neg_mean_squared_log_error",
        "neg_median_absolute_error",
        "neg_root_mean_squared_error",
        "neg_root_mean_squared_log_error",
        "r2",
    }
)
"""The scorers of regression; every other name measures classes."""


def greater_is_better(metric: Metric) -> bool:
    """Return whether more is better: true of every metric but the loss, as in scikit-learn."""
    return metric != "loss"


def metric_name(metric: Metric) -> str:
    """Return what to call a metric."""
    if isinstance(metric, str):
        return metric
    measured = getattr(metric, "_score_func", metric)
    return str(getattr(measured, "__name__", type(measured).__name__))


def check_name(metric: Metric) -> None:
    """Refuse a name of no metric at all, before anything is trained for it.

    Raises:
        ShrinkageError: With the nearest name.
    """
    if isinstance(metric, str) and metric != "loss":
        from sklearn.metrics import get_scorer_names

        if metric not in (names := get_scorer_names()):
            raise ShrinkageError(
                f"unknown metric {metric!r}; {choose_from(metric, ['loss', *names])}"
            )


def explained(mean_square: Tensor, targets: Tensor) -> Tensor:
    """Return R², the part of the targets' variance that a mean squared error leaves explained.

    It is NaN where the targets do not vary, as those of a single row.

    Shape:
        mean_square: any. targets: (N,) or (N, M).
    """
    spread = targets.double().var(0, correction=0).mean()
    return 1 - mean_square / spread if spread > 0 else torch.full_like(mean_square, torch.nan)


def score(metric: Metric, outputs: Tensor, targets: Tensor) -> Tensor:
    """Return a metric of the outputs of many members on the same rows, NaN where they are NaN.

    A scikit-learn scorer sees an estimator whose inputs are these outputs: classes are the largest
    output, probabilities the softmax (a single output is the logit of class 1), numbers the
    output itself. Numbers that are all 0 or 1 are labels to a metric of classes, and the outputs
    their logits, as ``BCEWithLogitsLoss`` has it. Every row counts alike.

    Args:
        metric: ``"accuracy"``, the name of a scikit-learn scorer, or a scorer: a function
            ``(estimator, X, y) -> number`` where more is better.
        outputs: Outputs.
        targets: Classes, or numbers.

    Shape:
        outputs: (..., N, C). targets: (N,) or (N, M). Returned: (...), float64.

    Raises:
        ShrinkageError: The metric cannot be computed from these outputs; the message lists the
            names of those that can.

    Example:
        >>> outputs = torch.tensor([[0.0, 2.0], [1.0, 0.0], [0.5, 1.0]])
        >>> score("roc_auc", outputs, torch.tensor([1, 0, 1]))
        tensor(1., dtype=torch.float64)
    """
    classes = not targets.is_floating_point()
    at_once = _at_once(metric, outputs.shape[-1]) if classes else None
    if at_once is not None:
        values = at_once(outputs, targets)
        if not (values.isnan() & outputs.isfinite().all(-1).all(-1)).any():
            return values
    members = outputs.double().flatten(0, -3) if outputs.dim() > 2 else outputs.double()[None]
    alive = ~members.isnan().flatten(1).any(1)
    values = torch.full((len(members),), torch.nan, dtype=torch.float64)
    for place in alive.nonzero().flatten().tolist():
        try:
            values[place] = _measured(metric, members[place], targets)
        except (ValueError, TypeError, AttributeError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise ShrinkageError(
                f"the metric {metric_name(metric)!r} cannot be computed on these "
                f"{len(targets)} rows: {reason}. {_possible(members[place], targets)}"
            ) from error
    return values.view(outputs.shape[:-2])


def _at_once(metric: Metric, outputs: int) -> Callable[[Tensor, Tensor], Tensor] | None:
    """Return a form of the most common metrics that measures all members at once, or None."""
    ranks = {"roc_auc"} if outputs <= 2 else {"roc_auc_ovr"}
    if metric in ranks:
        return area_under_roc
    if metric == "balanced_accuracy":
        return balanced_accuracy
    return _accuracy if metric == "accuracy" else None


def _accuracy(outputs: Tensor, targets: Tensor) -> Tensor:
    return correct(outputs, targets).mean(-1)


def _measured(metric: Metric, outputs: Tensor, targets: Tensor) -> float:
    from sklearn.metrics import get_scorer

    if isinstance(metric, str) and metric not in OF_NUMBERS and _labels(targets):
        targets = targets.long() if outputs.shape[1] > 1 else targets.long().flatten()
    classes = 0 if targets.is_floating_point() else max(2, outputs.shape[1])
    if isinstance(metric, str) and (metric in OF_NUMBERS) == bool(classes):
        raise ValueError(f"it is not a metric of {'classes' if classes else 'numbers'}")
    scorer = get_scorer(metric) if isinstance(metric, str) else metric
    if not callable(scorer):
        raise TypeError("it is neither the name of a scikit-learn scorer nor a function")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        reader = _reader_of_labels(classes) if targets.dim() == 2 and classes else _reader(classes)
        value = float(scorer(reader, outputs.numpy(), targets.numpy()))
    if not math.isfinite(value):
        raise ValueError(f"it is {value} there")
    return value


def _possible(outputs: Tensor, targets: Tensor) -> str:
    from sklearn.metrics import get_scorer_names

    names = []
    for name in get_scorer_names():
        try:
            _measured(name, outputs, targets)
        except (ValueError, TypeError, AttributeError):
            continue
        names.append(name)
    return f"Choose from loss, {', '.join(names)}."


@functools.cache
def _reader(classes: int) -> Any:
    """Return a scikit-learn estimator whose inputs are already the outputs of a model.

    Args:
        classes: How many classes; 0 for numbers.
    """
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

    class Classes(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        classes_ = torch.arange(classes).numpy()

        def predict(self, X: Any) -> Any:
            return predicted(torch.from_numpy(X)).numpy()

        def predict_proba(self, X: Any) -> Any:
            return _logits(X).softmax(1).numpy()

        def decision_function(self, X: Any) -> Any:
            logits = _logits(X).numpy()
            return logits if classes > 2 else logits[:, 1] - logits[:, 0]

    class Numbers(RegressorMixin, BaseEstimator):  # type: ignore[misc]
        def predict(self, X: Any) -> Any:
            return X[:, 0] if X.shape[1] == 1 else X

    return Classes() if classes else Numbers()


@functools.cache
def _reader_of_labels(labels: int) -> Any:
    """Return a scikit-learn estimator of several labels a row, whose inputs are their logits.

    It has no probabilities: scikit-learn's log loss takes them for those of one class each.
    """
    from sklearn.base import BaseEstimator, ClassifierMixin

    class Labels(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
        classes_ = [torch.arange(2).numpy()] * labels

        def predict(self, X: Any) -> Any:
            return (X > 0).astype(int)

        def decision_function(self, X: Any) -> Any:
            return X

    return Labels()


def _labels(targets: Tensor) -> bool:
    return targets.is_floating_point() and bool(((targets == 0) | (targets == 1)).all())


def _logits(outputs: Any) -> Tensor:
    logits = torch.from_numpy(outputs)
    return torch.nn.functional.pad(logits, (1, 0)) if logits.shape[1] == 1 else logits


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
