"""The estimators: scikit-learn's own checks, and what they must return."""

from __future__ import annotations

import functools
import inspect
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse
import torch
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks
from torch import nn
from torch.utils.data import DataLoader, Dataset

import shrinkage
from shrinkage import L1, L2, PathClassifier, PathRegressor
from shrinkage.errors import ShrinkageError, ShrinkageWarning
from shrinkage.plots import plot_path, plot_weights

QUICK: dict[str, Any] = {
    "strengths": [1e-4, 1e-2],
    "folds": 2,
    "seeds": 1,
    "epochs": 25,
    "batch_size": 256,
    "optimizer": functools.partial(torch.optim.Adam, lr=0.1),
    "compile": False,
}
X, CODES = load_iris(return_X_y=True)
X = (X - X.mean(0)) / X.std(0)
LABELS = load_iris().target_names[CODES]

EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": (
        "a class of one weighted row cannot be in two folds; one of repeated rows can"
    ),
}
CHECKED = {**QUICK, "epochs": 12, "optimizer": functools.partial(torch.optim.Adam, lr=0.2)}


class WideNet:
    """A network in float64: its rounding is far below what the checks tell apart."""

    def __call__(self, inputs: int, outputs: int) -> nn.Module:
        return nn.Sequential(nn.Linear(inputs, 8), nn.ReLU(), nn.Linear(8, outputs)).double()

    def __repr__(self) -> str:
        return "WideNet()"  # it is a part of the names of the tests


@pytest.mark.filterwarnings("ignore::UserWarning")
@parametrize_with_checks(
    [PathClassifier("linear", **CHECKED), PathRegressor(WideNet(), **CHECKED)],
    expected_failed_checks=lambda estimator: (
        EXPECTED if isinstance(estimator, PathClassifier) else {}
    ),
)
def test_scikit_learns_checks(estimator: Any, check: Any) -> None:
    check(estimator)


def test_arguments_are_kept_as_they_are_given() -> None:
    model, penalty = nn.Linear(4, 3), L1(1.0)
    classifier = PathClassifier(model, penalty, **QUICK)
    assert classifier.model is model
    assert classifier.get_params()["penalty"] is penalty
    assert clone(classifier).get_params().keys() == classifier.get_params().keys()
    assert classifier.set_params(rule="one_standard_error").rule == "one_standard_error"


@pytest.mark.parametrize("rule", ["minimum", "one_standard_error", "paired_one_standard_error"])
def test_the_strength_is_the_rules(rule: str) -> None:
    classifier = PathClassifier("linear", rule=rule, **QUICK).fit(X, LABELS)
    choice = getattr(shrinkage, rule)(classifier.path_)
    assert classifier.choice_ == choice
    assert classifier.strength_ == choice.strength
    kept = classifier.path_.refit.weights["weight"][choice.index, 0]
    assert torch.equal(classifier.model_.weight, kept)


@pytest.mark.filterwarnings("ignore:still learning")
def test_predictions_are_the_mean_probability_of_the_seeds() -> None:
    classifier = PathClassifier("mlp:5", **{**QUICK, "seeds": 3, "epochs": 3}).fit(X, LABELS)
    rows = torch.as_tensor(X, dtype=torch.float32)
    assert len(classifier.models_) == 3
    with torch.no_grad():
        each = [model(rows).softmax(1) for model in classifier.models_]
    expected = torch.stack(each).mean(0).numpy()
    assert not np.allclose(each[0], expected, atol=1e-3)
    np.testing.assert_allclose(classifier.predict_proba(X), expected, atol=1e-5)
    np.testing.assert_allclose(np.exp(classifier.decision_function(X)), expected, atol=1e-5)
    assert (classifier.predict(X) == classifier.classes_[expected.argmax(1)]).all()


def test_two_labels_of_text() -> None:
    rows = CODES < 2
    classifier = PathClassifier("linear", **QUICK).fit(X[rows], LABELS[rows])
    assert classifier.classes_.tolist() == ["setosa", "versicolor"]
    assert classifier.score(X[rows], LABELS[rows]) == 1
    odds = classifier.decision_function(X[rows])
    p = classifier.predict_proba(X[rows])
    np.testing.assert_allclose(odds, np.log(p[:, 1] / p[:, 0]), rtol=1e-6)


