"""Metrics by the name of a scikit-learn scorer, or as a scorer, of kept outputs."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError, choose_from, counted
from shrinkage.metrics.at_once import area_under_roc, balanced_accuracy, correct
from shrinkage.metrics.readers import reader_of_classes, reader_of_labels, reader_of_numbers
from shrinkage.rows.classes import labeled
from shrinkage.rows.rows import flat

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


def check_metric(
    metric: Metric,
    targets: Tensor,
    outputs: int,
    held: Iterable[Tensor],
    classes: Sequence[Any] | None = None,
) -> None:
    """Refuse a metric that cannot be computed of these targets, before anything is trained for it.

    It is tried on made-up outputs, of which all but the first are right.

    Args:
        metric: As for `score`.
        targets: The targets of all rows.
        outputs: How many outputs a row will have.
        held: The rows of each fold.
        classes: As for `score`.

    Raises:
        ShrinkageError: As `score`.
    """
    check_name(metric)
    for rows in held if metric != "loss" else ():
        score(metric, _stand_in(targets[rows], outputs), targets[rows], classes)


def _stand_in(targets: Tensor, outputs: int) -> Tensor:
    """Return outputs (N, C) whose first row is wrong, or for numbers half-way to the mean."""
    if targets.is_floating_point() and not _labels(targets):
        numbers = targets.double().reshape(len(targets), -1)
        return ((numbers + numbers.mean(0)) / 2).expand(-1, max(outputs, numbers.shape[1]))
    if targets.is_floating_point() or outputs == 1:
        made = 2 * targets.double().reshape(len(targets), -1) - 1
        made[0] *= -1
        return made
    made = torch.nn.functional.one_hot(targets, max(outputs, int(targets.max()) + 1)).double()
    made[0] = made[0].roll(1)
    return made


def score(
    metric: Metric, outputs: Tensor, targets: Tensor, classes: Sequence[Any] | None = None
) -> Tensor:
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
        classes: The labels of the classes 0, 1, ..., which a scorer sees in their place. With them,
            numbers that are all 0 or 1 are labels to a function, too.

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
    whole = not targets.is_floating_point()
    at_once = _at_once(metric, outputs.shape[-1]) if whole else None
    if at_once is not None:
        values = at_once(outputs, targets)
        if not (values.isnan() & outputs.isfinite().all(-1).all(-1)).any():
            return values
    members = outputs.double().flatten(0, -3) if outputs.dim() > 2 else outputs.double()[None]
    alive = ~members.isnan().flatten(1).any(1)
    values = torch.full((len(members),), torch.nan, dtype=torch.float64)
    for place in alive.nonzero().flatten().tolist():
        try:
            values[place] = _measured(metric, members[place], targets, classes)
        except (ValueError, TypeError, AttributeError) as error:
            reason = str(error).splitlines()[0].rstrip(".")
            raise ShrinkageError(
                f"the metric {metric_name(metric)!r} cannot be computed on these "
                f"{counted(len(targets), 'row')}: {reason}. {_which(reason, classes)}"
                f"{_possible(members[place], targets, classes)}"
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


def _measured(
    metric: Metric, outputs: Tensor, targets: Tensor, classes: Sequence[Any] | None
) -> float:
    from sklearn.metrics import get_scorer

    of_numbers = isinstance(metric, str) and metric in OF_NUMBERS
    by_name = isinstance(metric, str) or classes is not None
    if by_name and not of_numbers and _labels(targets):
        targets = targets.long() if outputs.shape[1] > 1 else targets.long().flatten()
    kind = "numbers" if targets.is_floating_point() else "classes"
    if isinstance(metric, str) and of_numbers != (kind == "numbers"):
        raise ValueError(f"it is not a metric of {kind}")
    scorer = get_scorer(metric) if isinstance(metric, str) else metric
    if not callable(scorer):
        raise TypeError("it is neither the name of a scikit-learn scorer nor a function")
    reader, seen = reader_of_numbers(), flat(targets).numpy()
    if kind == "classes":
        columns, several = outputs.shape[1], targets.dim() == 2
        needed = 2 if several else max(2, columns)
        known = range(needed) if classes is None else classes[:needed]
        if len(known) < needed:
            raise ValueError(f"the model has {columns} outputs, but classes= {len(known)} labels")
        reader = reader_of_labels(known, columns) if several else reader_of_classes(known)
        seen = labeled(targets, classes)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = float(scorer(reader, outputs.numpy(), seen))
    if not math.isfinite(value):
        raise ValueError(f"it is {value} there")
    return value


def _which(reason: str, classes: Sequence[Any] | None) -> str:
    """Return how to say which class counts as positive, where a metric asks for it."""
    if classes is None or "pos_label" not in reason:
        return ""
    return (
        "Say which class is positive, as in sklearn.metrics.make_scorer(f1_score, "
        f"pos_label={classes[-1]!r}). "
    )


def _possible(outputs: Tensor, targets: Tensor, classes: Sequence[Any] | None) -> str:
    from sklearn.metrics import get_scorer_names

    names = []
    for name in get_scorer_names():
        try:
            _measured(name, outputs, targets, classes)
        except (ValueError, TypeError, AttributeError):
            continue
        names.append(name)
    return f"Choose from loss, {', '.join(names)}."


def _labels(targets: Tensor) -> bool:
    return targets.is_floating_point() and bool(((targets == 0) | (targets == 1)).all())
