"""Folds that train on a part of the other rows or hold rows out again, against scikit-learn."""

from __future__ import annotations

import functools
import math
import statistics
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from scipy.stats import t as student
from sklearn.linear_model import Ridge
from sklearn.model_selection import PredefinedSplit, RepeatedKFold, ShuffleSplit, TimeSeriesSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

from shrinkage.choose import (
    Choice,
    curve,
    minimum,
    one_standard_error,
    paired_one_standard_error,
    verdict,
)
from shrinkage.choose.overview import overview
from shrinkage.engine import fit_path
from shrinkage.errors import ShrinkageWarning
from shrinkage.penalties import L2
from shrinkage.plots import plot_path
from shrinkage.report.findings import find
from shrinkage.result.path_result import PathResult

N, P, STRENGTH = 60, 3, 0.3
RANDOM = torch.Generator().manual_seed(3)
X = torch.randn(N, P, generator=RANDOM, dtype=torch.float64) * torch.tensor([1.0, 5.0, 0.3]) + 2
Y = X[:, 0] - 3 * X[:, 2] + torch.randn(N, generator=RANDOM, dtype=torch.float64)
WEIGHTS = torch.rand(N, generator=RANDOM, dtype=torch.float64) + 0.5
SPLITTERS = [
    TimeSeriesSplit(4),
    TimeSeriesSplit(3, gap=3, max_train_size=17),
    PredefinedSplit([-1, 0, 2, -1, 1, 1] * 10),
    RepeatedKFold(n_splits=3, n_repeats=2, random_state=0),
    ShuffleSplit(4, test_size=0.3, random_state=0),
]


def solved(folds: Any, **changes: Any) -> PathResult:
    settings: dict[str, Any] = {
        "strengths": [STRENGTH],
        "seeds": 1,
        "epochs": 400,
        "batch_size": N,
        "optimizer": functools.partial(torch.optim.SGD, lr=0.2),
        "preprocess": StandardScaler(),
        "compile": False,
        **changes,
    }
    return fit_path(nn.Linear(P, 1).double(), X, Y, L2(1.0), folds=folds, **settings)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("folds", SPLITTERS, ids=["time", "gap", "given", "again", "random"])
def test_every_fold_is_a_ridge_of_its_own_rows(folds: Any, weighted: bool) -> None:
    weights = WEIGHTS if weighted else torch.ones(N, dtype=torch.float64)
    result = solved(folds, sample_weight=weights if weighted else None)
    assert result.rows_held is not None
    assert result.trained_on is not None
    held_rows: list[int] = []
    for fold, (trained, held) in enumerate(folds.split(X.numpy())):
        held.sort()
        held_rows += held.tolist()
        w = weights[trained].numpy()
        ridge = make_pipeline(StandardScaler(), Ridge(STRENGTH * w.sum(), tol=1e-12))
        ridge.fit(X[trained].numpy(), Y[trained].numpy(), ridge__sample_weight=w)
        expected = torch.from_numpy(ridge.predict(X[held].numpy()))
        own = result.folds == fold
        assert result.rows_held[own].tolist() == held.tolist()
        found = result.predictions[1, 0, own, 0].double()
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
        losses = (expected - Y[held]).square() * weights[held] / weights[held].sum()
        assert float(result.valid_loss[1, fold, 0, -1]) == pytest.approx(float(losses.sum()), 1e-4)
        assert float(result.trained_on[fold]) == pytest.approx(w.sum())
        assert float(result.fit_loss[1, fold, 0]) == pytest.approx(
            float(((torch.from_numpy(ridge.predict(X[trained].numpy())) - Y[trained]).square()
                   * weights[trained]).sum() / w.sum()), 1e-4,
        )  # fmt: skip
    assert result.rows_held.tolist() == sorted(held_rows)
    assert torch.equal(result.targets, Y[sorted(held_rows)])
    assert result.refit is not None


def test_the_verdict_knows_how_many_rows_were_trained_on() -> None:
    """Nadeau and Bengio's variance by hand, with the rows that each fold trained on."""
    splitter = TimeSeriesSplit(4)
    result = solved(splitter, epochs=3, seeds=2)
    difference = (result.valid_loss[1] - result.valid_loss[0])[..., -1].double().mean(1)
    parts = list(splitter.split(X.numpy()))
    ratio = sum(len(held) / len(trained) for trained, held in parts) / 4
    error = math.sqrt(float(difference.var(correction=1)) * (1 / 4 + ratio))
    given = verdict(result, Choice("by hand", 1, STRENGTH, False))
    assert given.standard_error == pytest.approx(error)
    low, high = given.interval
    assert high - low == pytest.approx(2 * student.ppf(0.975, 3) * error)
    assert ratio > 0.5  # 12 rows held out, 12, 24, 36 and 48 trained on


