"""Does the automatic grid of an L2 penalty hold the minimum?

Every bundled data set, four architectures, several ways to train. A minimum lies inside if it is
neither the smallest nor the largest strength above 0. Strength 0 counts apart: then no penalty is
best, and no grid would change it. So does the smallest strength where it is no better than 0, by a
tenth of a standard error.

Two columns say what training without a penalty came to, in parts of the loss of the best constant.
"Still falls": by how much its training loss is lower in the last quarter of the epochs than in the
quarter before; below 1% it counts as converged. "Past its best": by how much its held-out loss at
the end is above its lowest after any epoch; at 0 it has not begun to overfit.

    python benchmarks/grid.py [--training adam "sgd, converged"] [--rule doubling]

Three rules for where the grid starts: "balance" is the package's; "doubling" takes the first of a
ladder of strengths, each twice the one before, at which the training loss is within 1% of that of
the best constant; "timescale" lets 1 / (learning rate x decay), the steps that a weight is
remembered, run from one epoch to the whole training, and knows decoupled decay and SGD alone.
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
from torch.distributions import Categorical

from shrinkage import L2, PathResult, fit_path, minimum

ROWS, WIDTH = 400, 32
DATA = ("iris", "wine", "breast_cancer", "diabetes", "digits")
ADAM = functools.partial(torch.optim.Adam, lr=1e-2)
SGD = functools.partial(torch.optim.SGD, lr=0.05, momentum=0.9)
SHORT = {
    "adam": {"optimizer": functools.partial(torch.optim.Adam, lr=1e-3), "epochs": 20},
    "adam, long": {"optimizer": ADAM, "epochs": 40},
    "sgd": {"optimizer": SGD, "epochs": 30},
    "decoupled": {"optimizer": ADAM, "epochs": 40, "how": "decoupled"},
}
CONVERGED = {"epochs": 300, "seeds": 3, "compile": True}
"""The convnet, which takes as long as all others together, trains for a third of the epochs."""
TRAININGS = SHORT | {
    "adam, converged": {"optimizer": ADAM, **CONVERGED},
    "sgd, converged": {"optimizer": SGD, **CONVERGED},
    "decoupled, converged": {"optimizer": ADAM, "how": "decoupled", **CONVERGED},
    "sgd decoupled, converged": {"optimizer": SGD, "how": "decoupled", **CONVERGED},
    "linear: sgd, 3000 epochs": {"optimizer": SGD, "epochs": 3000, "compile": True},
    "linear: adam, 3000 epochs": {"optimizer": ADAM, "epochs": 3000, "compile": True},
    "linear: exact": {"solver": "exact"},
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


def paths(
    training: str, data: tuple[str, ...] = DATA, rule: str = "balance"
) -> Iterator[tuple[str, str, PathResult | None]]:
    """Yield architecture, data set and the path on its grid, None where the rule finds none."""
    for name in data:
        X, y = rows_of(name)
        outputs = 1 if y.is_floating_point() else int(y.max()) + 1
        for architecture, make in nets(X.shape[1], outputs).items():
            settings = {"seeds": 1, "compile": False, **TRAININGS[training]}
            if training.startswith("linear") and architecture != "linear":
                continue
            if architecture == "convnet" and training.endswith("converged"):
                settings["epochs"] //= 3
            fit = functools.partial(fit_path, make, X, y, L2(1.0), folds=3, refit=False, **settings)
            strengths = RULES[rule](fit, y, training)
            yield architecture, name, strengths and fit(strengths=strengths)


def constant(y: Tensor) -> float:
    """Return the loss of the best constant."""
    if y.is_floating_point():
        return float(y.var(correction=0))
    return float(Categorical(torch.bincount(y).float()).entropy())


def doubling(fit: Callable[..., PathResult], y: Tensor, training: str) -> list[float] | None:
    top = fit(strengths=2).strengths[-1].item()
    tried = fit(strengths=[top * 2.0**k for k in range(-8, 7)])
    there = tried.fit_loss.mean((1, 2)) >= 0.99 * constant(y)
    there &= (tried.diverged < 0).all((1, 2))
    if not there[1:].any():
        return None
    return spaced(tried.strengths[1:][there[1:]][0].item(), 4.0)


def timescale(fit: Callable[..., PathResult], y: Tensor, training: str) -> list[float]:
    if training not in ("sgd", "decoupled"):
        raise SystemExit(f"--rule timescale has no meaning for {training}")
    settings = TRAININGS[training]
    given = settings["optimizer"].keywords
    rate, steps = given["lr"] / (1 - given.get("momentum", 0)), len(y) * 2 / 3 / 32
    return spaced(1 / (2 * rate * steps), math.log10(settings["epochs"]))


def spaced(top: float, decades: float) -> list[float]:
    return (top * torch.logspace(-decades, 0, 13, dtype=torch.float64)).tolist()


RULES = {"balance": lambda *_: 13, "doubling": doubling, "timescale": timescale}


def place(result: PathResult) -> str:
    """Return where the minimum lies: "inside", "at 0", "no better than 0" or "at the edge"."""
    choice = minimum(result)
    if choice.index == 0:
        return "at 0"
    if choice.at_edge:
        return "at the edge"
    return "no better than 0" if choice.index == 1 else "inside"


def without_penalty(result: PathResult) -> tuple[float, float]:
    """Return how much strength 0 still falls and how far it is past its best, in constants."""
    unit = constant(result.targets)
    train, held = result.train_loss[0].mean((0, 1)), curve_by_epoch(result)
    quarter = len(train) // 4
    falls = train[-2 * quarter : -quarter].mean() - train[-quarter:].mean() if quarter else 0.0
    return float(falls) / unit, float(held[-1] - held.min()) / unit


def curve_by_epoch(result: PathResult) -> Tensor:
    rows = torch.bincount(result.folds).double()
    return torch.einsum("fe,f->e", result.valid_loss[0].double().mean(1), rows / rows.sum())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--training", choices=TRAININGS, nargs="+", help="only these")
    parser.add_argument("--rule", choices=RULES, default="balance")
    options = parser.parse_args()
    torch.set_num_threads(1)
    counts: dict[str, Counter[str]] = {}
    print(
        "| training | architecture | data | largest strength | decades below it | still falls | "
        "past its best | minimum |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for training in options.training or TRAININGS:
        counts[training] = Counter()
        for architecture, name, result in paths(training, rule=options.rule):
            row = [training, architecture, name]
            if result is None:
                where = "no grid found"
                row += ["-"] * 4
            else:
                top, best = result.strengths[-1].item(), minimum(result).strength
                falls, past = without_penalty(result)
                where = place(result)
                row += [f"{top:.2g}", f"{math.log10(top / best):.1f}" if best else "-"]
                row += [f"{falls:.1%}", f"{past:.1%}"]
            counts[training][where] += 1
            print(f"| {' | '.join([*row, where])} |", flush=True)
    print()
    for training, places in counts.items():
        shares = ", ".join(f"{where} {count}" for where, count in places.most_common())
        print(f"{training}: {shares}, of {places.total()}")
