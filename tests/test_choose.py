"""Choices and verdicts against hand-computed numbers and a plain re-implementation."""

from __future__ import annotations

import math
import random
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch
from _results import make_crossed, make_result, with_losses
from scipy import stats

from shrinkage.choose import (
    Choice,
    curve,
    minimum,
    one_standard_error,
    paired_one_standard_error,
    verdict,
)
from shrinkage.errors import ShrinkageError, ShrinkageWarning

RULES = (minimum, one_standard_error, paired_one_standard_error)


def test_curve_by_hand_with_unequal_folds() -> None:
    result = with_losses(torch.tensor([[1.0, 2.0, 4.0], [3.0, 3.0, 3.0]]), [10, 20, 10])
    values = curve(result)
    # mean (10*1 + 20*2 + 10*4) / 40 = 2.25; spread (10*1.5625 + 20*0.0625 + 10*3.0625) / 40
    assert values.mean.tolist() == pytest.approx([2.25, 3.0], abs=1e-12)
    assert values.standard_error.tolist() == pytest.approx([math.sqrt(1.1875 / 2), 0.0], abs=1e-12)
    assert values.per_fold.shape == (2, 3)


def test_equal_folds_give_the_textbook_standard_error() -> None:
    losses = [0.3, 0.1, 0.7, 0.2]
    values = curve(with_losses(torch.tensor([losses, losses], dtype=torch.float64)))
    assert values.standard_error[0].item() == pytest.approx(stats.sem(losses), rel=1e-12)


def test_seeds_are_averaged_inside_a_fold() -> None:
    result = make_result(4, 3, 5, 2)
    per_fold = curve(result).per_fold
    torch.testing.assert_close(per_fold, result.valid_loss[..., -1].double().mean(-1))


def brute_force(losses: list[list[float]], rows: list[int]) -> tuple[int, int, int]:
    """The three rules, one strength at a time, in plain Python."""

    def mean_and_error(values: list[float]) -> tuple[float, float]:
        mean = sum(w * v for w, v in zip(rows, values, strict=True)) / sum(rows)
        spread = sum(w * (v - mean) ** 2 for w, v in zip(rows, values, strict=True)) / sum(rows)
        return mean, math.sqrt(spread / (len(rows) - 1))

    means, errors = zip(*(mean_and_error(values) for values in losses), strict=True)
    best = max(k for k in range(len(losses)) if means[k] == min(means))
    wide = max(k for k in range(len(losses)) if means[k] <= means[best] + errors[best])
    paired = []
    for k, values in enumerate(losses):
        difference = [a - b for a, b in zip(values, losses[best], strict=True)]
        mean, error = mean_and_error(difference)
        if mean <= error:
            paired.append(k)
    return best, wide, max(paired)


def test_rules_equal_brute_force() -> None:
    generator = random.Random(0)
    seen = set()
    for _ in range(200):
        K, F = generator.randint(2, 7), generator.randint(2, 5)
        rows = [generator.randint(5, 30) for _ in range(F)]
        shared = [generator.gauss(0, 0.5) for _ in range(F)]
        losses = [[2 + e + generator.gauss(0, 0.2) for e in shared] for _ in range(K)]
        result = with_losses(torch.tensor(losses, dtype=torch.float64), rows)
        chosen = tuple(rule(result).index for rule in RULES)
        assert chosen == brute_force(losses, rows)
        seen.add((chosen[0] < chosen[1], chosen[2] < chosen[1]))
    assert seen >= {(True, True), (False, False)}


def test_a_tie_goes_to_the_largest_strength() -> None:
    result = with_losses(torch.tensor([[2.0, 2.0], [1.0, 1.0], [1.0, 1.0], [3.0, 3.0]]))
    assert [rule(result).index for rule in RULES] == [2, 2, 2]


