"""Every row of docs/conventions.md: the same strength, elsewhere and here."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from sklearn.linear_model import ElasticNet as SklearnElasticNet
from sklearn.linear_model import Lasso, LogisticRegression, Ridge
from torch import Tensor, nn

from shrinkage import L1, L2, ElasticNet, Penalty, regularize

PAGE = (Path(__file__).parents[1] / "docs" / "conventions.md").read_text("utf-8")
N, ALPHA, C = 60, 0.07, 0.8


def data(classes: bool) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(0)
    X = torch.randn(N, 5, generator=random, dtype=torch.float64)
    y = X @ torch.tensor([1.5, -1.0, 0.5, 0.0, 0.0], dtype=torch.float64)
    y = y + 0.5 * torch.randn(N, generator=random, dtype=torch.float64)
    return X, (y > 0).double() if classes else y


def distance_from_minimum(penalty: Penalty, w: Tensor, intercept: float, classes: bool) -> float:
    """How far one proximal step on mean loss plus penalty would move the weights."""
    X, y = data(classes)
    w = w.clone().requires_grad_()
    output = X @ w + intercept
    mean_loss = (
        nn.functional.binary_cross_entropy_with_logits if classes else nn.functional.mse_loss
    )
    (gradient,) = torch.autograd.grad(mean_loss(output, y), w)
    step = 0.1
    moved = penalty.prox(w.detach() - step * gradient, step)
    return float((moved - w.detach()).abs().max() / step)


REGRESSIONS = {
    "L2(alpha / n)": (Ridge(ALPHA, tol=1e-12), L2(ALPHA / N)),
    "L1(2 * alpha)": (Lasso(ALPHA, tol=1e-12), L1(2 * ALPHA)),
    "ElasticNet(2 * alpha, l1_ratio=l1_ratio)": (
        SklearnElasticNet(ALPHA, l1_ratio=0.3, tol=1e-12),
        ElasticNet(2 * ALPHA, l1_ratio=0.3),
    ),
}


@pytest.mark.parametrize("here", REGRESSIONS)
def test_regressions_have_our_minimum(here: str) -> None:
    assert f"`{here}`" in PAGE
    model, penalty = REGRESSIONS[here]
    X, y = data(classes=False)
    model.fit(X.numpy(), y.numpy())
    w, intercept = torch.as_tensor(model.coef_), float(model.intercept_)
    assert distance_from_minimum(penalty, w, intercept, classes=False) < 1e-6
    other = penalty.at(penalty.strength / 2)
    assert distance_from_minimum(other, w, intercept, classes=False) > 1e-5


CLASSIFICATIONS = {
    "L2(1 / (2 * C * n))": (0.0, L2(1 / (2 * C * N))),
    "L1(1 / (C * n))": (1.0, L1(1 / (C * N))),
    "ElasticNet(lambda, l1_ratio=alpha)": (0.4, ElasticNet(1 / (C * N), l1_ratio=0.4)),
}


@pytest.mark.parametrize("here", CLASSIFICATIONS)
def test_classifications_have_our_minimum(here: str) -> None:
    """glmnet's lambda for mean log-loss is 1 / (C * n) for scikit-learn's sum of log-losses."""
    assert f"`{here}`" in PAGE
    l1_ratio, penalty = CLASSIFICATIONS[here]
    X, y = data(classes=True)
    model = LogisticRegression(
        C=C, l1_ratio=l1_ratio, solver="saga", tol=1e-10, max_iter=100_000, random_state=0
    ).fit(X.numpy(), y.numpy())
    w, intercept = torch.as_tensor(model.coef_[0]), float(model.intercept_[0])
    assert distance_from_minimum(penalty, w, intercept, classes=True) < 1e-5
    other = penalty.at(penalty.strength / 2)
    assert distance_from_minimum(other, w, intercept, classes=True) > 1e-4


def trained(make: type, lr: float, weight_decay: float, how: str | None) -> Tensor:
    """Weights after five steps, with our L2 coupled as ``how``, or the optimizer's own decay."""
    torch.manual_seed(0)
    X, y = data(classes=False)
    model = nn.Linear(5, 1, bias=False, dtype=torch.float64)
    own = 0.0 if how else weight_decay
    optimizer = make(model.parameters(), lr=lr, weight_decay=own)
    if how:
        regularize(model, optimizer, L2(weight_decay / 2), how=how)
    for _ in range(5):
        optimizer.zero_grad()
        nn.functional.mse_loss(model(X).squeeze(1), y).backward()
        optimizer.step()
    return model.weight.detach()


@pytest.mark.parametrize(
    ("make", "how"),
    [
        (torch.optim.SGD, "coupled"),
        (torch.optim.Adam, "coupled"),
        (torch.optim.RMSprop, "coupled"),
        (torch.optim.AdamW, "decoupled"),
    ],
)
def test_torch_takes_the_same_steps(make: type, how: str) -> None:
    row = next(line for line in PAGE.splitlines() if line.startswith("|") and make.__name__ in line)
    assert f'"{how}"' in row
    assert "`L2(d / 2)`" in row
    ours, theirs = trained(make, 0.05, 0.3, how), trained(make, 0.05, 0.3, None)
    assert torch.allclose(ours, theirs, rtol=1e-12)
    assert not torch.allclose(ours, trained(make, 0.05, 0.15, None), rtol=1e-3)


def test_keras_formulas() -> None:
    """keras.regularizers: L2 is l2 * sum(square(x)), L1 is l1 * sum(absolute(x))."""
    w = torch.tensor([[3.0, -4.0]])
    assert L2(0.1).value(w).item() == pytest.approx(0.1 * (9 + 16))
    assert L1(0.1).value(w).item() == pytest.approx(0.1 * (3 + 4))


def test_every_row_is_tested() -> None:
    rows = re.findall(
        r"^\| (?:torch|Keras|scikit-learn|glmnet)[^|]*\|(?:[^|]|\\\|)*\| (`.*?`) \|", PAGE, re.M
    )
    known = {f"`{here}`" for here in (*REGRESSIONS, *CLASSIFICATIONS)}
    glmnet = "`L1(2 * lambda * alpha) + L2(lambda * (1 - alpha) / sd)`"  # engine/test_glmnet.py
    assert len(rows) == 10
    assert set(rows) - known == {"`L2(d / 2)`", "`L2(l)`, `L1(l)`", glmnet}