def test_an_exact_regressor_is_ridge() -> None:
    rows, y = load_diabetes(return_X_y=True, scaled=False)
    regressor = PathRegressor(
        "linear", strengths=[0.1, 1.0], solver="exact", preprocess=StandardScaler()
    ).fit(rows, y)
    scaled = StandardScaler().fit_transform(rows)
    ridge = Ridge(alpha=regressor.strength_ * len(y)).fit(scaled, y)
    np.testing.assert_allclose(regressor.predict(rows), ridge.predict(scaled), rtol=1e-5)


def test_several_targets() -> None:
    Y = np.stack([X[:, 0] + X[:, 1], X[:, 2]], 1)
    regressor = PathRegressor("linear", **{**QUICK, "solver": "exact", "optimizer": None})
    assert regressor.fit(X, Y).predict(X).shape == (150, 2)
    assert regressor.score(X, Y) > 0.99


def test_rows_of_weight_zero_do_not_count() -> None:
    weight = np.where(CODES == 2, 0.0, 1.0)
    whole = PathClassifier("linear", **QUICK).fit(X, LABELS, sample_weight=weight)
    rows = CODES < 2
    own = PathClassifier("linear", **QUICK).fit(X[rows], LABELS[rows])
    assert whole.classes_.tolist() == ["setosa", "versicolor", "virginica"]
    assert len(whole.path_.targets) == rows.sum() == len(own.path_.targets)
    assert set(whole.predict(X[rows])) == {"setosa", "versicolor"}


def test_groups_stay_together() -> None:
    groups = np.arange(150) % 10
    classifier = PathClassifier("linear", **QUICK).fit(X, LABELS, groups=groups)
    folds = classifier.path_.folds.numpy()
    assert all(len(set(folds[groups == group])) == 1 for group in range(10))
    splitter = PathClassifier("linear", **{**QUICK, "folds": GroupKFold(2)})
    assert splitter.fit(X, LABELS, groups=groups).path_.n_folds == 2


def test_random_state_draws_the_seeds() -> None:
    fits = [PathClassifier("linear", random_state=s, **QUICK).fit(X, LABELS) for s in (1, 1, 2)]
    one, again, other = (fit.predict_proba(X) for fit in fits)
    assert (one == again).all()
    assert not np.allclose(one, other, atol=1e-6)


def labels_of_two_kinds() -> np.ndarray:
    return np.stack([X[:, 0] > 0, X[:, 1] + X[:, 2] > 0, X[:, 3] < 0.5], 1).astype(int)


@pytest.mark.filterwarnings("ignore:still learning")
def test_several_labels_a_row() -> None:
    Y = labels_of_two_kinds()
    classifier = PathClassifier("mlp:5", **{**QUICK, "seeds": 2, "epochs": 5}).fit(X, Y)
    rows = torch.as_tensor(X, dtype=torch.float32)
    with torch.no_grad():
        each = [model(rows).sigmoid() for model in classifier.models_]
    expected = torch.stack(each).mean(0).numpy()
    np.testing.assert_allclose(classifier.predict_proba(X), expected, atol=1e-5)
    sigmoid = 1 / (1 + np.exp(-classifier.decision_function(X)))
    np.testing.assert_allclose(sigmoid, expected, atol=1e-5)
    assert (classifier.predict(X) == (expected > 0.5)).all()
    assert classifier.classes_.tolist() == [0, 1, 2]
    assert classifier.score(X, Y) == (classifier.predict(X) == Y).all(1).mean() > 0.5
    assert classifier.path_.about["plan"]["loss"] == "BCEWithLogitsLoss"
    same = PathClassifier("mlp:5", **{**QUICK, "seeds": 2, "epochs": 5}).fit(
        X, scipy.sparse.csr_array(Y)
    )
    assert (same.predict_proba(X) == classifier.predict_proba(X)).all()


def test_several_labels_are_as_many_logistic_regressions() -> None:
    Y = labels_of_two_kinds() ^ (np.random.default_rng(0).random((150, 3)) < 0.3)
    classifier = PathClassifier("linear", strengths=[0.01], solver="exact", folds=5).fit(X, Y)
    assert classifier.strength_ == 0.01
    for column, y in enumerate(Y.T):
        alone = LogisticRegression(C=1 / (2 * 3 * 0.01 * len(y)), tol=1e-8, max_iter=1000).fit(X, y)
        expected = alone.predict_proba(X)[:, 1]
        np.testing.assert_allclose(classifier.predict_proba(X)[:, column], expected, atol=1e-4)


def net_of_images(shape: tuple[int, ...], outputs: int) -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), outputs))