@pytest.mark.parametrize(
    ("third", "kept"), [([3.0, 4.0], (1, 2, 2)), ([0.5, 4.5], (1, 2, 1)), ([2.0, 6.5], (1, 1, 1))]
)
def test_of_tied_strengths_every_rule_refers_to_the_largest(
    third: list[float], kept: tuple[int, int, int]
) -> None:
    """As cv.glmnet: with means 2, 2, ... its lambda.min is 1 and the bound 2 + se(1) = 4."""
    result = with_losses(torch.tensor([[2.0, 2.0], [0.0, 4.0], third, [9.0, 9.0]]))
    assert tuple(rule(result).index for rule in RULES) == kept


def test_tied_error_counts_equal_brute_force() -> None:
    generator = random.Random(1)
    for _ in range(100):
        counts = [[float(generator.randint(0, 3)) for _ in range(4)] for _ in range(5)]
        result = with_losses(torch.tensor(counts))
        assert tuple(rule(result).index for rule in RULES) == brute_force(counts, [10] * 4)


def test_the_bound_of_one_standard_error_is_included() -> None:
    # Strength 0: mean 1, standard error exactly 1. Strength 1: mean exactly 2.
    result = with_losses(torch.tensor([[0.0, 2.0], [2.0, 2.0], [2.5, 2.5]]))
    assert one_standard_error(result).index == 1


def test_more_accuracy_is_better() -> None:
    result = make_result(6, 3, 2)
    accuracy = curve(result, "accuracy").mean
    assert accuracy[minimum(result, "accuracy").index] == accuracy.max()
    assert accuracy.min() < accuracy.max()


@pytest.mark.parametrize(
    ("losses", "edge"),
    [
        ([3.0, 1.0, 2.0, 4.0], True),
        ([4.0, 3.0, 2.0, 1.0], True),
        ([4.0, 2.0, 1.0, 3.0], False),
        ([1.0, 2.0, 3.0, 4.0], False),
    ],
)
def test_the_smallest_and_the_largest_strength_are_edges(losses: list[float], edge: bool) -> None:
    result = with_losses(torch.tensor(losses).unsqueeze(1).expand(4, 3))
    assert minimum(result).at_edge is edge


@pytest.mark.parametrize("rule", RULES)
def test_a_choice_at_an_edge_warns(rule: Any) -> None:
    falling = torch.tensor([4.0, 3.0, 2.0, 1.0]).unsqueeze(1).expand(4, 3)
    with pytest.warns(
        ShrinkageWarning, match=rf"edge of the grid: {rule.__name__} keeps 1, "
    ) as said:
        rule(with_losses(falling))
    assert said[0].filename == __file__
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rule(with_losses(falling[[0, 2, 3, 1]]))
        verdict(with_losses(falling))


def test_the_largest_strength_is_no_edge_where_nothing_is_left_to_shrink() -> None:
    result = with_losses(torch.tensor([4.0, 3.0, 2.0, 1.0]).unsqueeze(1).expand(4, 3))
    sparsity = result.sparsity.clone()
    sparsity[-1] = 1
    assert not minimum(replace(result, sparsity=sparsity)).at_edge
    sparsity[-1, 0] = 0.9
    assert minimum(replace(result, sparsity=sparsity)).at_edge


def test_a_diverged_member_makes_its_strength_nan_and_nan_never_wins() -> None:
    whole = make_result(6, 3, 2)
    best = minimum(whole).index
    result = make_result(6, 3, 2, diverged=[(best, 1, 0)])
    assert curve(result).mean.isnan().nonzero().flatten().tolist() == [best]
    assert curve(result, "accuracy").mean.isnan().nonzero().flatten().tolist() == [best]
    assert all(rule(result).index != best for rule in RULES)


def test_a_diverged_mark_counts_even_if_the_loss_looks_finite() -> None:
    result = make_result(6, 3, 2)
    result.diverged[minimum(result).index, 0, 0] = 3
    assert not curve(result).mean[minimum(result).index].isnan()
    assert curve(result).mean.isnan().sum() == 1


