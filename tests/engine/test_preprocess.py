"""Scalers and imputers: each fold's are fitted without the fold."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from _problems import SGD, classes, fit, perceptron
from sklearn.feature_selection import VarianceThreshold
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from shrinkage.errors import ShrinkageError
from shrinkage.rows.folds import by_ids
from shrinkage.rows.preprocess import preprocess_rows

X, Y = classes()
FOLDS = (torch.arange(len(X)) % 3).tolist()
ENGINES = {"vectorized": SGD, "one by one": lambda parameters: SGD(parameters)}


def run(X: torch.Tensor, preprocess: Any = None, engine: str = "vectorized", **more: Any) -> Any:
    result = fit(
        perceptron(), X, Y, preprocess=preprocess, folds=FOLDS, optimizer=ENGINES[engine], **more
    )
    assert result.about["engine"].startswith(engine)
    return result


@pytest.mark.parametrize("engine", ENGINES)
def test_poisoned_held_out_rows_leave_the_training_as_it_was(engine: str) -> None:
    poisoned = X.clone()
    poisoned[torch.tensor(FOLDS) == 1] *= 1000
    clean, other = (run(rows, StandardScaler(), engine) for rows in (X, poisoned))
    for name in ("train_loss", "fit_loss", "norms", "sparsity"):
        assert torch.equal(getattr(clean, name)[:, 1], getattr(other, name)[:, 1])
        assert name == "sparsity" or not torch.equal(
            getattr(clean, name)[:, 0], getattr(other, name)[:, 0]
        )
    assert not torch.equal(clean.valid_loss[:, 1], other.valid_loss[:, 1])


@pytest.mark.parametrize("engine", ENGINES)
def test_every_fold_is_the_one_of_rows_scaled_by_hand(engine: str) -> None:
    test = X[:7] + 1, Y[:7]
    result = run(X, StandardScaler(), engine, test=test)
    for fold in (-1, 0, 1, 2):
        scaler = StandardScaler().fit(X[torch.tensor(FOLDS) != fold].numpy())
        scaled, tested = (torch.as_tensor(scaler.transform(rows.numpy())) for rows in (X, test[0]))
        by_hand = run(scaled, None, engine, test=(tested, test[1]))
        if fold < 0:
            assert torch.equal(result.refit.fit_loss, by_hand.refit.fit_loss)
            assert torch.equal(result.refit.test_loss, by_hand.refit.test_loss)
            continue
        held = torch.tensor(FOLDS) == fold
        assert torch.equal(result.valid_loss[:, fold], by_hand.valid_loss[:, fold])
        assert torch.equal(result.fit_loss[:, fold], by_hand.fit_loss[:, fold])
        assert torch.equal(result.predictions[:, :, held], by_hand.predictions[:, :, held])


def test_missing_values_can_be_imputed() -> None:
    holes = X.clone()
    holes[::5, 0] = torch.nan
    with pytest.raises(ShrinkageError, match="X holds NaN"):
        run(holes)
    with pytest.raises(ShrinkageError, match="X after StandardScaler holds NaN"):
        run(holes, StandardScaler())
    result = run(holes, make_pipeline(SimpleImputer(), StandardScaler()), test=(holes, Y))
    assert result.valid_loss.isfinite().all()
    learned = result.about["plan"]["preprocess"]["learned"]
    mean = np.nanmean(holes.numpy(), 0)
    np.testing.assert_allclose(learned["simpleimputer"]["statistics_"], mean, rtol=1e-5)


def test_what_was_learned_is_kept_and_the_given_transformer_is_not_fitted() -> None:
    scaler = StandardScaler()
    facts = run(X, scaler).about["plan"]["preprocess"]
    assert not hasattr(scaler, "mean_")
    assert facts["transformer"] == "StandardScaler()"
    np.testing.assert_allclose(facts["learned"]["mean_"], X.mean(0), atol=1e-5)
    np.testing.assert_allclose(facts["learned"]["scale_"], X.std(0, correction=0), rtol=1e-5)
    assert run(X).about["plan"]["preprocess"] is None


def test_constant_columns_stay_finite() -> None:
    constant = X.clone()
    constant[:, 1] = 3
    assert run(constant, StandardScaler()).valid_loss.isfinite().all()


class Spy(StandardScaler):
    seen: ClassVar[list[Any]] = []

    def fit(self, X: Any, y: Any = None) -> Any:
        self.seen.append((X.shape, y.shape))
        return super().fit(X)


@pytest.mark.parametrize(("columns", "shape"), [((), ()), ((1,), ()), ((2,), (2,))])
def test_a_transformer_sees_the_rows_and_targets_of_its_fold(
    columns: tuple[int, ...], shape: tuple[int, ...]
) -> None:
    Spy.seen.clear()
    X = torch.randn(6, 3)
    views = preprocess_rows(Spy(), X, torch.randn(6, *columns), by_ids(torch.tensor([0, 0, 1, 1])))
    assert Spy.seen == [((n, 3), (n, *shape)) for n in (4, 2, 2)]
    assert [len(view) for view in (views.X, *views.by_fold)] == [6, 6, 6]


class Halves:
    def fit(self, X: Any, y: Any) -> None:
        pass

    def transform(self, X: Any) -> Any:
        return X[::2]


def test_what_cannot_preprocess_is_refused() -> None:
    once = X.clone()
    once[:, 0] = 0
    once[0, 0] = 1
    for preprocess, rows, said in [
        (StandardScaler, X, "cannot be fitted; give a transformer"),
        (torch.tanh, X, "cannot be fitted"),
        (StandardScaler(), X[:, :, None], "cannot preprocess X: Found array with dim 3"),
        (Halves(), X, "makes 16 rows of 32"),
        (VarianceThreshold(), once, r"shape \(3,\) for fold 0 and \(4,\) of all rows"),
    ]:
        with pytest.raises(ShrinkageError, match=said):
            run(rows, preprocess)
