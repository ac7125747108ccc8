"""Targets of any shape of one number a row, arrays of any kind, and folds of other rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.impute import SimpleImputer
from sklearn.model_selection import KFold, PredefinedSplit, cross_val_score
from torch import nn

from shrinkage import L2, PathClassifier, compare, fit_path, train
from shrinkage.errors import ShrinkageError
from shrinkage.rows.folds import make_folds
from shrinkage.rows.rows import as_rows

pytestmark = pytest.mark.filterwarnings("ignore:no minimum")

random = np.random.default_rng(0)
X = random.normal(size=(60, 4)).astype("float32")
Y = (X[:, 0] > 0).astype(int)
IDS = np.arange(60) % 3
SETTINGS: dict[str, Any] = {
    "strengths": [0.1],
    "folds": 3,
    "seeds": 1,
    "epochs": 2,
    "compile": False,
}
LINEAR: dict[str, Any] = {"model": "linear", "strengths": [0.1], "solver": "exact"}


@pytest.mark.parametrize(
    "column",
    [lambda y: y[:, None], lambda y: pd.DataFrame({"t": y}), lambda y: torch.tensor(y)[:, None]],
    ids=["array", "frame", "tensor"],
)
def test_classes_in_one_column_are_those_in_a_row(column: Callable[[Any], Any]) -> None:
    plain = fit_path(nn.Linear(4, 2), X, Y, L2(1.0), test=(X, Y), **SETTINGS)
    given = {"test": (X, column(Y)), **SETTINGS}
    result = fit_path(nn.Linear(4, 2), X, column(Y), L2(1.0), **given)
    assert torch.equal(result.targets, plain.targets)
    assert torch.equal(result.valid_loss, plain.valid_loss)
    assert torch.equal(result.test_metric(), plain.test_metric())


@pytest.mark.parametrize("one", [np.ravel, lambda y: y[:, None]], ids=["row", "column"])
@pytest.mark.parametrize("other", [np.ravel, lambda y: y[:, None]], ids=["row", "column"])
@pytest.mark.parametrize("y", [Y, X[:, 1]], ids=["classes", "numbers"])
def test_other_rows_may_have_their_targets_in_a_row_or_a_column(
    y: Any, one: Callable[[Any], Any], other: Callable[[Any], Any]
) -> None:
    outputs = 2 if y is Y else 1
    settings = {**SETTINGS, "test": (X, other(y))}
    assert (
        fit_path(nn.Linear(4, outputs), X, one(y), L2(1.0), **settings)
        .test_metric()
        .isfinite()[0, 0]
    )
    kept = train(nn.Linear(4, outputs), X, one(y), valid=(X, other(y)), epochs=1)
    assert len(kept.curves) == 1


def test_a_comparison_takes_classes_in_one_column() -> None:
    settings: dict[str, Any] = {"methods": ["l2"], "values": 4, "folds": 2, "seeds": 1, "epochs": 2}
    column = Y[:, None]
    made = compare(lambda: nn.Linear(4, 2), X, column, test=(X, column), **settings)
    assert made.task == "classification"


def pairs(n: int = 60) -> list[Any]:
    return list(KFold(3).split(np.zeros(n)))


@pytest.mark.parametrize(
    ("folds", "named"),
    [
        (PredefinedSplit(IDS), 57),
        (pairs(), 59),
        ([(np.array([0, 1]), np.array([-1]))], -1),
        ([(np.array([0, 40]), np.array([1]))], 40),
    ],
)
def test_folds_of_rows_that_are_not_there_are_refused(folds: Any, named: int) -> None:
    with pytest.raises(ShrinkageError, match=rf"names row {named} in fold \d.*rows 0 to 39"):
        make_folds(folds, torch.tensor(X[:40]), torch.tensor(Y[:40]))


def test_folds_of_marked_rows_are_those_of_their_numbers() -> None:
    rows, y = torch.tensor(X), torch.tensor(Y)
    marked = [(np.isin(range(60), one), np.isin(range(60), two)) for one, two in pairs()]
    made, numbered = make_folds(marked, rows, y), make_folds(pairs(), rows, y)
    assert all(map(torch.equal, made.held, numbered.held))
    assert all(map(torch.equal, made.trained, numbered.trained))
    halves = [(np.array([0.5, 1.0]), np.array([2.0]))]
    with pytest.raises(ShrinkageError, match=r"float64.*give numbers of rows"):
        make_folds(halves, rows, y)


@pytest.mark.parametrize(
    ("folds", "held"),
    [
        (lambda: PredefinedSplit(IDS), IDS),
        (lambda: IDS, IDS),
        (lambda: IDS.tolist(), IDS),
        (lambda: torch.tensor(IDS), IDS),
        (pairs, np.repeat(range(3), 20)),
        (lambda: iter(pairs()), np.repeat(range(3), 20)),
    ],
    ids=["PredefinedSplit", "ids", "list of ids", "tensor of ids", "pairs", "iterator of pairs"],
)
def test_folds_lose_the_rows_of_weight_zero(folds: Callable[[], Any], held: Any) -> None:
    weight = np.ones(60)
    weight[:9] = 0
    fitted = PathClassifier(folds=folds(), **LINEAR).fit(X, Y, sample_weight=weight)
    assert fitted.path_.folds.tolist() == held[9:].tolist()


def test_a_fold_whose_rows_all_have_weight_zero_is_named() -> None:
    weight = (IDS != 1).astype(float)
    with pytest.raises(ShrinkageError, match="leaves fold 1 no row to hold out"):
        PathClassifier(folds=PredefinedSplit(IDS), **LINEAR).fit(X, Y, sample_weight=weight)


def test_folds_of_the_whole_table_do_not_fit_a_part_of_it() -> None:
    classifier = PathClassifier(folds=PredefinedSplit(IDS), **LINEAR)
    with pytest.raises(
        ShrinkageError, match=r"names row \d+ in fold 0, but these are rows 0 to 39"
    ):
        cross_val_score(classifier, X, Y, cv=3, error_score="raise")


@pytest.mark.parametrize(
    "kind",
    [
        lambda a: a.astype(a.dtype.newbyteorder(">")),
        lambda a: a.astype(np.longdouble) if a.dtype.kind == "f" else a,
        lambda a: np.ma.masked_array(a, mask=np.zeros(a.shape, bool)),
        lambda a: np.ma.masked_array(a),
    ],
    ids=["big-endian", "longdouble", "nothing masked", "no mask"],
)
def test_arrays_of_any_kind_are_the_plain_ones(kind: Callable[[Any], Any]) -> None:
    rows, targets = as_rows(kind(X), kind(Y))
    assert torch.equal(rows.float(), torch.tensor(X))
    assert torch.equal(targets, torch.tensor(Y))


def test_masked_numbers_are_missing_and_not_read() -> None:
    masked = np.ma.masked_array(X, mask=X > 2)
    with pytest.raises(ShrinkageError, match=r"X holds NaN .* in [1-9]\d* of 60 rows"):
        as_rows(masked, Y)
    with pytest.raises(ShrinkageError, match=r"y holds NaN .* in 1 of 60 rows"):
        as_rows(X, np.ma.masked_array(Y, mask=np.arange(60) == 3))
    with pytest.raises(ValueError, match="Input X contains NaN"):
        PathClassifier(**LINEAR).fit(masked, Y)
    imputing = PathClassifier(preprocess=SimpleImputer(), **LINEAR).fit(masked, Y)
    assert imputing.preprocess_.statistics_ == pytest.approx(masked.mean(0).data, rel=1e-5)
    missing, _ = as_rows(masked, Y, finite=False)
    assert (missing.isnan().numpy() == masked.mask).all()


def test_whole_numbers_name_the_remedy() -> None:
    frame = pd.DataFrame((10 * X).astype(int))
    with pytest.raises(ShrinkageError, match=r"float.*give X\.float\(\)|astype"):
        fit_path(nn.Linear(4, 2), frame, Y, L2(1.0), **SETTINGS)


def test_columns_of_dates_are_refused_by_name() -> None:
    dates = pd.DataFrame({"born": pd.date_range("2020", periods=60), "died": pd.Timestamp("2024")})
    with pytest.raises(ShrinkageError, match="column 'born' holds datetime64"):
        PathClassifier(**LINEAR).fit(dates, Y)
    mixed = pd.DataFrame(X).rename(columns=str).assign(since=pd.to_timedelta(Y, unit="D"))
    with pytest.raises(ShrinkageError, match="column 'since' holds timedelta64"):
        PathClassifier(**LINEAR).fit(mixed, Y)
    with pytest.raises(ShrinkageError, match="X holds datetime64"):
        PathClassifier(**LINEAR).fit(dates.to_numpy(), Y)
