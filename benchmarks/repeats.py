"""The verdict on repeated folds: how often it says "helped" where it should, and where not.

Ridge regression in closed form on 60 rows, 5 folds, split anew so many times. At break-even the
strength is that at which the cross-validated loss is, on average, that of no penalty; where it
helps, 30 columns of 48 training rows make least squares poor.

    python benchmarks/repeats.py [--paths 400]
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from sklearn.model_selection import RepeatedKFold

from shrinkage import L2, PathResult, verdict

ROWS, FOLDS = 60, 5
Split = tuple[np.ndarray, np.ndarray]


def draw(columns: int, size: float, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    X = random.normal(size=(ROWS, columns))
    return X, X @ np.full(columns, size) + random.normal(size=ROWS)


def splits(repeats: int, seed: int) -> list[Split]:
    return list(
        RepeatedKFold(n_splits=FOLDS, n_repeats=repeats, random_state=seed).split(range(ROWS))
    )


def losses(X: np.ndarray, y: np.ndarray, parts: list[Split], strengths: list[float]) -> np.ndarray:
    """Return the held-out loss of every strength and fold."""
    table = np.empty((len(strengths), len(parts)))
    for f, (trained, held) in enumerate(parts):
        A, b = X[trained], y[trained]
        for k, strength in enumerate(strengths):
            ridge = A.T @ A + strength * len(A) * np.eye(A.shape[1])
            table[k, f] = ((y[held] - X[held] @ np.linalg.solve(ridge, A.T @ b)) ** 2).mean()
    return table


def path(table: np.ndarray, parts: list[Split], strengths: list[float]) -> PathResult:
    """Return a result that holds these losses, and nothing else of interest."""
    held = np.concatenate([rows for _, rows in parts])
    folds = np.repeat(np.arange(len(parts)), [len(rows) for _, rows in parts])
    valid = torch.from_numpy(table)[:, :, None, None]
    zeros, grid = torch.zeros(*table.shape, 1), torch.tensor(strengths, dtype=torch.float64)
    return PathResult(
        L2(1.0), grid, torch.from_numpy(folds), (0,), ("w",),
        torch.zeros(len(held)), torch.zeros(len(table), 1, len(held), 1), valid, valid, zeros,
        zeros[..., None], zeros[..., None], -torch.ones(*table.shape, 1, dtype=torch.int64), None,
        rows_held=torch.from_numpy(held),
        trained_on=torch.tensor([float(len(rows)) for rows, _ in parts], dtype=torch.float64),
    )  # fmt: skip


def break_even(columns: int, size: float) -> float:
    random, grid = np.random.default_rng(1), np.logspace(-3, 1, 33)
    tables = [losses(*draw(columns, size, random), splits(1, s), [0, *grid]) for s in range(400)]
    gain = np.mean(tables, axis=(0, 2))
    gain = gain[1:] - gain[0]
    last = int((gain < 0).nonzero()[0][-1])
    share = gain[last] / (gain[last] - gain[last + 1])
    return float(grid[last] * (grid[last + 1] / grid[last]) ** share)


def helped(columns: int, size: float, strengths: list[float], repeats: int, paths: int) -> float:
    random, count = np.random.default_rng(0), 0
    for seed in range(paths):
        X, y = draw(columns, size, random)
        parts = splits(repeats, seed)
        count += verdict(path(losses(X, y, parts, strengths), parts, strengths)).answer == "helped"
    return count / paths


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--paths", type=int, default=400)
    paths = parser.parse_args().paths
    torch.set_num_threads(1)
    even = break_even(10, 0.4)
    cases = {
        "at break-even, 1 strength": (10, 0.4, [0, even]),
        "from break-even up, 8 strengths": (10, 0.4, [0, *(even * np.linspace(1, 1.4, 8))]),
        "where it helps, 8 strengths": (30, 0.15, [0, *np.logspace(-2, 1, 8)]),
    }
    print("| ridge, 60 rows | " + " | ".join(f"{r} x {FOLDS} folds" for r in (1, 2, 4, 10)) + " |")
    print("|---|---|---|---|---|")
    for name, case in cases.items():
        shares = [helped(*case, repeats, paths) for repeats in (1, 2, 4, 10)]
        print(f"| {name} | {' | '.join(f'{share:.1%}' for share in shares)} |", flush=True)
