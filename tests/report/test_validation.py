"""The metrics and the combinations of knobs that the page lets its reader choose."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from _results import make_crossed, make_result

from shrinkage import minimum, verdict
from shrinkage.choose import curve
from shrinkage.choose.overview import overview
from shrinkage.report.findings import find
from shrinkage.report.page import render
from shrinkage.report.slices import MOST_SLICES, slices
from shrinkage.report.validation import judged_metrics, validation
from shrinkage.result.path_result import PathResult


def judged(result: PathResult) -> dict[str, Any]:
    return {one.name: one for one in judged_metrics(result, find(overview(result)).choices)}


def test_metrics_of_classes() -> None:
    for classes in (2, 3):
        result = make_result(classes=classes)
        found = judged(result)
        assert [*found] == ["loss", "accuracy", "balanced accuracy", "area under ROC"]
        wanted = curve(result, "accuracy")
        torch.testing.assert_close(found["accuracy"].values.mean, 100 * wanted.mean)
        torch.testing.assert_close(
            found["accuracy"].values.standard_error, 100 * wanted.standard_error
        )
        assert found["accuracy"].choices["minimum"] == minimum(result, "accuracy")
        area = curve(result, "roc_auc" if classes == 2 else "roc_auc_ovr").mean
        torch.testing.assert_close(found["area under ROC"].values.mean, area)
        assert [one.sign for one in found.values()] == [1, -1, -1, -1]


def test_metrics_of_numbers() -> None:
    result = make_result(task="regression")
    found = judged(result)
    assert [*found] == ["loss", "R²", "mean absolute error"]
    error = found["mean absolute error"]
    assert error.sign == 1
    assert error.values.mean.min() > 0
    best = error.choices["minimum"].index
    assert error.values.mean[best] == error.values.mean.min()
    logits = replace(result, about={"plan": {"loss": "BCEWithLogitsLoss"}})
    assert [*judged(logits)] == ["loss"]


def test_a_metric_that_cannot_be_computed_is_not_offered() -> None:
    result = make_result(classes=3)
    targets = result.targets.clone()
    targets[(result.folds == 1) & (targets == 2)] = 0
    assert "area under ROC" not in judged(replace(result, targets=targets))


def test_one_fold_and_lost_strengths_have_no_one_standard_error() -> None:
    assert [*judged(make_result(F=1))["accuracy"].choices] == ["minimum"]
    everything = [(k, f, 0) for k in range(3) for f in range(2)]
    lost = make_result(3, 2, 1, diverged=everything)
    assert judged(lost)["accuracy"].choices == {}


def test_slices_come_best_first_and_only_the_first_is_judged_among_all() -> None:
    result = make_crossed({0.0: 0.0, 0.3: 0.0, 0.6: 0.05})
    losses = result.valid_loss.clone()
    losses[:6] = losses[:1]  # at dropout 0 no strength matters
    losses[6:12, 0] += 0.06  # without another fold, dropout 0.3 is no longer the best
    losses[6:12] += losses[0].mean() - losses[6:12].mean((1, 2, 3)).min() - 0.002
    result = replace(result, valid_loss=losses)
    assert verdict(result) != verdict(result.slice(dropout=0.3))
    found = slices(result)
    assert [one.name for one in found] == ["dropout 0.3", "dropout 0", "dropout 0.6"]
    assert found[0].findings.verdict == verdict(result)
    own = result.slice(dropout=0.6)
    assert found[2].findings.verdict == verdict(own)
    (alone,) = slices(own)
    assert (alone.name, alone.seen.path) == ("", own)


def test_knobs_without_a_strength_are_no_verdict_on_a_penalty() -> None:
    first, second = slices(make_crossed({0.0: 0.0, 0.5: 0.1}, K=1))
    assert first.findings.headline == "The best of the other knobs"
    assert second.findings.headline == "Other knobs alone"
    assert f"is {first.seen.path.valid_loss[0, ..., -1].mean():.4g}." in first.findings.sentence
    assert first.findings.steps == []


def test_very_many_combinations_are_cut_and_it_says_so() -> None:
    rates = {place / 40: place / 1000 for place in range(MOST_SLICES + 3)}
    page = render(make_crossed(rates, K=3, F=2, S=1))
    assert page.count("<option") == MOST_SLICES + 4
    assert f"The page shows the best {MOST_SLICES}." in page


@pytest.mark.parametrize("metric", [1, 2, 3])
def test_the_frame_holds_strength_0_and_the_choices(metric: int) -> None:
    result = make_result(12, rows=300)
    one = judged_metrics(result, find(overview(result)).choices)[metric]
    shown = validation(result, [*range(12)], [one])["metrics"][0]
    low, high = shown["frame"]
    for place in (0, *(mark["place"] for mark in shown["marks"])):
        assert low <= shown["valid"][place] <= high
    assert shown["more"]
    assert shown["train"] is None
