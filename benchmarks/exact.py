"""The exact solver against scikit-learn's own estimators on the same path, in one process.

    python benchmarks/exact.py --repeats 5

Both fit the same strengths on the same folds and on all rows; the two alternate, so that a slow
spell of the machine hits both. Times are CPU seconds of this process, ours with all that
``fit_path`` does beside solving: checks, held-out outputs and losses, norms. scikit-learn's
tolerance is the loosest of a few at which its objective lies within 1e-8 of ours, relatively, at
every strength; where none does, the tightest is timed and the gap is printed.
"""

from __future__ import annotations

import argparse
import statistics
import time
import warnings
from collections.abc import Callable

import numpy as np
import torch
from sklearn.datasets import load_breast_cancer, load_diabetes
from sklearn.linear_model import ElasticNet as SklearnElasticNet
from sklearn.linear_model import Lasso, LogisticRegression, Ridge
from torch import nn

from shrinkage import L1, L2, ElasticNet, fit_path

FOLDS, STRENGTHS, RATIO, SAME = 5, 10, 0.5, 1e-8
TOLERANCES = (1e-4, 1e-6, 1e-8, 1e-10)
PENALTIES = {"L1": L1(1.0), "L2": L2(1.0), "ElasticNet": ElasticNet(1.0, l1_ratio=RATIO)}


def shapes() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Rows, numbers and classes: tall, wide, and with columns that are not centered."""
    random = np.random.default_rng(0)
    tall, wide = random.normal(size=(2000, 20)), random.normal(size=(40, 300))
    drawn = {
        name: (X, X[:, :5] @ [3.0, -2, 2, 1, 1] + 3 * random.normal(size=len(X)))
        for name, X in (("tall", tall), ("wide", wide))
    }
    shapes = {name: (X, y / y.std(), (y > 0).astype(int)) for name, (X, y) in drawn.items()}
    X, y = load_diabetes(return_X_y=True)
    cancer, labels = load_breast_cancer(return_X_y=True)
    shapes["uncentered"] = (X / X.std(0) + 5, y / y.std(), (y > 140).astype(int))
    shapes["cancer"] = (cancer / cancer.std(0), labels - labels.mean(), labels)
    return shapes


def oracle(loss: str, penalty: str, strength: float, n: int, tolerance: float, warm: bool):
    """Return scikit-learn's estimator of the same minimum."""
    if loss == "squared":
        kinds = {
            "L1": lambda: Lasso(strength / 2, tol=tolerance, max_iter=10**6, warm_start=warm),
            "L2": lambda: Ridge(strength * n, tol=tolerance),
            "ElasticNet": lambda: SklearnElasticNet(
                strength / 2, l1_ratio=RATIO, tol=tolerance, max_iter=10**6, warm_start=warm
            ),
        }
        return kinds[penalty]()
    ratio = {"L1": 1.0, "L2": 0.0, "ElasticNet": RATIO}[penalty]
    solver = "lbfgs" if penalty == "L2" else "saga"
    twice = 2 if penalty == "L2" else 1
    return LogisticRegression(
        C=1 / (n * strength * twice), l1_ratio=ratio, solver=solver, tol=tolerance,
        max_iter=10**4 if penalty == "L2" else 3000, warm_start=warm, random_state=0,
    )  # fmt: skip


def objective(loss: str, penalty: str, strength: float, X, y, w, b) -> float:
    out = X @ w + b
    data = (
        ((out - y) ** 2).mean() if loss == "squared" else np.logaddexp(0, -(2 * y - 1) * out).mean()
    )
    penalties = {
        "L1": abs(w).sum(),
        "L2": (w**2).sum(),
        "ElasticNet": RATIO * abs(w).sum() + (1 - RATIO) / 2 * (w**2).sum(),
    }
    return data + strength * penalties[penalty]


def theirs(loss, penalty, strengths, X, y, folds, tolerance) -> list[tuple[np.ndarray, float]]:
    """Fit every strength on every fold, then on all rows, whose coefficients are returned."""
    for fold in range(FOLDS + 1):
        rows, model, found = folds != fold, None, []
        for strength in strengths[::-1]:
            fresh = oracle(loss, penalty, strength, int(rows.sum()), tolerance, True)
            model = fresh if model is None else model.set_params(**fresh.get_params())
            model.fit(X[rows], y[rows])
            model.predict(X[~rows]) if fold < FOLDS else None
            found.append((model.coef_.ravel().copy(), float(np.ravel(model.intercept_)[0])))
    return found[::-1]


def seconds(run: Callable[[], object]) -> float:
    start = time.process_time()
    run()
    return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="one repeat")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    print(f"{STRENGTHS} strengths x {FOLDS} folds, and all rows; CPU seconds, medians")
    print(
        "shape | rows x columns | loss | penalty | ours | scikit-learn | ratio "
        "| at tol | gap | residual"
    )
    for shape, (X, numbers, labels) in shapes().items():
        for loss in ("squared", "logistic") if shape != "cancer" else ("logistic",):
            for name, penalty in PENALTIES.items():
                compare(shape, X, numbers if loss == "squared" else labels, loss, name, penalty,
                        1 if options.quick else options.repeats)  # fmt: skip


def compare(shape, X, y, loss, name, penalty, repeats: int) -> None:
    folds = np.arange(len(y)) % FOLDS
    model = nn.Sequential(nn.Linear(X.shape[1], 1), nn.Flatten(0)).double()
    how = nn.MSELoss() if loss == "squared" else nn.BCEWithLogitsLoss()
    top = {"L2": 1.0}.get(name, 2 * abs((X - X.mean(0)).T @ (y - y.mean())).max() / len(y))
    top *= 0.99 / (RATIO if name == "ElasticNet" else 1) / (1 if loss == "squared" else 2)
    strengths = top * np.logspace(-3, 0, STRENGTHS)

    def ours():
        return fit_path(
            model, X, y.astype(float), penalty, strengths=strengths, folds=folds, loss=how,
            solver="exact",
        )  # fmt: skip

    result = ours()
    weights = result.refit.weights["0.weight"][1:, 0, 0].numpy()
    biases = result.refit.weights["0.bias"][1:, 0, 0].numpy()
    own = [
        objective(loss, name, s, X, y, w, b)
        for s, w, b in zip(strengths, weights, biases, strict=True)
    ]
    for tolerance in TOLERANCES:
        found = theirs(loss, name, strengths, X, y, folds, tolerance)
        their = [objective(loss, name, s, X, y, *f) for s, f in zip(strengths, found, strict=True)]
        gap = max((t - o) / min(t, o) for t, o in zip(their, own, strict=True))
        if gap <= SAME:
            break
    times = []
    for _ in range(repeats):
        pair = seconds(ours), seconds(lambda: theirs(loss, name, strengths, X, y, folds, tolerance))
        times.append(pair)
    a, b = (statistics.median(t[i] for t in times) for i in (0, 1))
    ratio = statistics.median(t[0] / t[1] for t in times)
    residual = result.about["engine"].rsplit(" ", 1)[1]
    print(
        f"{shape} | {X.shape[0]} x {X.shape[1]} | {loss} | {name} | {a:.3f} | {b:.3f} "
        f"| {ratio:.2f} | {tolerance:.0e} | {gap:.1e} | {residual}",
        flush=True,
    )


if __name__ == "__main__":
    main()