@pytest.mark.parametrize("model", [net_of_images, net_of_images((2, 2), 3), "linear"])
def test_rows_of_several_axes(model: Any) -> None:
    images = X.reshape(-1, 2, 2)
    classifier = PathClassifier(model, **QUICK).fit(images, LABELS)
    flat = PathClassifier("linear", **QUICK).fit(X, LABELS)
    np.testing.assert_allclose(classifier.predict_proba(images), flat.predict_proba(X), atol=0.02)
    with pytest.raises(ShrinkageError, match=r"rows of shape \(2, 1\).*fitted on rows of \(2, 2\)"):
        classifier.predict(images[:, :, :1])


def test_images_and_a_scaler() -> None:
    images = np.random.default_rng(0).normal(size=(40, 8, 8))
    y = images[:, :4].mean((1, 2)) > 0
    settings = {**QUICK, "preprocess": StandardScaler(), "epochs": 2}
    classifier = PathClassifier("cnn:2", **settings).fit(images, y)
    assert isinstance(classifier.model_[0], nn.Unflatten)
    assert classifier.predict_proba(images).shape == (40, 2)


def test_arguments_reach_the_path(tmp_path: Path) -> None:
    grid = {"dropout": [0.0, 0.5], "lr": [0.1, 1e-6]}
    settings = {**QUICK, "grid": grid, "refine": 2, "how": "decoupled"}
    classifier = PathClassifier(
        "mlp:4,dropout=0.1", select="0.weight", checkpoint=tmp_path / "kept", **settings
    ).fit(X, LABELS)
    path = classifier.path_
    assert path.tensor_names == ("0.weight",)
    assert path.about["plan"]["how"] == "decoupled"
    assert set(path.knobs) == {"dropout", "lr"}
    assert len(path.strengths) == 3 * 4 + 2
    assert classifier.choice_.knobs["lr"] == pytest.approx(0.1)
    assert any((tmp_path / "kept").iterdir())
    drawn = PathRegressor("linear", draws=3, **{**QUICK, "grid": {"lr": (1e-3, 1e-1)}})
    assert len(set(drawn.fit(X, X[:, 0]).path_.knobs["lr"].tolist())) == 3
    robust = PathRegressor("linear", loss=nn.HuberLoss(), **QUICK).fit(X, X[:, 0])
    assert robust.path_.about["plan"]["loss"] == "HuberLoss"


def test_arguments_are_named_as_those_of_the_path() -> None:
    path, own = (inspect.signature(f).parameters for f in (shrinkage.fit_path, PathClassifier))
    assert own.keys() - path.keys() == {"rule", "metric", "random_state"}


def jittered(X: np.ndarray, y: np.ndarray) -> Any:
    """Return rows with noise drawn anew, and their targets."""

    class Jittered(Dataset[Any]):
        def __len__(self) -> int:
            return len(X)

        def __getitem__(self, i: int) -> Any:
            return X[i] + 0.1 * np.random.normal(size=X[i].shape), y[i]

    return Jittered()


def test_rows_drawn_anew_are_those_of_the_fit() -> None:
    weights = np.ones(len(X))
    weights[::5] = 0
    classifier = PathClassifier("linear", augmented=jittered, **QUICK)
    classifier = clone(classifier).fit(X, LABELS, sample_weight=weights)
    kept = weights > 0
    rows, numbers = X[kept], np.unique(LABELS, return_inverse=True)[1][kept]
    settings = {**QUICK, "sample_weight": weights[kept], "augmented": jittered(rows, numbers)}
    path = shrinkage.fit_path(nn.Linear(4, 3), rows, numbers, L2(1.0), **settings)
    assert torch.equal(classifier.path_.valid_loss, path.valid_loss)
    plain = PathClassifier("linear", **QUICK).fit(X, LABELS, sample_weight=weights)
    assert not torch.equal(plain.path_.valid_loss, path.valid_loss)
    scores = cross_val_score(PathClassifier("linear", augmented=jittered, **QUICK), X, LABELS, cv=2)
    assert scores.min() > 0.8


def test_a_view_of_all_rows_and_its_batch_size() -> None:
    numbers = np.unique(LABELS, return_inverse=True)[1]
    view = DataLoader(jittered(X, numbers), batch_size=50, shuffle=True)
    classifier = clone(PathClassifier("linear", augmented=view, **{**QUICK, "batch_size": None}))
    path = classifier.fit(X, LABELS).path_
    assert path.about["plan"]["batch_size"] == 50
    assert path.about["plan"]["augmented"].startswith("Jittered, drawn ")
    with pytest.raises(ShrinkageError, match="has 150 items and X has 100 rows"):
        classifier.fit(X[:100], LABELS[:100])


