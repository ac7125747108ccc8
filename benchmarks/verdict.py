"""How often does the verdict say "helped" where nothing helped, and how often where something did?

Tables of losses (strengths x folds x seeds) come from simulated noise and from real trainings in
closed form, whose truth is known: the loss on all rows that could be drawn. Prints one table of
nulls, where strengths do nothing or harm, and one of effects. Minutes on one core.

    python benchmarks/verdict.py [--paths 1000]
"""

from __future__ import annotations

import argparse
import dataclasses
import math
from collections.abc import Callable, Iterator

import numpy as np
import torch
from scipy.special import stdtrit

from shrinkage import PathResult, verdict
from shrinkage.penalties import L2

Array = np.ndarray
SEEDS = 2


@dataclasses.dataclass(frozen=True)
class Paths:
    """R simulated paths.

    Attributes:
        losses: (R, K, F, S) held-out losses; strength 0 comes first.
        risk: (K,) expected test loss by strength, the truth that a verdict is about.
        refit: (R, K) test loss of models fit on all rows of each data set, where there is one.
    """

    losses: Array
    risk: Array
    refit: Array | None = None


Scenario = Callable[[np.random.Generator, int, int], Paths]


# tables of noise


def noise_table(
    strengths: int, *, rough: float, shared: bool, harm: float = 0.0, gain: float = 0.0
) -> Scenario:
    """Tables with the structure of a real path.

    Folds and seeds have effects of their own; strengths differ by a random walk in their logarithm,
    so neighbors are alike, and by rough noise of each training. ``shared``: 1/F of the variance of
    the walk is one and the same in all folds, as if from the rows that training sets share.
    """

    def simulate(random: np.random.Generator, paths: int, folds: int) -> Paths:
        def walk(folds: int) -> Array:
            steps = random.normal(size=(paths, strengths, folds, 1)) / math.sqrt(strengths)
            walked = steps.cumsum(1)
            return walked - walked[:, :1]

        part = 1 / folds if shared else 0.0
        x = np.linspace(0, 1, strengths)
        risk = harm * x - gain * np.exp(-(((x - 0.6) / 0.2) ** 2)) * (x > 0)
        losses = (
            10
            + 3 * random.normal(size=(paths, 1, folds, 1))
            + random.normal(size=(paths, 1, folds, SEEDS))
            + math.sqrt(1 - part) * walk(folds)
            + math.sqrt(part) * walk(1)
            + rough * random.normal(size=(paths, strengths, folds, SEEDS))
            + risk[:, None, None]
        )
        return Paths(losses, 10 + risk)

    return simulate


def error_counts(strengths: int, rows: int) -> Scenario:
    """Error rates of classifiers that are equally good: few rows, many ties."""

    def simulate(random: np.random.Generator, paths: int, folds: int) -> Paths:
        hard = random.beta(0.5, 2, size=(paths, 1, folds, 1, rows))
        wrong = random.random((paths, strengths, folds, SEEDS, rows)) < hard
        return Paths(wrong.mean(-1), np.full(strengths, 0.2))

    return simulate


# trainings


def ridge(rows: int, columns: int, noise: float, strengths: Array) -> Scenario:
    """Ridge regression on normal data, every column with the same small effect."""

    def simulate(random: np.random.Generator, paths: int, folds: int) -> Paths:
        X = random.normal(size=(paths, rows, columns))
        w = np.full(columns, columns**-0.5)
        y = X @ w + noise * random.normal(size=(paths, rows))
        held = np.arange(rows) % folds

        def excess(W: Array) -> Array:
            return noise**2 + ((W - w) ** 2).sum(2)

        losses, risks = [], []
        for fold in range(folds):
            W = _solve(X[:, held != fold], y[:, held != fold], strengths)
            guess = np.einsum("rni,rki->rkn", X[:, held == fold], W)
            losses.append(((y[:, None, held == fold] - guess) ** 2).mean(2))
            risks.append(excess(W).mean(0))
        table = np.stack(losses, 2)[..., None]
        return Paths(table, np.mean(risks, 0), excess(_solve(X, y, strengths)))

    return simulate


