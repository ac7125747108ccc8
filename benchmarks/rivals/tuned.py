"""The loop as a careful user writes it: no DataLoader, fused Adam, one member per core.

Rows are shuffled once per epoch and sliced; the penalty is the optimizer's own ``weight_decay``
(twice the strength, on the weights only); each process has one thread. The workers are forked
after torch is imported, which spares each of them the import (joblib's default backend starts
fresh interpreters instead; ``--fresh 1`` measures that).
"""

from __future__ import annotations

import time

from benchmarks import rivals

# isort: split
import os

import numpy as np
import torch
from joblib import Parallel, delayed
from torch import nn
from torch.nn import functional

IMPORTED = time.perf_counter()


def train(name: str, epochs: int | None, strength: float, fold: int) -> float:
    """Train one member on one thread and return its validation loss."""
    problem = rivals.load(name, epochs)
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(rivals.SEED)
    X, y = torch.from_numpy(problem.X), torch.from_numpy(problem.y)
    train_rows, valid_rows = (torch.from_numpy(rows) for rows in problem.split(fold))
    first = nn.Linear(problem.features, rivals.HIDDEN)
    second = nn.Linear(rivals.HIDDEN, rivals.CLASSES)
    optimizer = torch.optim.Adam(
        [
            {"params": [first.weight, second.weight], "weight_decay": 2.0 * strength},
            {"params": [first.bias, second.bias]},
        ],
        lr=rivals.LEARNING_RATE,
        fused=True,
    )
    for _ in range(problem.epochs):
        order = train_rows[torch.randperm(len(train_rows))]
        batches = zip(X[order].split(rivals.BATCH), y[order].split(rivals.BATCH), strict=True)
        for inputs, targets in batches:
            functional.cross_entropy(second(first(inputs).relu_()), targets).backward()
            optimizer.step()
            optimizer.zero_grad()
    with torch.no_grad():
        outputs = second(first(X[valid_rows]).relu_())
        return functional.cross_entropy(outputs, y[valid_rows]).item()


def main() -> None:
    options = rivals.arguments("tuned", fresh="1: fresh workers (loky) instead of forked ones")
    problem = rivals.load(options.problem, options.epochs)
    torch.set_num_threads(1)
    backend = "loky" if options.fresh else "multiprocessing"
    cores = len(os.sched_getaffinity(0))
    start = time.perf_counter()
    with Parallel(n_jobs=cores, backend=backend) as parallel:
        parallel(delayed(torch.set_num_threads)(1) for _ in range(cores))
        ready = time.perf_counter()
        losses = parallel(
            delayed(train)(options.problem, options.epochs, float(strength), fold)
            for strength in rivals.STRENGTHS
            for fold in range(rivals.FOLDS)
        )
        trained = time.perf_counter()
    rivals.report(
        options,
        problem,
        np.array(losses).reshape(len(rivals.STRENGTHS), rivals.FOLDS).mean(axis=1),
        import_s=IMPORTED - rivals.STARTED,
        compile_s=ready - start,
        run_s=trained - ready,
    )


if __name__ == "__main__":
    main()
