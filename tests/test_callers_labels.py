"""What the caller hands over sees his labels: scorers, transformers, splitters and reports."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, fbeta_score, hamming_loss, make_scorer
from sklearn.model_selection import BaseCrossValidator, KFold, StratifiedKFold, cross_val_score
from torch import nn

from shrinkage import L2, PathClassifier, PathRegressor, PathResult, fit_path
from shrinkage.choose import curve
from shrinkage.errors import ShrinkageError
from shrinkage.metrics import score
from shrinkage.report.outputs import out_of_fold

pytestmark = pytest.mark.filterwarnings("ignore:no minimum")

random = np.random.default_rng(11)
X = random.normal(size=(200, 5))
FRAUD = X @ [1.4, -1, 0.6, 0, 0] - 1.2 + random.logistic(size=200) > 0
WORDS = np.where(FRAUD, "fraud", "ok")
ONE_AND_TWO = np.where(FRAUD, 1, 2)
FOLDS = StratifiedKFold(4, shuffle=True, random_state=3)
EXACT: dict[str, Any] = {
    "model": "linear",
    "penalty": L2(1.0),
    "strengths": [1e-3, 1e-1, 10.0],
    "solver": "exact",
    "folds": FOLDS,
}


def saved(estimator: Any, X: Any, y: Any) -> float:
    """Minus the cost of a row: a missed fraud is eight false alarms."""
    said = estimator.predict(X)
    missed, alarm = (y == "fraud") & (said == "ok"), (y == "ok") & (said == "fraud")
    return -float((8 * missed + alarm).mean())


def scores_of_logistic_regression(metric: Any, y: Any) -> Any:
    """Return scikit-learn's own scores, of its own estimator, at each strength."""
    rows = 3 / 4 * len(y)
    return np.array(
        [
            cross_val_score(
                LogisticRegression(C=1 / (strength * rows), tol=1e-10, max_iter=1000),
                X,
                y,
                cv=FOLDS,
                scoring=metric,
            ).mean()
            for strength in EXACT["strengths"]
        ]
    )


@pytest.mark.parametrize("y", [WORDS, WORDS.astype(object), ONE_AND_TWO], ids=["U", "O", "1, 2"])
@pytest.mark.parametrize(
    "metric",
    [saved, "f1", make_scorer(f1_score, pos_label="fraud"), make_scorer(fbeta_score, beta=2)],
    ids=["function", "name", "scorer of a word", "scorer of the number 1"],
)
def test_a_metric_of_the_labels_is_that_of_cross_val_score(metric: Any, y: Any) -> None:
    words, text = y.dtype.kind != "i", metric is saved or "pos_label" in repr(metric)
    if words != text:
        if metric is not saved:
            with pytest.raises(ShrinkageError, match=r"cannot be computed.*pos_label"):
                PathClassifier(metric=metric, **EXACT).fit(X, y)
        return
    classifier = PathClassifier(metric=metric, **EXACT).fit(X, y)
    seen = curve(classifier.path_, metric).mean.numpy()[1:]
    expected = scores_of_logistic_regression(metric, y)
    assert seen == pytest.approx(expected, abs=1e-6)
    assert expected.argmax() == classifier.choice_.index - 1
    assert np.ptp(expected) > 0.1