def _solve(X: Array, y: Array, strengths: Array) -> Array:
    """Minimize mean square + strength |w|^2 for all data sets and strengths: (R, K, columns)."""
    values, vectors = np.linalg.eigh(np.einsum("rni,rnj->rij", X, X) / X.shape[1])
    moved = np.einsum("rij,rni,rn->rj", vectors, X, y, optimize=True) / X.shape[1]
    shrunk = moved[:, None] / np.maximum(values[:, None] + strengths[None, :, None], 1e-9)
    return np.einsum("rij,rkj->rki", vectors, shrunk)


def random_nets(strengths: int, rows: int = 80, columns: int = 5, width: int = 20) -> Scenario:
    """Nets with a random hidden layer of their own, and a strength that nothing depends on."""

    def simulate(random: np.random.Generator, paths: int, folds: int) -> Paths:
        X = random.normal(size=(paths, rows, columns))
        y = np.sin(X[..., 0]) + X[..., 1] * X[..., 2] + 0.5 * random.normal(size=(paths, rows))
        held = np.arange(rows) % folds
        table = np.empty((paths, strengths, folds, SEEDS))
        for k, f, s in np.ndindex(strengths, folds, SEEDS):
            hidden = np.maximum(X @ random.normal(size=(paths, columns, width)), 0)
            W = _solve(hidden[:, held != f], y[:, held != f], np.array([1e-3]))[:, 0]
            guess = np.einsum("rni,ri->rn", hidden[:, held == f], W)
            table[:, k, f, s] = ((y[:, held == f] - guess) ** 2).mean(1)
        return Paths(table, np.full(strengths, table.mean()))

    return simulate


def logistic(strengths: Array, rows: int = 150) -> Scenario:
    """Logistic regression by scikit-learn; its truth from 20,000 further rows."""
    from sklearn.linear_model import LogisticRegression

    def simulate(random: np.random.Generator, paths: int, folds: int) -> Paths:
        w = np.array([1.0, -0.7, 0.5])
        held = np.arange(rows) % folds
        X_new = random.normal(size=(20_000, 3))
        chance = 1 / (1 + np.exp(-X_new @ w))

        def truth(model: LogisticRegression) -> float:
            log = model.predict_log_proba(X_new)
            return float(-(chance * log[:, 1] + (1 - chance) * log[:, 0]).mean())

        table = np.empty((paths, len(strengths), folds, 1))
        risk = np.zeros(len(strengths))
        for r in range(paths):
            X = random.normal(size=(rows, 3))
            y = (random.random(rows) < 1 / (1 + np.exp(-X @ w))).astype(int)
            for f in range(folds):
                for k, strength in enumerate(strengths):
                    C = 1 / (2 * max(strength, 1e-9) * (held != f).sum())
                    model = LogisticRegression(C=C).fit(X[held != f], y[held != f])
                    log = model.predict_log_proba(X[held == f])
                    table[r, k, f, 0] = -log[np.arange(len(log)), y[held == f]].mean()
                    risk[k] += truth(model) / (paths * folds)
        return Paths(table, risk)

    return simulate


# the judges


def answers(losses: Array) -> list[str]:
    """Return what the package says to each path."""
    result = _blank(*losses.shape[1:])
    said = []
    for table in losses:
        result.valid_loss[..., 0] = torch.from_numpy(table)
        said.append(verdict(result).answer)
    return said


def _blank(K: int, F: int, S: int) -> PathResult:
    """A path whose losses can be written over; folds of 10 rows."""
    strengths = torch.cat([torch.zeros(1), torch.logspace(-4, 0, K - 1)]).double()
    zeros = torch.zeros(K, F, S, 1, dtype=torch.float64)
    return PathResult(
        penalty=L2(1.0),
        strengths=strengths,
        folds=torch.arange(10 * F) % F,
        seeds=tuple(range(S)),
        tensor_names=("weight",),
        targets=torch.zeros(10 * F),
        predictions=torch.zeros(K, S, 10 * F, 1),
        train_loss=zeros,
        valid_loss=zeros.clone(),
        fit_loss=zeros[..., 0],
        norms=zeros,
        sparsity=zeros,
        diverged=torch.full((K, F, S), -1),
        refit=None,
    )


