r"""Decisions from a path: which strength, and whether the penalty helped.

All take the mean over seeds inside a fold first: seeds share the data, so they are not extra
folds. With :math:`w_f` the rows of fold f and :math:`e_f` its held-out metric,

.. math:: m = \frac{\sum_f w_f e_f}{\sum_f w_f}, \qquad
    \mathrm{se} = \sqrt{\frac{1}{F-1} \frac{\sum_f w_f (e_f - m)^2}{\sum_f w_f}}

as in glmnet (``cvm`` and ``cvsd``). A diverged member makes its strength NaN, and NaN never wins.
Where the strengths are crossed with other knobs, the best point is sought among all of them, and
what follows, the standard-error rules and the verdict, stays on the path with the same knobs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError
from shrinkage.points import alike
from shrinkage.result import PathResult, check_choice

CONFIDENCE = 0.95
MEASURES = {"loss": ("cross-validated loss", 1.0), "accuracy": ("cross-validated accuracy", -1.0)}


@dataclass(frozen=True, eq=False)
class Curve:
    """A held-out metric over the strengths.

    Shape:
        mean: (K,). standard_error: (K,), NaN with one fold. per_fold: (K, F). All float64.
    """

    mean: Tensor
    standard_error: Tensor
    per_fold: Tensor


@dataclass(frozen=True)
class Choice:
    """One strength of a path, and the rule that chose it.

    Args:
        rule: The name of the function.
        index: Its place in ``result.strengths``.
        strength: Its value.
        at_edge: Whether it is the smallest nonzero or the largest strength of the grid, so that a
            better one may lie outside. Strength 0 is no edge: it says that no penalty is best.
        knobs: What else the point has, such as ``{"dropout": 0.2}``; ``result.slice(**knobs)`` is
            the path it lies on.
    """

    rule: str
    index: int
    strength: float
    at_edge: bool
    knobs: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Verdict:
    """Whether the penalty helped, and how sure that is.

    Args:
        answer: ``"helped"``, ``"did not help"`` or ``"cannot tell"``.
        difference: Metric at the chosen strength minus metric at strength 0.
        standard_error: Of the difference.
        interval: Confidence interval of the difference.
        confidence: Its level.
        sentence: All of it in one sentence.
    """

    answer: str
    difference: float
    standard_error: float
    interval: tuple[float, float]
    confidence: float
    sentence: str


def curve(result: PathResult, metric: str = "loss") -> Curve:
    """Return mean and standard error over the folds of a held-out metric, for every strength."""
    values = result.metric(metric).double()
    values = values.masked_fill((result.diverged >= 0) | ~values.isfinite(), torch.nan)
    per_fold = values.mean(-1)
    return Curve(*_mean_and_error(per_fold, _fold_rows(result)), per_fold)


def minimum(result: PathResult, metric: str = "loss") -> Choice:
    """Return the largest strength that attains the best mean (the smallest loss)."""
    mean = MEASURES[metric][1] * curve(result, metric).mean
    return _largest(result, "minimum", mean <= mean[_best(result, metric)])


def one_standard_error(result: PathResult, metric: str = "loss") -> Choice:
    """Return the largest strength within one standard error of the best mean.

    The standard error is that of the best strength, and the bound is included, as in glmnet's
    ``lambda.1se``.
    """
    _need_folds(result, "the one-standard-error rule")
    best, values = _best(result, metric), curve(result, metric)
    mean = MEASURES[metric][1] * values.mean
    bound = mean[best] + values.standard_error[best]
    return _largest(result, "one_standard_error", (mean <= bound) & _alike(result, best))


def paired_one_standard_error(result: PathResult, metric: str = "loss") -> Choice:
    """Return the largest strength whose paired difference to the best is within its own error.

    The difference is taken inside each fold, where all strengths share rows, initial weights and
    batches. What they have in common cancels, so this rule stays closer to the minimum.
    """
    _need_folds(result, "the paired one-standard-error rule")
    best, values = _best(result, metric), curve(result, metric)
    difference = MEASURES[metric][1] * (values.per_fold - values.per_fold[best])
    mean, error = _mean_and_error(difference, _fold_rows(result))
    return _largest(result, "paired_one_standard_error", (mean <= error) & _alike(result, best))


def verdict(result: PathResult, choice: Choice | None = None, metric: str = "loss") -> Verdict:
    r"""Say whether the penalty helped, from paired differences to strength 0.

    The differences are taken per fold, after the mean over seeds. Training sets overlap, so the
    plain variance :math:`s^2 / F` of their mean is too small; it is replaced by

    .. math:: s^2 \left(\frac{1}{F} + \frac{n_\mathrm{valid}}{n_\mathrm{train}}\right)

    with Student's t of F-1 degrees of freedom. "Helped" means that the whole interval is on the
    good side of 0, "did not help" that it is on the bad side, or that there is no difference at all
    because strength 0 itself was chosen.

    What the interval does not correct: the strength was chosen on the same folds, which favors the
    penalty a little, the more the larger the grid and the noise. And it speaks of this data set:
    folds of one sample say little about how the next sample would differ. Test rows kept out of
    the path, or an outer cross-validation, answer both.

    Args:
        result: The path.
        choice: The strength to judge; `minimum` if left out.
        metric: ``"loss"``, or ``"accuracy"`` for classification, where more is better.

    Raises:
        ShrinkageError: There is one fold only, every strength diverged, or the choice is not of
            this path.

    References:
        Nadeau & Bengio (2003), Inference for the Generalization Error, Machine Learning 52,
        239-281.
    """
    from scipy.special import stdtrit

    _need_folds(result, "a verdict")
    choice = choice or minimum(result, metric)
    check_choice(result, choice)
    per_fold, rows = curve(result, metric).per_fold, _fold_rows(result)
    reference = per_fold[_unpenalized(result, choice)]
    mean, error = _mean_and_error(per_fold[choice.index] - reference, rows)
    n_folds = result.n_folds
    ratio = (rows / (rows.sum() - rows)).mean().item()
    difference = mean.item()
    standard_error = error.item() * math.sqrt(1 + n_folds * ratio)
    reach = float(stdtrit(n_folds - 1, (1 + CONFIDENCE) / 2)) * standard_error
    interval = (difference - reach, difference + reach)
    sign = MEASURES[metric][1]
    low, high = sorted(sign * bound for bound in interval)
    answer = "cannot tell"
    if high < 0:
        answer = "helped"
    elif low >= 0:
        answer = "did not help"
    sentence = _sentence(result, choice, metric, answer, difference, interval)
    return Verdict(answer, difference, standard_error, interval, CONFIDENCE, sentence)


def _fold_rows(result: PathResult) -> Tensor:
    return torch.bincount(result.folds, minlength=result.n_folds).double()


def _mean_and_error(per_fold: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
    """Weighted mean and its standard error over the last axis, as glmnet's cvm and cvsd."""
    share = rows / rows.sum()
    mean = (share * per_fold).sum(-1)
    spread = (share * (per_fold - mean.unsqueeze(-1)).square()).sum(-1)
    return mean, (spread / (len(rows) - 1)).sqrt()


