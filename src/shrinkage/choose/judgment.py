r"""The verdict: did the penalty help?

A choice looks best on the folds it was made on, so the verdict judges the choosing itself: for
every fold the strength is chosen, by the same rule, on the other folds alone, and compared there
with strength 0. These differences :math:`d_f` owe nothing to the choice. Training sets overlap,
so the plain variance :math:`s^2 / F` of their mean is too small where they have a difference in
common; Nadeau and Bengio replace it by

.. math:: s^2 \left(\frac{1}{F} + \frac{n_\mathrm{valid}}{n_\mathrm{train}}\right)

with Student's t of F-1 degrees of freedom. Differences that are all equal show no spread, but no
metric shows less than one row's part :math:`h` of it: there :math:`s = h / 2`, the most that steps
of h can hide. ``docs/statistics.md`` has the simulations behind it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from shrinkage.choose.choices import RULES, Choice, choice_by, index_kept
from shrinkage.choose.held_out import (
    apart,
    curve,
    fold_rows,
    folds_in_words,
    looks,
    loss_sign,
    mean_and_error,
    measure,
    need_folds,
    solved,
    trained_rows,
)
from shrinkage.errors import ShrinkageError, counted
from shrinkage.metrics import Metric
from shrinkage.result.chosen import check_choice
from shrinkage.result.path_result import PathResult
from shrinkage.result.points import alike, knobs_at, knobs_text

CONFIDENCE = 0.95
ROUNDING = 2.0**-22
"""Float32 numbers closer than this part of their size may be the same."""


@dataclass(frozen=True)
class Verdict:
    """Whether the penalty helped, and how sure that is.

    Args:
        answer: ``"helped"``, ``"did not help"`` or ``"cannot tell"``.
        difference: Metric at the strengths chosen on the other folds minus metric at strength 0.
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


def verdict(result: PathResult, choice: Choice | None = None, metric: Metric = "loss") -> Verdict:
    r"""Say whether the penalty helped: whether it lowers the expected held-out loss.

    "Helped" means that the whole interval is on the good side of 0, "did not help" that it is on
    the bad side, or that there is no difference at all because strength 0 itself was chosen.
    Where strengths do not matter or do harm, "helped" was said in at most 5% of simulated paths,
    mostly far less. The price is power: 5 folds see large effects only, 10 see more.

    Args:
        result: The path.
        choice: The strength to judge; `minimum` if left out. One made by a rule of this package
            is made again without each fold; any other is judged as it is, as if it had been fixed
            before the data were seen.
        metric: ``"loss"``, or a metric of which more is better, as in `PathResult.metric`.

    Raises:
        ShrinkageError: There is one fold only, every strength diverged, or the choice is not of
            this path.

    References:
        Nadeau & Bengio (2003), Inference for the Generalization Error, Machine Learning 52,
        239-281. Varma & Simon (2006), Bias in error estimation when using cross-validation for
        model selection, BMC Bioinformatics 7, 91.
    """
    from scipy.special import stdtrit

    need_folds(result, "a verdict")
    choice = choice_by("minimum", result, metric) if choice is None else choice
    if not isinstance(choice, Choice):
        raise ShrinkageError(
            f"choice={choice!r:.80} is not a choice; make one, such as minimum(result)."
        )
    check_choice(result.strengths, choice)
    rows, n_folds = fold_rows(result), result.n_folds
    sign = loss_sign(metric)
    losses = sign * curve(result, metric).per_fold
    compared = losses[[unpenalized(result, choice.index), choice.index]].abs().max()
    if not result.strengths.any():
        differences = torch.full_like(rows, torch.nan)
    elif choice.strength == 0:
        differences = torch.zeros_like(rows)
    else:
        differences = sign * _differences(result, losses, rows, choice)
    mean, error = mean_and_error(differences, rows)
    if differences.any() and _equal(differences, compared):
        error = _of_one_row(result, compared)
    ratio = (rows / trained_rows(result)).mean().item()
    difference = mean.item()
    standard_error = error.item() * math.sqrt(1 + n_folds * ratio)
    reach = float(stdtrit(n_folds - 1, (1 + CONFIDENCE) / 2)) * standard_error
    interval = (difference - reach, difference + reach)
    low, high = sorted(sign * bound for bound in interval)
    answer = "cannot tell"
    if high < 0:
        answer = "helped"
    elif low >= 0:
        answer = "did not help"
    sentence = _sentence(result, choice, metric, answer, difference, interval)
    return Verdict(answer, difference, standard_error, interval, CONFIDENCE, sentence)