def test_a_metric_that_cannot_be_computed_is_refused_before_the_training() -> None:
    def trains(inputs: int, outputs: int) -> nn.Module:
        raise AssertionError("the model is built")

    rest: dict[str, Any] = {**EXACT, "model": trains}
    with pytest.raises(ShrinkageError, match=r"make_scorer\(f1_score, pos_label='ok'\)"):
        PathClassifier(metric="f1", **rest).fit(X, WORDS)
    with pytest.raises(ShrinkageError, match=r"'r2' cannot be computed.*not a metric of classes"):
        PathClassifier(metric="r2", **rest).fit(X, WORDS)
    with pytest.raises(ShrinkageError, match="it is nan there"):
        PathClassifier(metric=lambda estimator, X, y: np.nan, **rest).fit(X, WORDS)
    alone = {**rest, "folds": np.argsort(np.argsort(FRAUD, kind="stable")) // 50}
    with pytest.raises(ShrinkageError, match="'roc_auc' cannot be computed on these 50 rows"):
        PathClassifier(metric="roc_auc", **alone).fit(X, WORDS)
    with pytest.raises(ShrinkageError, match="strictly positive"):
        PathRegressor(metric="neg_mean_gamma_deviance", **{**rest, "folds": 4}).fit(X, X[:, 0])
    one = {**rest, "folds": [(np.arange(100), np.arange(100, 200))], "rule": "one_standard_error"}
    with pytest.raises(ShrinkageError, match=r"needs a variance over folds.*rule='minimum'"):
        PathClassifier(**one).fit(X, WORDS)


@pytest.mark.parametrize("metric", ["neg_mean_squared_log_error", "neg_mean_poisson_deviance"])
def test_a_metric_of_numbers_is_not_refused_for_made_up_ones(metric: str) -> None:
    y = np.exp(X[:, 0]) + 5
    PathRegressor(metric=metric, **{**EXACT, "folds": 4}).fit(X, y)


class Frauds(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Adds a column that counts the word it was fitted with."""

    def fit(self, X: Any, y: Any) -> Frauds:
        self.frauds_ = int((y == "fraud").sum())
        return self

    def transform(self, X: Any) -> Any:
        return X


class AfterFrauds(BaseCrossValidator):  # type: ignore[misc]
    """Two folds, in each of which every other row of a word is held out."""

    def get_n_splits(self, *_: Any) -> int:
        return 2

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Any:
        number = np.where(y == "fraud", np.cumsum(y == "fraud"), np.cumsum(y == "ok")) % 2
        assert {*y} == {"fraud", "ok"}
        for fold in range(2):
            yield np.flatnonzero(number != fold), np.flatnonzero(number == fold)


def test_transformers_and_splitters_see_the_labels() -> None:
    settings = {**EXACT, "preprocess": Frauds(), "folds": AfterFrauds()}
    classifier = PathClassifier(**settings).fit(X, WORDS)
    assert classifier.preprocess_.frauds_ == FRAUD.sum()
    learned = classifier.path_.about["plan"]["preprocess"]["learned"]
    assert learned == {"frauds_": FRAUD.sum()}


def path_of_words(**more: Any) -> PathResult:
    settings = {**{name: EXACT[name] for name in ("strengths", "solver")}, "folds": FOLDS, **more}
    return fit_path(nn.Linear(5, 2).double(), X, (~FRAUD).astype(int), L2(1.0), **settings)


def test_a_path_that_is_told_the_labels_measures_as_the_estimator(tmp_path: Path) -> None:
    result = path_of_words(classes=["fraud", "ok"], preprocess=Frauds())
    assert result.classes == ["fraud", "ok"]
    assert result.about["plan"]["preprocess"]["learned"] == {"frauds_": FRAUD.sum()}
    expected = curve(PathClassifier(metric=saved, **EXACT).fit(X, WORDS).path_, saved).mean
    assert curve(result, saved).mean.numpy() == pytest.approx(expected.numpy(), abs=1e-6)
    result.save(tmp_path / "run")
    again = PathResult.load(tmp_path / "run")
    assert torch.equal(curve(again, saved).mean, curve(result, saved).mean)
    assert out_of_fold(again, [0])["confusion"]["classes"] == ["fraud", "ok"]


@pytest.mark.parametrize(
    ("classes", "words"),
    [
        (["fraud"], r"has 1 label, but y has classes 0 to 1"),
        (["ok", "ok"], "distinct texts or numbers"),
        ([["a", "b"]], "one label a class"),
        ([None, 1], "one label a class"),
    ],
)
def test_labels_that_name_no_classes_are_refused(classes: Any, words: str) -> None:
    with pytest.raises(ShrinkageError, match=words):
        path_of_words(classes=classes)
    with pytest.raises(ShrinkageError, match="y holds numbers"):
        fit_path(nn.Linear(5, 1), X, X[:, 0], L2(1.0), classes=["a", "b"])


def test_fewer_labels_than_outputs_are_told() -> None:
    outputs, targets = torch.eye(3)[[0, 1, 2, 1]], torch.tensor([0, 1, 1, 1])
    with pytest.raises(ShrinkageError, match="has 3 outputs, but classes= 2 labels"):
        score("f1_macro", outputs, targets, ["a", "b"])
    assert score("f1_macro", outputs[:, :2], targets, ["a", "b", "c"]).isfinite()


def test_a_scorer_of_several_labels_sees_zeros_and_ones() -> None:
    Y = np.stack([FRAUD, X[:, 1] > 0], 1).astype(int)
    metric = make_scorer(hamming_loss, greater_is_better=False)
    settings = {**EXACT, "folds": KFold(4, shuffle=True, random_state=0)}
    path = PathClassifier(metric=metric, **settings).fit(X, Y).path_
    wrong = (path.predictions[:, 0] > 0) != path.targets.bool()
    shares = torch.stack([wrong[:, path.folds == f].double().mean((1, 2)) for f in range(4)], 1)
    assert torch.allclose(curve(path, metric).per_fold[1:], -shares[1:])  # 0 has no minimum


def test_a_function_sees_one_number_a_row_whatever_the_loss() -> None:
    def off(estimator: Any, X: Any, y: Any) -> float:
        return -float(np.abs(estimator.predict(X) - y).mean())

    y, huber = X[:, 0] + X[:, 1], functools.partial(PathRegressor, loss=nn.HuberLoss(), metric=off)
    path = huber(**{**EXACT, "folds": 4}).fit(X, y).path_
    named = curve(path, "neg_mean_absolute_error").mean
    assert torch.allclose(curve(path, off).mean, named)
