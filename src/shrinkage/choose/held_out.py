r"""A held-out metric over the strengths, with its standard error.

Seeds are averaged inside a fold first: they share the data, so they are not extra folds. With
:math:`w_f` the rows of fold f and :math:`e_f` its held-out metric,

.. math:: m = \frac{\sum_f w_f e_f}{\sum_f w_f}, \qquad
    \mathrm{se} = \sqrt{\frac{1}{F-1} \frac{\sum_f w_f (e_f - m)^2}{\sum_f w_f}}

as in glmnet (``cvm`` and ``cvsd``). A diverged member makes its strength NaN, and NaN never wins.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError, counted
from shrinkage.metrics import Metric, greater_is_better, metric_name
from shrinkage.result.path_result import PathResult


@dataclass(frozen=True, eq=False)
class Curve:
    """A held-out metric over the strengths.

    Shape:
        mean: (K,). standard_error: (K,), NaN with one fold. per_fold: (K, F). All float64.
    """

    mean: Tensor
    standard_error: Tensor
    per_fold: Tensor


def check_path(result: PathResult) -> None:
    """Refuse what is no path, such as the estimator that holds one."""
    if not isinstance(result, PathResult):
        where = "its path is in .path_" if hasattr(result, "path_") else "fit_path returns one"
        raise ShrinkageError(f"{type(result).__name__} is not a PathResult; {where}.")


def curve(result: PathResult, metric: Metric = "loss") -> Curve:
    """Return mean and standard error over the folds of a held-out metric, for every strength."""
    check_path(result)
    per_fold = whole_members(result, metric).mean(-1)
    return Curve(*mean_and_error(per_fold, fold_rows(result), looks(result)), per_fold)


def solved(result: PathResult) -> bool:
    """Return whether the members are minima, found without steps, epochs, batches and seeds."""
    return str(result.about.get("engine", "")).startswith("exact")


def measure(metric: Metric) -> str:
    """Return a description of the curve of a metric, such as "cross-validated loss"."""
    return f"cross-validated {metric_name(metric)}"


def loss_sign(metric: Metric) -> float:
    """Return the factor, 1 or -1, that turns a metric into a loss: less is better."""
    return -1.0 if greater_is_better(metric) else 1.0


def whole_members(result: PathResult, metric: Metric) -> Tensor:
    """Return the metric of every member, NaN where it diverged.

    Shape:
        (K, F, S), float64.
    """
    values = result.metric(metric).double()
    return values.masked_fill((result.diverged >= 0) | ~values.isfinite(), torch.nan)


def fold_rows(result: PathResult) -> Tensor:
    """Return how many rows each fold holds out, or their total weight: (F,)."""
    return torch.bincount(result.folds, result.row_weights, result.n_folds).double()


def trained_rows(result: PathResult) -> Tensor:
    """Return how many rows each fold trained on, or their total weight: (F,)."""
    rows = fold_rows(result)
    return rows.sum() - rows if result.trained_on is None else result.trained_on


def looks(result: PathResult, folds: Tensor | None = None) -> float:
    """Return how often these folds hold out a row on average: 1, or more in repeated splits.

    Args:
        result: The path.
        folds: Which folds, (F,); None stands for all.
    """
    if result.rows_held is None:
        return 1.0
    rows = result.rows_held if folds is None else result.rows_held[folds[result.folds]]
    return len(rows) / len(set(rows.tolist()))


def folds_in_words(result: PathResult) -> str:
    """Return the number of folds, and of repeats if all rows were split again and again."""
    repeats = looks(result)
    if repeats == 1 or not repeats.is_integer() or result.n_folds % repeats:
        return counted(result.n_folds, "fold")
    return f"{result.n_folds // int(repeats)} folds x {int(repeats)} repeats"


def apart(result: PathResult) -> Tensor:
    """Return whether two folds hold out no row in common, (F, F)."""
    if result.rows_held is None:
        return ~torch.eye(result.n_folds, dtype=torch.bool)
    holds = torch.zeros(result.n_folds, int(result.rows_held.max()) + 1)
    holds[result.folds, result.rows_held] = 1
    return holds @ holds.T == 0


def mean_and_error(per_fold: Tensor, rows: Tensor, looks: float = 1) -> tuple[Tensor, Tensor]:
    """Return weighted mean and standard error over the last axis: glmnet's cvm and cvsd.

    A row that is held out twice is no second row: the variance of the mean is multiplied by
    ``looks``, the number of times that each row is held out.
    """
    share = rows / rows.sum()
    mean = (share * per_fold).sum(-1)
    spread = (share * (per_fold - mean.unsqueeze(-1)).square()).sum(-1)
    return mean, (spread * looks / (len(rows) - 1)).sqrt()


STILL_LEARNING = 0.5
"""A pace that only models have which have learned next to nothing: measured."""


class LastEpochs(NamedTuple):
    """How the held-out loss of a point fell in the last tenth of its epochs.

    Attributes:
        epochs: How many these are.
        fall: By which share of the loss it fell.
        pace: How fast it fell, over its mean pace from the first epoch to the last: about 0 where
            training is done, 1 or more where it has hardly begun.
    """

    epochs: int
    fall: float
    pace: float


def last_epochs(result: PathResult, index: int) -> LastEpochs:
    """Return how the held-out loss of a point fell in the end; 0 of less than three epochs."""
    losses = result.valid_loss[index].double().mean((0, 1))
    last = max(len(losses) // 10, 1)
    if len(losses) < 3 or not losses.isfinite().all() or losses.min() <= 0:
        return LastEpochs(last, 0.0, 0.0)
    fall, whole = (float(losses[start] - losses[-1]) for start in (-1 - last, 0))
    pace = fall / last * (len(losses) - 1) / whole if whole > 0 else 0.0
    return LastEpochs(last, fall / float(losses[-1 - last]), pace)


def need_folds(result: PathResult, what: str) -> None:
    """Refuse a path of one fold."""
    check_path(result)
    if result.n_folds < 2:
        raise ShrinkageError(
            f"{what} needs a variance over folds, but this path has one fold. Use at least 2."
        )
