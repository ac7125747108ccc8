"""The tutorial's loop: DataLoader, penalty in the loss, one member after another.

The whole takes minutes, so a sample of strengths is trained, over all folds, and the time is
extrapolated by the number of members; ``--strengths 32`` trains them all. One thread:
torch's default (``--threads 4``) was slower on a quiet machine and collapses on a busy one.
"""

from __future__ import annotations

import time

from benchmarks import rivals

# isort: split
import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

IMPORTED = time.perf_counter()


def train(problem: rivals.Problem, strength: float, fold: int) -> float:
    """Train one member and return its validation loss."""
    torch.manual_seed(rivals.SEED)
    train_rows, valid_rows = problem.split(fold)
    X, y = torch.from_numpy(problem.X), torch.from_numpy(problem.y)
    loader = DataLoader(
        TensorDataset(X[train_rows], y[train_rows]), batch_size=rivals.BATCH, shuffle=True
    )
    model = nn.Sequential(
        nn.Linear(problem.features, rivals.HIDDEN),
        nn.ReLU(),
        nn.Linear(rivals.HIDDEN, rivals.CLASSES),
    )
    loss_function = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=rivals.LEARNING_RATE)
    for _ in range(problem.epochs):
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = loss_function(model(inputs), targets)
            penalty = 0.0
            for name, parameter in model.named_parameters():
                if name.endswith("weight"):
                    penalty = penalty + (parameter**2).sum()
            loss = loss + strength * penalty
            loss.backward()
            optimizer.step()
    with torch.no_grad():
        return loss_function(model(X[valid_rows]), y[valid_rows]).item()


def main() -> None:
    options = rivals.arguments(
        "tutorial",
        strengths="how many of the 32 strengths (default 2)",
        threads="threads of torch (default 1)",
    )
    torch.set_num_threads(options.threads or 1)
    problem = rivals.load(options.problem, options.epochs)
    count = options.strengths or 2
    all_strengths = len(rivals.STRENGTHS)
    sample = [(i + 1) * all_strengths // count - 1 for i in range(count)]
    start = time.perf_counter()
    losses = np.full((all_strengths, rivals.FOLDS), np.nan)
    for k in sample:
        for fold in range(rivals.FOLDS):
            losses[k, fold] = train(problem, float(rivals.STRENGTHS[k]), fold)
    members_run = count * rivals.FOLDS
    rivals.report(
        options,
        problem,
        losses.mean(axis=1),
        import_s=IMPORTED - rivals.STARTED,
        compile_s=0.0,
        run_s=time.perf_counter() - start,
        members_run=members_run,
        note=f"{members_run} of {problem.members} members timed, the rest extrapolated"
        if members_run < problem.members
        else "",
    )


if __name__ == "__main__":
    main()