def test_a_second_look_at_a_row_is_no_second_row() -> None:
    """By hand: three repeats of 4 folds have the error of 4 folds, and the verdict knows all 12."""
    result = solved(RepeatedKFold(n_splits=4, n_repeats=3, random_state=0), strengths=3, epochs=3)
    per_fold = result.valid_loss[..., -1].double().mean(2)
    expected = (per_fold.var(1, correction=1) / 4).sqrt()
    torch.testing.assert_close(curve(result).standard_error, expected)
    best = minimum(result).index
    paired = (per_fold - per_fold[best]).var(1, correction=1).div(4).sqrt()
    within = (per_fold - per_fold[best]).mean(1) <= paired
    assert paired_one_standard_error(result).index == int(within.nonzero().max())
    differences = []
    for fold in range(12):
        own = [f for f in range(12) if f // 4 == fold // 4 and f != fold]
        index = int(per_fold[:, own].mean(1).argmin())
        differences.append(float(per_fold[index, fold] - per_fold[0, fold]))
    assert len(set(differences)) > 3
    judged = verdict(result, replace(minimum(result), index=1, strength=float(result.strengths[1])))
    assert judged.difference == pytest.approx(sum(differences) / 12)
    error = math.sqrt(statistics.variance(differences) * (1 / 12 + 15 / 45))
    assert judged.standard_error == pytest.approx(error)


def test_where_no_fold_is_apart_from_another_no_verdict_can_choose() -> None:
    result = solved(ShuffleSplit(3, test_size=0.6, random_state=0), epochs=3)
    chosen = Choice("minimum", 1, STRENGTH, False)
    judged = verdict(result, chosen)
    assert judged.answer == "cannot tell"
    assert "give folds that do not overlap" in judged.sentence
    fixed = verdict(result, replace(chosen, rule="by hand"))
    assert math.isfinite(fixed.difference)


def test_repeated_folds_are_kept_and_reported(tmp_path: Path) -> None:
    result = solved(RepeatedKFold(n_splits=3, n_repeats=2, random_state=0), epochs=2)
    assert len(result.targets) == len(result.rows_held) == 2 * N
    result.save(tmp_path / "run")
    again = PathResult.load(tmp_path / "run")
    assert torch.equal(again.rows_held, result.rows_held)
    assert verdict(again) == verdict(result)
    assert "(3 folds x 2 repeats x 1 seed)" in verdict(again).sentence
    assert plot_path(again).caption.startswith("Means over 3 folds x 2 repeats and 1 seed;")
    again.report(tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "3 folds × 2 repeats × 1 seed" in page
    steps = [step.code for step in find(overview(again)).steps]
    assert any(code.endswith("--folds 3 --repeats 4") for code in steps)


def test_such_a_path_is_kept_sliced_drawn_and_reported(tmp_path: Path) -> None:
    result = solved(TimeSeriesSplit(3), epochs=2, grid={"lr": [0.1, 0.2]}, seeds=2)
    part = result.slice(lr=0.1)
    assert torch.equal(part.trained_on, torch.tensor([15.0, 30.0, 45.0], dtype=torch.float64))
    part.save(tmp_path / "run")
    again = PathResult.load(tmp_path / "run")
    assert torch.equal(again.rows_held, torch.arange(15, 60))
    assert torch.equal(again.predictions, part.predictions)
    assert verdict(again) == verdict(part)
    again.report(tmp_path / "report.html")
    plot_path(again)
    assert curve(again, "r2").mean.isfinite().all()


def test_one_validation_part_is_one_fold() -> None:
    with pytest.warns(ShrinkageWarning, match=r"^one fold: the path and minimum\(\) work"):
        result = solved(PredefinedSplit([-1] * 40 + [0] * 20), epochs=2)
    assert result.n_folds == 1
    assert minimum(result).index in (0, 1)
    with pytest.raises(Exception, match="has one fold"):
        one_standard_error(result)


def test_ordinary_folds_say_nothing_more() -> None:
    result = solved(4, epochs=2)
    assert result.rows_held is result.trained_on is None
    assert len(result.targets) == N