def _best(result: PathResult, metric: str) -> int:
    mean = MEASURES[metric][1] * curve(result, metric).mean
    if mean.isnan().all():
        raise ShrinkageError(
            f"no strength can be chosen: at every strength from 0 to {result.strengths[-1]:g} some "
            "member diverged. Lower the learning rate, or standardize the inputs, and run again."
        )
    return int(mean.nan_to_num(nan=math.inf).argmin())


def _largest(result: PathResult, rule: str, allowed: Tensor) -> Choice:
    index = int(result.strengths.masked_fill(~allowed, -1).argmax())
    strength = result.strengths[index].item()
    path = result.strengths[_alike(result, index)].tolist()
    at_edge = strength > 0 and strength in (path[1], path[-1])
    knobs = {name: values[index].item() for name, values in result.knobs.items()}
    return Choice(rule, index, strength, at_edge, knobs)


def _alike(result: PathResult, index: int) -> Tensor:
    return alike(result.knobs, index, len(result.strengths))


def _unpenalized(result: PathResult, choice: Choice) -> int:
    """The point of strength 0 with the same knobs."""
    return int((_alike(result, choice.index) & (result.strengths == 0)).nonzero())


def _need_folds(result: PathResult, what: str) -> None:
    if result.n_folds < 2:
        raise ShrinkageError(
            f"{what} needs a variance over folds, and this path has one fold. Use at least 2."
        )


def _sentence(
    result: PathResult,
    choice: Choice,
    metric: str,
    answer: str,
    difference: float,
    interval: tuple[float, float],
) -> str:
    measure, n_seeds = MEASURES[metric][0], len(result.seeds)
    counts = f"{result.n_folds} folds x {n_seeds} seed{'s' * (n_seeds > 1)}"
    if math.isnan(difference):
        where = sorted({_unpenalized(result, choice), choice.index})
        lost = int((result.diverged[where] >= 0).sum())
        return (
            f"Cannot tell: {lost} of the trainings at strength 0 and {choice.strength:.1e} "
            f"diverged, so there is no difference to judge ({counts})."
        )
    if choice.strength == 0:
        return (
            f"Did not help: of {len(result.strengths)} strengths the rule {choice.rule} keeps "
            f"strength 0, no penalty at all ({counts})."
        )
    width = interval[1] - interval[0]
    digits = max(0, 1 - math.floor(math.log10(width))) if width > 0 else 6
    says = f"at strength {choice.strength:.1e} the {measure} is"
    if width == difference == 0:
        return f"Did not help: {says} the same as without a penalty ({counts})."
    says += f" {_side(difference, digits)}"
    level = f"{CONFIDENCE:.0%} interval"
    if answer == "cannot tell":
        low, high = (_side(bound, digits) for bound in interval)
        return (
            f"Cannot tell: {says} than without a penalty, but the {level} runs from {low} to "
            f"{high} ({counts})."
        )
    near, far = sorted(abs(bound) for bound in interval)
    return (
        f"{answer.capitalize()}: {says} than without a penalty ({level} {near:.{digits}f} to "
        f"{far:.{digits}f}; {counts})."
    )


def _side(difference: float, digits: int) -> str:
    return f"{abs(difference):.{digits}f} {'lower' if difference < 0 else 'higher'}"
