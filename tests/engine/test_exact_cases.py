"""The exact solver where minima are many or none: wide rows, tied columns, separated classes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import linprog
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import ElasticNet as SklearnElasticNet
from sklearn.linear_model import LinearRegression, lasso_path
from torch import Tensor, nn

from shrinkage.choose import minimum, verdict
from shrinkage.engine import fit_path
from shrinkage.penalties import L1, L2, ElasticNet, GroupLasso, Penalty
from shrinkage.result.path_result import PathResult

SEPARATED = pytest.mark.filterwarnings("ignore:no minimum")
PENALTIES = [L1(1.0), L2(1.0), ElasticNet(1.0), GroupLasso(1.0, dim=1)]


def name_of(value: object) -> str:
    return type(value).__name__


def rows(n: int, p: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(seed)
    X = random.normal(size=(n, p))
    return X, X[:, :3] @ [2.0, -1.5, 1.0] + 0.5 * random.normal(size=n)


def exact(X: Any, y: Any, penalty: Penalty, outputs: int = 1, **changes: Any) -> PathResult:
    model = nn.Linear(X.shape[1], outputs).double()
    settings = {"strengths": [0.1], "folds": 2, "solver": "exact", **changes}
    return fit_path(model, X, y, penalty, **settings)


def weights_at(result: PathResult, k: int = -1) -> Tensor:
    return result.refit.weights["weight"][k, 0]


def assert_optimal(
    result: PathResult, k: int, X: Any, y: Any, loss: nn.Module, penalty: Penalty
) -> None:
    """The condition of the minimum, at the rows as they are, by autograd."""
    X, y = torch.as_tensor(X), torch.as_tensor(y)
    weight, bias = (
        result.refit.weights[n][k, 0].clone().requires_grad_() for n in ("weight", "bias")
    )
    outputs = X @ weight.T + bias
    loss(outputs.reshape(y.shape) if y.is_floating_point() else outputs, y).backward()
    nearest = penalty.at(float(result.strengths[k])).prox((weight - weight.grad).detach(), 1.0)
    scale = float(X.abs().max())
    assert float((nearest - weight.detach()).abs().max()) < 1e-8 * scale
    assert float(bias.grad.abs().max()) < 1e-8


@pytest.mark.parametrize("penalty", PENALTIES, ids=name_of)
def test_without_a_penalty_wide_rows_have_the_least_norm_whatever_the_path_is_for(
    penalty: Penalty,
) -> None:
    X, y = rows(30, 60)
    result = exact(X, y, penalty, strengths=[0.05, 0.1])
    expected = LinearRegression().fit(X, y)
    torch.testing.assert_close(weights_at(result, 0)[0], torch.as_tensor(expected.coef_))
    for fold in range(2):
        train, held = (result.folds != fold).numpy(), (result.folds == fold).numpy()
        own = LinearRegression().fit(X[train], y[train]).predict(X[held])
        assert result.valid_loss[0, fold].item() == pytest.approx(((own - y[held]) ** 2).mean())


def test_without_a_penalty_its_reference_has_no_say() -> None:
    X, y = rows(30, 60)
    toward = {"weight": torch.ones(1, 60).double()}
    result = exact(X, y, L2(1.0, toward=toward))
    expected = LinearRegression().fit(X, y).coef_
    torch.testing.assert_close(weights_at(result, 0)[0], torch.as_tensor(expected))
    pulled = exact(X, y, L2(1.0, toward=toward), strengths=[1e6])
    torch.testing.assert_close(weights_at(pulled), toward["weight"], atol=1e-3, rtol=0)


LOSSES: dict[str, tuple[nn.Module, int]] = {
    "softmax": (nn.CrossEntropyLoss(), 2),
    "one logit": (nn.BCEWithLogitsLoss(), 1),
    "soft margin": (nn.SoftMarginLoss(), 1),
}


def classes(name: str, score: Any) -> Any:
    label = (score > 0).astype(int)
    targets = {"softmax": label, "one logit": label[:, None] * 1.0}
    return targets.get(name, 2.0 * label[:, None] - 1)


@pytest.mark.parametrize("penalty", PENALTIES, ids=name_of)
@pytest.mark.parametrize("name", LOSSES)
def test_separated_classes_have_no_minimum_without_a_penalty(name: str, penalty: Penalty) -> None:
    X, y = rows(40, 60)
    loss, outputs = LOSSES[name]
    with pytest.warns(UserWarning, match="no minimum: at strength 0 the loss of 3 of 3 fits"):
        result = exact(X, classes(name, y), penalty, outputs, loss=loss, strengths=[0.01, 0.03])
    assert (result.diverged[0] >= 0).all()
    assert (result.diverged[1:] == -1).all()
    assert (result.refit.diverged[0] >= 0).all()
    assert result.valid_loss[0].isnan().all()
    assert result.valid_loss[1:].isfinite().all()
    assert weights_at(result, 0).isnan().all()
    assert minimum(result).strength > 0
    judged = verdict(result)
    assert judged.answer == "cannot tell"
    assert "there is no unpenalized model to compare with" in judged.sentence


def test_one_class_that_is_set_apart_is_enough() -> None:
    X, y = load_iris(return_X_y=True)
    with pytest.warns(UserWarning, match="no minimum"):
        result = exact(X, y, L2(1.0), 3)
    assert (result.diverged[0] >= 0).all()


def separated(X: np.ndarray, y: np.ndarray) -> bool:
    """Whether some direction is better for a row and worse for none, by linear programming."""
    columns = np.hstack([X - X.mean(0), np.ones((len(X), 1))])
    margins = []
    for row, own in zip(columns, y, strict=True):
        for other in set(range(y.max() + 1)) - {own}:
            margin = np.zeros((y.max() + 1, len(row)))
            margin[own], margin[other] = row, -row
            margins.append(margin.ravel())
    margins = np.array(margins)
    found = linprog(-margins.sum(0), A_ub=-margins, b_ub=np.zeros(len(margins)), bounds=(-1, 1))
    return -found.fun > 1e-7


@SEPARATED
@pytest.mark.parametrize("seed", range(5))
def test_a_minimum_is_missing_exactly_where_a_linear_program_separates_the_classes(
    seed: int,
) -> None:
    X, y = rows(60, 3, seed)
    y = (y + np.sin(99 * y) > 0).astype(int)
    result = exact(X, y, L2(1.0), 2, folds=6)
    folds = result.folds.numpy()
    expected = [separated(X[folds != fold], y[folds != fold]) for fold in range(6)]
    assert (result.diverged[0, :, 0] >= 0).tolist() == expected


def test_classes_that_overlap_have_a_minimum_without_a_penalty() -> None:
    X, y = load_iris(return_X_y=True)
    X, y = X[50:, :2], y[50:] - 1
    result = exact(X, y, L1(1.0), 2)
    assert (result.diverged == -1).all()
    assert_optimal(result, 0, X, y, nn.CrossEntropyLoss(), L1(1.0))


def test_smoothed_labels_have_a_minimum_though_the_classes_are_separated() -> None:
    X, y = load_iris(return_X_y=True)
    loss = nn.CrossEntropyLoss(label_smoothing=0.1)
    result = exact(X, y, L2(1.0), 3, loss=loss)
    assert (result.diverged == -1).all()
    assert_optimal(result, 0, X, y, loss, L2(1.0))


@SEPARATED
@pytest.mark.parametrize("task", ["regression", "classes"])
def test_tied_columns_share_their_weight_whatever_the_other_strengths_are(task: str) -> None:
    X, y = rows(50, 6)
    X = np.hstack([X, X[:, :2], -X[:, 2:3]])
    y = y if task == "regression" else (y + np.sin(99 * y) * 3 > 0).astype(int)
    outputs = 1 if task == "regression" else 2
    alone = exact(X, y, L1(1.0), outputs, strengths=[0.05])
    among = exact(X, y, L1(1.0), outputs, strengths=[1e-3, 0.05, 0.08, 0.2])
    found = weights_at(alone)
    torch.testing.assert_close(found, weights_at(among, 2), rtol=1e-6, atol=1e-8)
    assert (found[:, :3] != 0).all()
    torch.testing.assert_close(found[:, 6:8], found[:, :2], rtol=1e-6, atol=1e-9)
    torch.testing.assert_close(found[:, 8], -found[:, 2], rtol=1e-6, atol=1e-9)


def test_of_many_minima_it_is_the_limit_of_elastic_nets() -> None:
    """The third column is the sum of two, so weights may change hands until one of them is zero."""
    X, y = rows(60, 5, seed=3)
    X = np.hstack([X, X[:, :1] + X[:, 1:2], X[:, 2:3] + X[:, 3:4]])
    result = exact(X, y, L1(1.0), strengths=[0.2])
    near = SklearnElasticNet(alpha=0.1, l1_ratio=1 - 1e-6, tol=1e-14, max_iter=10**6).fit(X, y)
    found = weights_at(result)[0]
    torch.testing.assert_close(found, torch.as_tensor(near.coef_), rtol=0, atol=1e-4)
    assert torch.equal(found == 0, torch.as_tensor(near.coef_ == 0))


def test_four_classes_have_one_answer_whatever_the_other_strengths_are() -> None:
    """Any number between the two middle weights of a column can be taken off all four."""
    X, y = rows(80, 5)
    y = np.digitize(y + np.sin(99 * y) * 3, [-2, 0, 2])
    alone = exact(X, y, L1(1.0), 4, strengths=[0.005])
    among = exact(X, y, L1(1.0), 4, strengths=[0.005, 0.006, 0.05])
    torch.testing.assert_close(weights_at(alone), weights_at(among, 1), rtol=1e-6, atol=1e-7)
    assert_optimal(alone, 1, X, y, nn.CrossEntropyLoss(), L1(1.0))
    found = weights_at(alone)
    low, high = found.sort(0).values[1:3]
    assert ((found.mean(0).abs() < 1e-7) | (low == 0) | (high == 0)).all()


def test_wide_rows_have_the_lasso_of_scikit_learn_down_to_the_smallest_strength() -> None:
    X, y = rows(40, 300)
    result = exact(X, y, L1(1.0), strengths=8)
    alphas = result.strengths[1:].numpy()[::-1] / 2
    center = X - X.mean(0), y - y.mean()
    _, coefs, _ = lasso_path(*center, alphas=alphas, tol=1e-12, max_iter=10**6)
    found = result.refit.weights["weight"][1:, 0, 0].flip(0)
    torch.testing.assert_close(found, torch.as_tensor(coefs.T.copy()), rtol=1e-4, atol=1e-6)


@SEPARATED
@pytest.mark.parametrize("penalty", [L1(1.0), L2(1.0), ElasticNet(1.0)], ids=name_of)
@pytest.mark.parametrize("shift", [0.0, 100.0])
def test_softmax_of_wide_rows_is_at_its_minimum(penalty: Penalty, shift: float) -> None:
    X, y = rows(40, 200)
    X, y = X + shift, np.digitize(y, [-1, 1])
    strengths = [1e-4, 1e-2, 0.05]
    result = exact(X, y, penalty, 3, strengths=strengths)
    assert float(result.about["engine"].rsplit(" ", 1)[1]) < 1e-9
    for k in (1, 2, 3):
        assert_optimal(result, k, X, y, nn.CrossEntropyLoss(), penalty)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@SEPARATED
def test_columns_that_are_not_centered_have_an_exact_largest_strength(dtype: torch.dtype) -> None:
    X, y = load_iris(return_X_y=True)
    X = torch.as_tensor(X).to(dtype)
    result = fit_path(
        nn.Linear(4, 3).to(dtype), X, y, L1(1.0), strengths=2, folds=2, solver="exact"
    )
    shares = np.eye(3)[y] - np.eye(3)[y].mean(0)
    truth = np.abs(X.double().numpy().T @ shares / 150).max()
    assert float(result.strengths[-1]) == pytest.approx(truth, rel=1e-9)
    assert not weights_at(result).any()
    assert float(result.about["engine"].rsplit(" ", 1)[1]) < 1e-9
    below = exact(X.double(), y, L1(1.0), 3, strengths=[truth * (1 - 1e-6)])
    assert weights_at(below).any()


@pytest.mark.parametrize("penalty", PENALTIES, ids=name_of)
def test_a_shift_of_the_columns_is_the_biass_alone(penalty: Penalty) -> None:
    X, y = load_diabetes(return_X_y=True)
    X, y = X[:100] / X.std(0), y[:100]
    plain, shifted = (exact(Z, y, penalty, strengths=[1.0, 10.0]) for Z in (X, X + 1000))
    for k in range(3):
        torch.testing.assert_close(
            weights_at(plain, k), weights_at(shifted, k), rtol=1e-6, atol=1e-6
        )


def test_several_targets_under_l1_are_fit_one_by_one() -> None:
    X, y = rows(40, 8)
    Y = np.stack([y, X[:, 3] - y, X[:, 5]], 1)
    together = exact(X, Y, L1(1.0), 3, strengths=[0.1])
    for m in range(3):
        alone = exact(X, Y[:, m], L1(1.0), strengths=[0.3])
        torch.testing.assert_close(weights_at(together)[m], weights_at(alone)[0])


ANY_LOSS: dict[str, tuple[nn.Module, int]] = LOSSES | {
    "huber": (nn.HuberLoss(delta=0.5), 1),
    "smooth l1": (nn.SmoothL1Loss(), 1),
    "squared": (nn.MSELoss(), 1),
}


@pytest.mark.parametrize("penalty", PENALTIES, ids=name_of)
@pytest.mark.parametrize("name", ANY_LOSS)
def test_every_loss_and_penalty_is_at_its_minimum(name: str, penalty: Penalty) -> None:
    X, y = rows(60, 7)
    X = X * [1, 3, 1, 1, 0.3, 1, 1] + 4
    noisy = y + np.sin(99 * y) * 3
    loss, outputs = ANY_LOSS[name]
    y = classes(name, noisy) if name in LOSSES else noisy[:, None]
    result = exact(X, y, penalty, outputs, loss=loss, strengths=[3e-3, 0.1])
    for k in range(3):
        own = penalty if k else L2(1.0)
        assert_optimal(result, k, X, y, loss, own)


@pytest.mark.parametrize("penalty", [L1(1.0), L2(1.0)], ids=name_of)
def test_rows_too_large_for_the_fast_ways_have_the_same_minimum(
    penalty: Penalty, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, y = rows(60, 7)
    y = np.digitize(y + np.sin(99 * y) * 6, [-1, 1])
    fast = exact(X, y, penalty, 3, strengths=[0.01])
    for name in ("LARGEST_HESSIAN", "LARGEST_MODEL"):
        monkeypatch.setattr(f"shrinkage.engine.exact.linear.{name}", 0)
    slow = exact(X, y, penalty, 3, strengths=[0.01])
    for k in (0, 1):
        torch.testing.assert_close(weights_at(fast, k), weights_at(slow, k), rtol=1e-5, atol=1e-6)


@SEPARATED
def test_a_model_that_is_no_single_layer_is_marked_too() -> None:
    X, y = rows(30, 60)
    split = nn.Sequential(nn.Linear(60, 5, bias=False), nn.Linear(5, 2))
    split[1].requires_grad_(False)
    result = fit_path(
        split.double(), X, (y > 0).astype(int), L2(1.0), strengths=[0.1], folds=2, solver="exact"
    )
    assert (result.diverged[0] >= 0).all()
    assert (result.diverged[1] == -1).all()