@pytest.mark.parametrize("rule", [*RULES, verdict])
def test_all_diverged_is_refused(rule: object) -> None:
    result = make_result(3, 2, 1, diverged=[(k, 0, 0) for k in range(3)])
    with pytest.raises(ShrinkageError, match="at every strength from 0 to 1"):
        rule(result)  # type: ignore[operator]


@pytest.mark.parametrize("rule", [one_standard_error, paired_one_standard_error, verdict])
def test_one_fold_has_no_variance(rule: object) -> None:
    result = make_result(4, 1, 3)
    assert minimum(result).rule == "minimum"
    with pytest.raises(ShrinkageError, match="Use at least 2"):
        rule(result)  # type: ignore[operator]


def test_verdict_by_hand() -> None:
    losses = torch.tensor([[1.0, 1.2, 0.9], [0.8, 1.1, 0.75]], dtype=torch.float64)
    answer = verdict(with_losses(losses))
    differences = [-0.2, -0.1, -0.15]
    error = math.sqrt(0.05**2 * (1 / 3 + 10 / 20))
    assert answer.difference == pytest.approx(sum(differences) / 3, rel=1e-12)
    assert answer.standard_error == pytest.approx(error, rel=1e-9)
    expected = stats.t.interval(0.95, 2, loc=-0.15, scale=error)
    assert answer.interval == pytest.approx(expected, rel=1e-9)
    assert answer.answer == "cannot tell"
    assert answer.sentence == (
        "Cannot tell: at strength 1.0e-06 (chosen anew without each fold) the cross-validated loss "
        "is 0.15 lower than without a penalty, but the 95% interval runs from 0.35 lower to 0.05 "
        "higher (3 folds x 1 seed)."
    )


def test_verdict_helped_says_so_with_the_numbers() -> None:
    losses = torch.tensor([[0.100, 0.101, 0.102, 0.103], [0.0950, 0.0957, 0.0972, 0.0979]])
    answer = verdict(with_losses(losses.double()))
    assert answer.answer == "helped"
    assert answer.interval[1] < 0
    assert answer.sentence == (
        "Helped: at strength 1.0e-06 (chosen anew without each fold) the cross-validated loss is "
        "0.0050 lower than without a penalty (95% interval 0.0045 to 0.0056; 4 folds x 1 seed)."
    )


def test_the_sentence_names_the_knobs_and_a_path_of_strength_0_has_no_verdict() -> None:
    crossed = make_crossed({0.0: 0.05, 0.5: 0.0})
    choice = minimum(crossed)
    said = verdict(crossed).sentence
    assert said.startswith(f"Helped: at strength {choice.strength:.1e}, dropout 0.5 (chosen anew")
    none = replace(choice, index=6, strength=0.0)
    assert (
        "keeps dropout 0.5 and strength 0, no penalty at all (5 folds"
        in verdict(crossed, none).sentence
    )
    alone = make_crossed({0.0: 0.05, 0.5: 0.0}, K=1)
    answer = verdict(alone)
    assert answer.sentence == "Cannot tell: no strength above 0 was tried (5 folds x 2 seeds)."
    assert math.isnan(answer.difference)


def test_the_strength_is_chosen_anew_without_each_fold() -> None:
    # By fold, the strength that is best on the other two: 2, 1, 1; on all three: 1.
    losses = torch.tensor(
        [[1.0, 1.0, 1.0], [0.5, 0.8, 0.7], [0.9, 0.7, 0.7], [2.0, 2.0, 2.0]], dtype=torch.float64
    )
    result = with_losses(losses)
    assert minimum(result).index == 1
    answer = verdict(result)
    differences = [0.9 - 1, 0.8 - 1, 0.7 - 1]
    error = stats.tstd(differences) * math.sqrt(1 / 3 + 10 / 20)
    assert answer.difference == pytest.approx(sum(differences) / 3, rel=1e-12)
    assert answer.standard_error == pytest.approx(error, rel=1e-9)
    fixed = verdict(result, Choice("by hand", 1, result.strengths[1].item(), False))
    assert fixed.difference == pytest.approx(-1 / 3, rel=1e-12)
    assert "anew" in answer.sentence
    assert "anew" not in fixed.sentence


