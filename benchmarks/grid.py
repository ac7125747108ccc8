"""Does the automatic grid of an L2 penalty hold the minimum?

Every bundled data set, four architectures, several ways to train. A minimum lies inside if it is
neither the smallest nor the largest strength above 0. Strength 0 counts apart: then no penalty is
best, and no grid would change it. So does the smallest strength where it is no better than 0, by a
tenth of a standard error.

    python benchmarks/grid.py [--training adam]
"""

from __future__ import annotations

import argparse
import functools
import math
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import torch
from sklearn import datasets
from torch import Tensor, nn

from shrinkage import L2, PathResult, fit_path, minimum

ROWS, WIDTH = 400, 32
DATA = ("iris", "wine", "breast_cancer", "diabetes", "digits")
TRAININGS = {
    "adam": {"optimizer": functools.partial(torch.optim.Adam, lr=1e-3), "epochs": 20},
    "adam, long": {"optimizer": functools.partial(torch.optim.Adam, lr=1e-2), "epochs": 40},
    "sgd": {"optimizer": functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9), "epochs": 30},
    "decoupled": {
        "optimizer": functools.partial(torch.optim.Adam, lr=1e-2),
        "epochs": 40,
        "how": "decoupled",
    },
}


def rows_of(name: str) -> tuple[Tensor, Tensor]:
    """Return at most 400 rows, standardized, and their targets."""
    X, y = getattr(datasets, f"load_{name}")(return_X_y=True)
    chosen = np.random.default_rng(0).permutation(len(X))[:ROWS]
    X, y = X[chosen], y[chosen]
    deviation = X.std(0)
    X = (X - X.mean(0)) / np.where(deviation > 0, deviation, 1)
    if name == "diabetes":
        y = ((y - y.mean()) / y.std()).astype("float32")
    return torch.from_numpy(X).float(), torch.from_numpy(y)


def nets(columns: int, outputs: int) -> dict[str, Callable[[], nn.Module]]:
    """Return the architectures by name."""
    made: dict[str, Callable[[], nn.Module]] = {
        "linear": lambda: nn.Linear(columns, outputs),
        "MLP": lambda: nn.Sequential(
            nn.Linear(columns, WIDTH), nn.ReLU(), nn.Linear(WIDTH, outputs)
        ),
        "BatchNorm MLP": lambda: nn.Sequential(
            nn.Linear(columns, WIDTH), nn.BatchNorm1d(WIDTH), nn.ReLU(), nn.Linear(WIDTH, outputs)
        ),
    }
    if columns == 64:
        made["convnet"] = lambda: nn.Sequential(
            nn.Unflatten(1, (1, 8, 8)),
            nn.Conv2d(1, 8, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 16, 3, padding=1),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(256, outputs),
        )
    return made


def paths(training: str, data: tuple[str, ...] = DATA) -> Iterator[tuple[str, str, PathResult]]:
    """Yield architecture, data set and the path on its automatic grid."""
    for name in data:
        X, y = rows_of(name)
        outputs = 1 if y.is_floating_point() else int(y.max()) + 1
        for architecture, make in nets(X.shape[1], outputs).items():
            settings = {"strengths": 13, "folds": 3, "seeds": 1, "refit": False, "compile": False}
            made = fit_path(make, X, y, L2(1.0), **settings, **TRAININGS[training])
            yield architecture, name, made


def place(result: PathResult) -> str:
    """Return where the minimum lies: "inside", "at 0", "no better than 0" or "at the edge"."""
    choice = minimum(result)
    if choice.index == 0:
        return "at 0"
    if choice.at_edge:
        return "at the edge"
    return "no better than 0" if choice.index == 1 else "inside"


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--training", choices=TRAININGS, help="only this one")
    only = parser.parse_args().training
    torch.set_num_threads(1)
    counts: Counter[str] = Counter()
    print("| training | architecture | data | largest strength | decades below it | minimum |")
    print("|---|---|---|---|---|---|")
    for training in [only] if only else TRAININGS:
        for architecture, name, result in paths(training):
            top, best = result.strengths[-1].item(), minimum(result).strength
            below = f"{math.log10(top / best):.1f}" if best else "-"
            where = place(result)
            counts[where] += 1
            row = (training, architecture, name, f"{top:.2g}", below, where)
            print(f"| {' | '.join(row)} |", flush=True)
    print()
    for where, count in counts.most_common():
        print(f"{where}: {count} of {counts.total()}")