def test_fitted_in_bfloat16() -> None:
    narrow = clone(PathRegressor("linear", autocast=torch.bfloat16, **QUICK)).fit(X, X[:, 0])
    assert narrow.path_.about["plan"]["autocast"] == "torch.bfloat16"
    assert narrow.predict(X).dtype == np.float64
    with pytest.raises(ShrinkageError, match=r"give torch.bfloat16"):
        PathRegressor("linear", autocast="bfloat16", **QUICK).fit(X, X[:, 0])


def test_in_a_search_and_a_pipeline() -> None:
    search = GridSearchCV(
        make_pipeline(StandardScaler(), PathClassifier("linear", **QUICK)),
        {"pathclassifier__penalty": [L1(1.0), L2(1.0)]},
        cv=2,
    ).fit(X, LABELS)
    assert search.best_score_ > 0.9
    scores = cross_val_score(PathClassifier("linear", **QUICK), X, LABELS, scoring="roc_auc_ovr")
    assert scores.min() > 0.9


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_the_columns_of_a_frame_are_remembered(frame: Any) -> None:
    table = (
        frame(X, columns=["a", "b", "c", "d"])
        if frame is pd.DataFrame
        else frame(X, schema=["a", "b", "c", "d"])
    )
    classifier = PathClassifier("linear", **QUICK).fit(table, LABELS)
    assert classifier.feature_names_in_.tolist() == ["a", "b", "c", "d"]
    assert (
        classifier.predict(table) == PathClassifier("linear", **QUICK).fit(X, LABELS).predict(X)
    ).all()


def own_net(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, outputs))


@pytest.mark.parametrize("model", [own_net, own_net(4, 3)], ids=["function", "module"])
def test_a_model_may_be_a_module_or_a_function(model: Any) -> None:
    assert PathClassifier(model, **QUICK).fit(X, LABELS).score(X, LABELS) > 0.9


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rule": "best"}, "rule='best': choose from minimum, one_standard_error"),
        ({"model": 3}, "model=3: give a string such as 'mlp:128'"),
        ({"model": "forest"}, "unknown model 'forest'"),
        ({"optimizer": functools.partial(torch.optim.SGD, lr=1e9)}, "diverged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_arguments_are_refused(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ShrinkageError, match=words):
        PathRegressor(**{**QUICK, **changes}).fit(X, X[:, 0])


def test_the_repr_is_the_call_that_makes_it() -> None:
    made = PathClassifier("mlp:8", L2(0.5), seeds=2, strengths=[0.1, 1.0])
    again = eval(repr(made), {"PathClassifier": PathClassifier, "L2": L2})
    assert (type(again), repr(again)) == (PathClassifier, repr(made))
    assert again.penalty.strength == 0.5


def test_models_that_would_go_on_learning_say_so() -> None:
    X, y = load_diabetes(return_X_y=True)
    raw = PathRegressor("linear", **{**QUICK, "epochs": 30})
    with pytest.warns(
        ShrinkageWarning, match=r"still learning: .* at \d+% of its mean pace in the last 3 of"
    ):
        raw.fit(X, y)
    assert raw.score(X, y) < 0.3
    scaled = clone(raw).set_params(epochs=60).fit(X / X.std(0), (y - y.mean()) / y.std())
    assert scaled.score(X / X.std(0), (y - y.mean()) / y.std()) > 0.4


def test_a_metric_of_another_name_is_refused_before_training(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr("shrinkage.estimators.shared.fit_path")
    with pytest.raises(ShrinkageError, match="unknown metric 'acuracy'; did you mean 'accuracy'"):
        PathClassifier("linear", metric="acuracy", **QUICK).fit(X, LABELS)


def test_where_a_path_is_wanted_the_estimator_says_where_it_is() -> None:
    classifier = PathClassifier("linear", **QUICK).fit(X, LABELS)
    for use in (shrinkage.minimum, shrinkage.verdict, shrinkage.noise, plot_path, plot_weights):
        with pytest.raises(
            ShrinkageError, match=r"PathClassifier is not a PathResult; its path is in"
        ):
            use(classifier)


def test_a_penalty_inside_of_a_pipeline_comments_nothing_out() -> None:
    pipeline = make_pipeline(PathRegressor(penalty=L2(0.5), strengths=3))
    assert "#" not in repr(pipeline)
    assert "penalty=L2(0.5)" in repr(pipeline)
    assert "strengths=3" in repr(pipeline)