@pytest.mark.parametrize("rule", RULES)
def test_a_verdict_makes_the_choice_again_by_its_own_rule(rule: Any) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(20):
        shared = torch.randn(1, 4, generator=generator)
        losses = 3 + shared + 0.3 * torch.randn(6, 4, generator=generator)
        rows = torch.randint(5, 30, (4,), generator=generator).tolist()
        result = with_losses(losses, rows)
        choice = rule(result)
        if choice.index == 0:
            continue
        place = RULES.index(rule)
        differences = []
        for f in range(4):
            others = [g for g in range(4) if g != f]
            seen = [[row[g] for g in others] for row in losses.double().tolist()]
            index = brute_force(seen, [rows[g] for g in others])[place]
            differences.append(float(losses[index, f] - losses[0, f]))
        expected = sum(w * d for w, d in zip(rows, differences, strict=True)) / sum(rows)
        assert verdict(result, choice).difference == pytest.approx(expected, abs=1e-6)


def test_two_folds_choose_on_one() -> None:
    result = with_losses(torch.tensor([[1.0, 1.0], [0.5, 0.9], [0.9, 0.95]]))
    for rule in RULES:
        assert verdict(result, rule(result)).answer == "cannot tell"


def test_a_strength_lost_in_one_fold_is_chosen_for_none() -> None:
    losses = torch.tensor([[1.0, 1.0, 1.0], [0.1, 0.1, torch.nan], [0.8, 0.9, 0.8]])
    answer = verdict(with_losses(losses))
    assert answer.difference == pytest.approx(-1 / 6, rel=1e-6)


def test_every_fold_is_compared_with_strength_zero_at_its_own_knobs() -> None:
    losses = torch.tensor([[4.0, 3.0], [3.5, 2.9], [2.6, 3.0], [2.5, 1.0]], dtype=torch.float64)
    knobs = {"dropout": torch.tensor([0, 0, 0.5, 0.5], dtype=torch.float64)}
    grid = torch.tensor([0, 0.1, 0, 0.1], dtype=torch.float64)
    result = replace(with_losses(losses), strengths=grid, knobs=knobs)
    assert minimum(result).knobs == {"dropout": 0.5}
    # Both folds choose the last point; its strength 0 is the third.
    assert verdict(result).difference == pytest.approx(((2.5 - 2.6) + (1.0 - 3.0)) / 2, rel=1e-9)


@pytest.mark.parametrize(
    ("folds", "rows", "wrong", "answer"),
    [
        (2, 10, (5, 3), "cannot tell"),
        (2, 10, (9, 1), "helped"),
        (3, 10, (6, 5), "cannot tell"),
        (5, 10, (6, 2), "helped"),
        (2, 10, (3, 5), "cannot tell"),
        (5, 10, (2, 6), "did not help"),
    ],
)
def test_equal_differences_are_as_uncertain_as_one_row(
    folds: int, rows: int, wrong: tuple[int, int], answer: str
) -> None:
    """Error rates in steps of one row: h = 1/10 of the larger one, and s = h / 2."""
    rates = torch.tensor(wrong, dtype=torch.float64) / rows
    result = with_losses(rates.unsqueeze(1).expand(2, folds), [rows] * folds)
    said = verdict(result, Choice("by hand", 1, result.strengths[1].item(), False))
    error = max(rates) / rows * math.sqrt(1 / folds + 1 / (folds - 1)) / 2
    assert said.standard_error == pytest.approx(float(error), rel=1e-9)
    assert said.answer == answer
    assert said.interval[0] < said.difference < said.interval[1]


def test_verdict_on_a_harmful_strength() -> None:
    result = make_result(8, 5, 2)
    top = Choice("by hand", 7, result.strengths[7].item(), True)
    answer = verdict(result, top)
    assert answer.answer == "did not help"
    assert answer.interval[0] > 0
    assert "higher than without a penalty (95% interval" in answer.sentence