def without_corrections(losses: Array, *, overlap: bool) -> Array:
    """Return whether a paired t interval at the minimum of the same folds says "helped"."""
    per_fold = losses.mean(3)
    paths, _, folds = per_fold.shape
    best = per_fold.mean(2).argmin(1)
    difference = per_fold[np.arange(paths), best] - per_fold[:, 0]
    factor = 1 / folds + (1 / (folds - 1) if overlap else 0)
    reach = stdtrit(folds - 1, 0.975) * difference.std(1, ddof=1) * math.sqrt(factor)
    return (best > 0) & (difference.mean(1) + reach < 0)


# the tables

GRID = np.concatenate([[0], np.geomspace(1e-3, 3, 12)])


def nulls() -> Iterator[tuple[str, Scenario, float]]:
    """Yield name, scenario, and which part of the paths to simulate."""
    for strengths in (2, 20):
        yield f"rough noise, {strengths}", noise_table(strengths, rough=5, shared=False), 1
        yield f"smooth noise, {strengths}", noise_table(strengths, rough=0.1, shared=False), 1
        yield (
            f"smooth, part in common, {strengths}",
            noise_table(strengths, rough=0.5, shared=True),
            1,
        )
    yield "smooth and harmful, 20", noise_table(20, rough=0.5, shared=True, harm=0.5), 1
    yield "error rates of 20 rows, 10", error_counts(10, 20), 1
    yield "random nets, 8", random_nets(8), 0.3
    yield (
        "ridge above break-even, 16",
        ridge(100, 20, 0.5, np.concatenate([[0], np.geomspace(0.18, 18, 15)])),
        1,
    )
    yield (
        "logistic above break-even, 6",
        logistic(np.concatenate([[0], np.geomspace(0.045, 1, 5)])),
        0.1,
    )


def effects() -> Iterator[tuple[str, Scenario]]:
    for gain in (0.5, 1, 2, 4):
        yield f"noise table, gain {gain}", noise_table(20, rough=0.5, shared=False, gain=gain)
    for rows, columns, noise in ((100, 20, 2.0), (100, 40, 1.0), (300, 100, 1.0), (300, 150, 1.0)):
        yield f"ridge, {rows} x {columns}", ridge(rows, columns, noise, GRID)


def print_nulls(random: np.random.Generator, paths: int) -> None:
    print('Share of paths of which is said "helped"; none did.\n')
    print("| null, strengths | folds | best risk / risk at 0 | plain | overlap only | verdict |")
    print("|---|---|---|---|---|---|")
    for name, scenario, part in nulls():
        for folds in (2, 3, 5, 10):
            made = scenario(random, int(paths * part), folds)
            said = np.array(answers(made.losses)) == "helped"
            rivals = [without_corrections(made.losses, overlap=o).mean() for o in (False, True)]
            ratio = made.risk[1:].min() / made.risk[0]
            shares = " | ".join(f"{share:.1%}" for share in (*rivals, said.mean()))
            print(f"| {name} | {folds} | {ratio:.3f} | {shares} |", flush=True)


def print_effects(random: np.random.Generator, paths: int) -> None:
    print('\nWhere a strength helps. Wrong: "helped", yet the refit on these rows is no better.\n')
    print("| effect | folds | best risk / risk at 0 | helped | wrong | did not help |")
    print("|---|---|---|---|---|---|")
    for name, scenario in effects():
        for folds in (3, 5, 10):
            made = scenario(random, paths, folds)
            said = np.array(answers(made.losses))
            wrong = "-"
            if made.refit is not None:
                best = made.losses.mean((2, 3)).argmin(1)
                worse = made.refit[np.arange(paths), best] >= made.refit[:, 0]
                wrong = f"{(worse & (said == 'helped')).mean():.1%}"
            ratio = made.risk[1:].min() / made.risk[0]
            print(
                f"| {name} | {folds} | {ratio:.3f} | {(said == 'helped').mean():.1%} | {wrong} | "
                f"{(said == 'did not help').mean():.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--paths", type=int, default=1000, help="simulated paths a scenario")
    given = parser.parse_args()
    torch.set_num_threads(1)
    generator = np.random.default_rng(0)
    print_nulls(generator, given.paths)
    print_effects(generator, given.paths)