def _differences(result: PathResult, losses: Tensor, rows: Tensor, choice: Choice) -> Tensor:
    """Loss at the chosen strength minus loss at strength 0 and the same knobs, in every fold.

    Shape:
        losses: (K, F), less is better. rows, returned: (F,).
    """
    lost = losses.isnan().any(1)
    if lost[choice.index] or lost[unpenalized(result, choice.index)]:
        return torch.full_like(rows, torch.nan)
    losses = losses.masked_fill(lost.unsqueeze(1), torch.nan)
    found = torch.zeros_like(rows)
    for fold, others in enumerate(apart(result)):
        index = choice.index
        if choice.rule in RULES:
            if not others.any():
                return torch.full_like(rows, torch.nan)
            seen = looks(result, others)
            index = index_kept(choice.rule, losses[:, others], rows[others], seen, result)
        found[fold] = losses[index, fold] - losses[unpenalized(result, index), fold]
    return found


def _equal(differences: Tensor, size: Tensor) -> bool:
    """Return whether the differences are all the same, to the rounding of losses of this size."""
    return bool(differences.max() - differences.min() <= ROUNDING * size)


def _of_one_row(result: PathResult, size: Tensor) -> Tensor:
    """Return the standard error of the mean over the folds if each errs by half a row's part."""
    rows = torch.bincount(result.folds, minlength=result.n_folds)
    steps = size / rows.double()
    return (steps.square().mean() / result.n_folds).sqrt() / 2


def unpenalized(result: PathResult, index: int) -> int:
    """Return the point of strength 0 with the same knobs."""
    same = alike(result.knobs, index, len(result.strengths))
    return int((same & (result.strengths == 0)).nonzero())


def _sentence(
    result: PathResult,
    choice: Choice,
    metric: Metric,
    answer: str,
    difference: float,
    interval: tuple[float, float],
) -> str:
    n_seeds = len(result.seeds)
    knobs = knobs_text(knobs_at(result.knobs, choice.index))
    counts = f"{folds_in_words(result)} x {counted(n_seeds, 'seed')}"
    if not result.strengths.any():
        return f"Cannot tell: no strength above 0 was tried ({counts})."
    if math.isnan(difference) and choice.rule in RULES and not apart(result).any(1).all():
        return (
            "Cannot tell: a fold holds out rows of every other fold, so none is left to choose a "
            f"strength without them; give folds that do not overlap ({counts})."
        )
    if math.isnan(difference):
        where = sorted({unpenalized(result, choice.index), choice.index})
        lost = int((result.diverged[where] >= 0).sum())
        if solved(result):
            return (
                "Cannot tell: there is no unpenalized model to compare with: without a penalty, "
                f"the loss of {lost} of {result.n_folds} folds has no minimum, because the model "
                f"separates the classes of their training rows ({counts})."
            )
        return (
            f"Cannot tell: {lost} of the trainings at strength 0 and {choice.strength:.1e} "
            f"diverged, so there is no difference to judge ({counts})."
        )
    if choice.strength == 0:
        points = "points" if result.knobs else "strengths"
        beside = f"{knobs} and " * bool(knobs)
        return (
            f"Did not help: of {len(result.strengths)} {points} the rule {choice.rule} keeps "
            f"{beside}strength 0, no penalty at all ({counts})."
        )
    width = interval[1] - interval[0]
    digits = max(0, 1 - math.floor(math.log10(width))) if width > 0 else 6
    anew = " (chosen anew without each fold)" if choice.rule in RULES else ""
    at = ", ".join(filter(None, [f"strength {choice.strength:.1e}", knobs]))
    says = f"at {at}{anew} the {measure(metric)} is"
    if width == difference == 0:
        return f"Did not help: {says} the same as without a penalty ({counts})."
    level = f"{CONFIDENCE:.0%} interval"
    if answer == "cannot tell":
        than = f"{_side(difference, digits)} than" if difference else "the same as"
        low, high = (_side(bound, digits) for bound in interval)
        return (
            f"Cannot tell: {says} {than} without a penalty, but the {level} runs from {low} to "
            f"{high} ({counts})."
        )
    near, far = (_size(bound, digits) for bound in sorted(interval, key=abs))
    return (
        f"{answer.capitalize()}: {says} {_side(difference, digits)} than without a penalty "
        f"({level} {near} to {far}; {counts})."
    )


def _side(difference: float, digits: int) -> str:
    return f"{_size(difference, digits)} {'lower' if difference < 0 else 'higher'}"


def _size(difference: float, digits: int) -> str:
    """Return the absolute value with so many decimals, or one digit if that would show 0."""
    text = f"{abs(difference):.{digits}f}"
    return text if float(text) or not difference else f"{abs(difference):.1g}"