def test_verdict_for_strength_zero() -> None:
    answer = verdict(with_losses(torch.tensor([[1.0, 2.0], [2.0, 3.0]])))
    assert (answer.answer, answer.difference, answer.interval) == ("did not help", 0.0, (0.0, 0.0))
    assert "keeps strength 0, no penalty at all" in answer.sentence


def test_verdict_when_nothing_changes() -> None:
    answer = verdict(with_losses(torch.ones(3, 4)))
    assert answer.answer == "did not help"
    assert "the same as without a penalty" in answer.sentence


@pytest.mark.parametrize(
    ("gains", "words"),
    [
        ([-1.0, 0.0, 1.006], "the cross-validated loss is 0.002 higher than without"),
        ([-1.0, 0.0, 1.0 - 3e-9], "the cross-validated loss is 1e-09 lower than without"),
        ([-1.0, 0.0, 1.0], "the cross-validated loss is the same as without a penalty, but the"),
        ([-1.0, 0.0, 1.6], "the cross-validated loss is 0.2 higher than without"),
    ],
)
def test_the_sentence_shows_a_difference_however_small(gains: list[float], words: str) -> None:
    table = torch.stack([torch.full((3,), 8.0), 8 + torch.tensor(gains, dtype=torch.float64)])
    result = with_losses(table)
    answer = verdict(result, Choice("by hand", 1, result.strengths[1].item(), True))
    assert answer.answer == "cannot tell"
    assert words in answer.sentence


def test_verdict_when_training_without_a_penalty_diverged() -> None:
    answer = verdict(make_result(6, 3, 2, diverged=[(0, 0, 0), (0, 2, 1)]))
    assert answer.answer == "cannot tell"
    assert math.isnan(answer.difference)
    assert "2 of the trainings at strength 0" in answer.sentence


def test_verdict_in_accuracy_turns_the_sign() -> None:
    result = make_result(3, 3, 1, rows=60)
    predictions = torch.nn.functional.one_hot(result.targets, 3).float()
    predictions = predictions.expand(3, 1, 60, 3).clone()
    predictions[0, 0, ::2] = predictions[0, 0, ::2].roll(1, -1)
    better = make_result(3, 3, 1, rows=60, predictions=predictions)
    assert verdict(better, metric="accuracy").answer == "helped"
    assert verdict(better, metric="accuracy").difference == pytest.approx(0.5)


@pytest.mark.parametrize("choice", [0.1, "minimum", 0])
def test_what_is_no_choice_is_refused(choice: Any) -> None:
    with pytest.raises(ShrinkageError, match="is not a choice; make one"):
        verdict(make_result(), choice)


def test_a_choice_of_another_path_is_refused() -> None:
    with pytest.raises(ShrinkageError, match="not from this path"):
        verdict(make_result(4, 3, 1), Choice("minimum", 2, 0.123, False))


def test_noise_alone_is_rarely_called_a_help() -> None:
    torch.manual_seed(0)
    result = with_losses(torch.zeros(2, 5))
    fixed = Choice("by hand", 1, result.strengths[1].item(), True)
    helped = 0
    for _ in range(300):
        losses = torch.randn(2, 5, dtype=torch.float64).view(2, 5, 1, 1)
        result.valid_loss.copy_(losses)
        helped += verdict(result, fixed).answer == "helped"
    assert helped <= 0.05 * 300


def test_the_smallest_strength_is_no_edge_where_strength_zero_is_as_good() -> None:
    noise = torch.tensor([0.0, 1.0, 2.0, 1.0], dtype=torch.float64)  # standard error 0.41
    for gap, edge in [(0.03, False), (0.05, True)]:
        losses = torch.tensor([2 + gap, 2.0, 2.5, 3.0], dtype=torch.float64).unsqueeze(1) + noise
        choice = minimum(with_losses(losses))
        assert (choice.index, choice.at_edge) == (1, edge)
    one_fold = minimum(make_result(2, 1, 1))
    assert one_fold.at_edge == (one_fold.index == 1)
