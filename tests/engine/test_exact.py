"""The exact solver: the whole path, and its cross-validation, are scikit-learn's."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.linear_model import LogisticRegression, Ridge, enet_path, lasso_path
from sklearn.metrics import log_loss
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from shrinkage.choose import curve
from shrinkage.engine import fit_path
from shrinkage.engine.exact.minimize import Objective, minimize
from shrinkage.errors import ShrinkageError
from shrinkage.penalties import L1, L2, MCP, ElasticNet, GroupLasso, Penalty
from shrinkage.result.path_result import PathResult

Fitted = tuple[np.ndarray, np.ndarray]
FEW = [0, 1, 4, 5, 8, 9]
TIGHT = {"rtol": 1e-4, "atol": 1e-7}
pytestmark = pytest.mark.filterwarnings("ignore:no minimum")  # one iris is set apart: strength 0


@functools.cache
def data(name: str) -> tuple[np.ndarray, np.ndarray]:
    load = {"diabetes": load_diabetes, "iris": load_iris, "breast_cancer": load_breast_cancer}
    X, y = load[name](return_X_y=True)
    X, y = (X[::3, FEW], y[::3]) if name == "breast_cancer" else (X, y)
    return StandardScaler().fit_transform(X), y


def exact(model: nn.Module, name: str, penalty: Penalty, **changes: Any) -> PathResult:
    X, y = data(name)
    if "loss" in changes:
        y = y.astype(float)
    return fit_path(model.double(), X, y, penalty, solver="exact", **{"folds": 5, **changes})


def weights_of(result: PathResult) -> Tensor:
    named = result.refit.weights
    return next(t for name, t in named.items() if name.endswith("weight"))[1:, 0]


def glmnet_curve(losses: Any, result: PathResult) -> tuple[Tensor, Tensor]:
    """cvm and cvsd by hand: ``losses(k, train, held)`` is the mean loss of a fold."""
    folds, K = result.folds.numpy(), len(result.strengths)
    each = np.array([[losses(k, folds != f, folds == f) for f in range(5)] for k in range(1, K)])
    rows = np.bincount(folds)
    mean = np.average(each, axis=1, weights=rows)
    spread = np.average((each - mean[:, None]) ** 2, axis=1, weights=rows)
    return torch.as_tensor(mean), torch.as_tensor(np.sqrt(spread / 4))


def assert_same_curve(losses: Any, result: PathResult) -> None:
    mean, error = glmnet_curve(losses, result)
    values = curve(result)
    torch.testing.assert_close(values.mean[1:], mean, rtol=1e-4, atol=0)
    torch.testing.assert_close(values.standard_error[1:], error, rtol=1e-4, atol=0)


@pytest.mark.parametrize("ratio", [1.0, 0.5])
def test_lasso_and_elastic_net_paths(ratio: float) -> None:
    X, y = data("diabetes")
    penalty = L1(1.0) if ratio == 1 else ElasticNet(1.0, l1_ratio=ratio)
    result = exact(nn.Linear(10, 1), "diabetes", penalty, strengths=7)
    alphas = result.strengths[1:].numpy() / 2
    path = lasso_path if ratio == 1 else functools.partial(enet_path, l1_ratio=ratio)

    def coefficients(train: np.ndarray) -> Fitted:
        center, middle = X[train].mean(0), y[train].mean()
        _, coefs, _ = path(
            X[train] - center, y[train] - middle, alphas=alphas[::-1], tol=1e-13, max_iter=10**6
        )
        coefs = coefs.T[::-1].copy()
        return coefs, middle - coefs @ center

    expected, _ = coefficients(np.ones(len(y), bool))
    found = weights_of(result)[:, 0]
    torch.testing.assert_close(found, torch.as_tensor(expected), rtol=1e-4, atol=1e-6)
    assert torch.equal(found == 0, torch.as_tensor(expected == 0))
    assert not found[-1].any()
    assert found[-2].any()
    largest = 2 * abs(X.T @ (y - y.mean())).max() / len(y) / ratio
    assert result.strengths[-1].item() == pytest.approx(largest, rel=1e-9)

    by_fold = [coefficients((result.folds != fold).numpy()) for fold in range(5)]

    def losses(k: int, train: np.ndarray, held: np.ndarray) -> float:
        coefs, intercepts = by_fold[int(result.folds[held][0])]
        return float(((y[held] - X[held] @ coefs[k - 1] - intercepts[k - 1]) ** 2).mean())

    assert_same_curve(losses, result)


def test_a_ridge_path_is_scikit_learns() -> None:
    X, y = data("diabetes")
    result = exact(nn.Linear(10, 1), "diabetes", L2(1.0), strengths=np.logspace(-4, 2, 8))

    def ridge(k: int, train: np.ndarray) -> Ridge:
        alpha = float(result.strengths[k]) * int(train.sum())
        return Ridge(alpha=alpha, solver="cholesky").fit(X[train], y[train])

    for k in range(1, 9):
        expected = torch.as_tensor(ridge(k, np.ones(len(y), bool)).coef_)
        torch.testing.assert_close(weights_of(result)[k - 1, 0], expected, **TIGHT)
    assert_same_curve(
        lambda k, train, held: ((ridge(k, train).predict(X[held]) - y[held]) ** 2).mean(), result
    )


@pytest.mark.parametrize("penalty", [L1(1.0), L2(1.0)], ids=["l1", "l2"])
def test_softmax_path(penalty: Penalty) -> None:
    X, y = data("iris")
    strengths = [0.01, 0.05]
    result = exact(nn.Linear(4, 3), "iris", penalty, strengths=strengths)

    def oracle(k: int, train: np.ndarray) -> LogisticRegression:
        lasso = isinstance(penalty, L1)
        own = int(train.sum()) * strengths[k - 1] * (1 if lasso else 2)
        how: dict[str, Any] = {"l1_ratio": 1.0, "solver": "saga", "max_iter": 10**5}
        smooth: dict[str, Any] = {"solver": "newton-cg", "max_iter": 1000}
        made = LogisticRegression(C=1 / own, tol=1e-9, **(how if lasso else smooth))
        return made.fit(X[train], y[train])

    for k in (1, 2):
        expected = torch.as_tensor(oracle(k, np.ones(len(y), bool)).coef_)
        found = weights_of(result)[k - 1]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(found == 0, expected == 0)
    assert_same_curve(
        lambda k, train, held: log_loss(y[held], oracle(k, train).predict_proba(X[held])), result
    )


@pytest.mark.parametrize("penalty", [L1(1.0), L2(1.0)], ids=["l1", "l2"])
def test_logistic_path_of_one_logit(penalty: Penalty) -> None:
    X, y = data("breast_cancer")
    model = nn.Sequential(nn.Linear(len(FEW), 1), nn.Flatten(0))
    strengths = [5e-3, 0.03, 0.1]
    loss = nn.BCEWithLogitsLoss()
    result = exact(model, "breast_cancer", penalty, strengths=strengths, loss=loss)
    for k, strength in enumerate(strengths):
        lasso = isinstance(penalty, L1)
        how: dict[str, Any] = {"l1_ratio": 1.0, "solver": "saga", "max_iter": 10**5}
        smooth: dict[str, Any] = {"solver": "newton-cg", "max_iter": 1000}
        C = 1 / (len(y) * strength * (1 if lasso else 2))
        oracle = LogisticRegression(C=C, tol=1e-8, **(how if lasso else smooth)).fit(X, y)
        expected = torch.as_tensor(oracle.coef_)
        found = weights_of(result)[k]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(found == 0, expected == 0)


def test_groups_of_inputs_meet_their_optimality_condition() -> None:
    X, y = (torch.as_tensor(values) for values in data("iris"))
    result = exact(nn.Linear(4, 3), "iris", GroupLasso(1.0, dim=1), strengths=[0.05, 0.2])
    for k, strength in enumerate([0.05, 0.2], start=1):
        weight = result.refit.weights["weight"][k, 0].clone().requires_grad_()
        nn.functional.cross_entropy(X @ weight.T + result.refit.weights["bias"][k, 0], y).backward()
        kept = weight.detach().norm(dim=0) > 0
        pull = strength * 3**0.5 * weight.detach() / weight.detach().norm(dim=0)
        torch.testing.assert_close(weight.grad[:, kept], -pull[:, kept], rtol=1e-6, atol=1e-9)
        assert (weight.grad[:, ~kept].norm(dim=0) <= strength * 3**0.5).all()
        assert kept.any()
        assert not kept.all()


def test_a_minimum_that_is_not_reached_is_warned_of_at_the_callers_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("shrinkage.engine.exact.solve.TOLERANCE", -1.0)
    with pytest.warns(UserWarning, match=r"not reach the minimum at strength 0, 0\.1:") as seen:
        exact(nn.Linear(10, 1), "diabetes", L2(1.0), strengths=[0.1])
    assert seen[0].filename == __file__


def test_the_result_says_that_it_is_exact_and_how_nearly() -> None:
    result = exact(nn.Linear(10, 1), "diabetes", L2(1.0), strengths=[0.01, 0.1], refine=2)
    words, residual = result.about["engine"].rsplit(" ", 1)
    assert words == "exact, residual at most"
    assert float(residual) < 1e-9
    unused = ("optimizer", "how", "epochs", "batch_size")
    assert [result.about["plan"][name] for name in unused] == [None] * 4
    assert result.valid_loss.shape == (5, 5, 1, 1)
    assert torch.equal(result.train_loss[..., 0], result.fit_loss)
    assert (result.diverged == -1).all()


def test_weights_of_rows_and_penalty_arguments_count() -> None:
    X, y = data("diabetes")
    w = np.linspace(0.5, 2, len(y))
    result = exact(
        nn.Linear(10, 1), "diabetes", ElasticNet(1.0, l1_ratio=0.5), strengths=[1.0],
        grid={"l1_ratio": [0.0, 0.5]}, sample_weight=w,
    )  # fmt: skip
    ridge = Ridge(alpha=0.5 * w.sum(), solver="cholesky").fit(X, y, sample_weight=w)
    at = int(((result.knobs["l1_ratio"] == 0) & (result.strengths == 1)).nonzero())
    found = result.refit.weights["weight"][at, 0, 0]
    torch.testing.assert_close(found, torch.as_tensor(ridge.coef_), **TIGHT)


def test_more_inputs_than_rows() -> None:
    random = np.random.default_rng(0)
    X, y = random.normal(size=(20, 50)), random.normal(size=20)
    result = fit_path(
        nn.Linear(50, 1).double(), X, y, L1(1.0), strengths=[0.1, 0.5], folds=2, solver="exact"
    )
    center = X - X.mean(0), y - y.mean()
    _, coefs, _ = lasso_path(*center, alphas=[0.25, 0.05], tol=1e-12, max_iter=10**6)
    found = result.refit.weights["weight"][[2, 1], 0, 0]
    torch.testing.assert_close(found, torch.as_tensor(coefs.T.copy()), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"model": nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3))}, "hidden layers"),
        ({"model": nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3))}, "dropout"),
        ({"penalty": MCP(1.0)}, "MCP is not convex"),
        ({"loss": lambda output, y: output.square().sum(1)}, "not known to be convex"),
        ({"grid": {"lr": [0.1, 0.2]}}, "knob 'lr'"),
        ({"optimizer": torch.optim.SGD}, "optimizer= has no meaning"),
        ({"how": "coupled"}, "how= has no meaning"),
        ({"checkpoint": "here"}, "checkpoint= has no meaning"),
        ({"solver": "magic"}, "choose 'steps' or 'exact'"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_the_exact_solver_cannot_do_is_refused(changes: dict[str, Any], words: str) -> None:
    X, y = data("iris")
    settings = {"model": nn.Linear(4, 3), "penalty": L2(1.0), "solver": "exact", **changes}
    model, penalty = settings.pop("model"), settings.pop("penalty")
    with pytest.raises(ShrinkageError, match=words):
        fit_path(model, X, y, penalty, strengths=[0.1], **settings)


def test_a_step_grows_again_where_the_rows_are_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    """With steps that only shrink, the gradients here were 2551: the curvature falls on the way."""
    X, y = load_breast_cancer(return_X_y=True)
    rows, labels = torch.as_tensor(StandardScaler().fit_transform(X)), torch.as_tensor(y)

    def loss(tensors: dict[str, Tensor]) -> Tensor:
        outputs = rows @ tensors["weight"].T + tensors["bias"]
        return nn.functional.cross_entropy(outputs, labels)

    counted, slope = [], Objective.slope
    monkeypatch.setattr(
        Objective, "slope", lambda self, at: (counted.append(1), slope(self, at))[1]
    )
    objective = Objective(loss, {"weight": L1(3e-3)}, smooth=False)
    start = {"weight": torch.zeros(2, 30).double(), "bias": torch.zeros(2).double()}
    _, residual = minimize(objective, start, 1.0)
    assert residual < 1e-9
    assert len(counted) < 1000
