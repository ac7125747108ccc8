"""skorch's ``NeuralNetClassifier`` under ``GridSearchCV``, one fit per core."""

from __future__ import annotations

import time

from benchmarks import rivals

# isort: split
import os

import torch
from joblib import parallel_config
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from skorch import NeuralNetClassifier
from torch import nn

IMPORTED = time.perf_counter()


def main() -> None:
    options = rivals.arguments("skorch_grid")
    problem = rivals.load(options.problem, options.epochs)
    torch.set_num_threads(1)
    torch.manual_seed(rivals.SEED)
    net = NeuralNetClassifier(
        nn.Sequential(
            nn.Linear(problem.features, rivals.HIDDEN),
            nn.ReLU(),
            nn.Linear(rivals.HIDDEN, rivals.CLASSES),
        ),
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=rivals.LEARNING_RATE,
        batch_size=rivals.BATCH,
        max_epochs=problem.epochs,
        iterator_train__shuffle=True,
        train_split=None,
        verbose=0,
    )
    decays = [[("*.weight", {"weight_decay": 2.0 * strength})] for strength in rivals.STRENGTHS]
    search = GridSearchCV(
        net,
        {"optimizer__param_groups": decays},
        scoring="neg_log_loss",
        cv=PredefinedSplit(problem.folds),
        n_jobs=len(os.sched_getaffinity(0)),
        refit=False,
        error_score="raise",
    )
    start = time.perf_counter()
    with parallel_config(backend="multiprocessing"):  # forked: torch is not imported again
        search.fit(problem.X, problem.y)
    rivals.report(
        options,
        problem,
        -search.cv_results_["mean_test_score"],
        import_s=IMPORTED - rivals.STARTED,
        compile_s=0.0,
        run_s=time.perf_counter() - start,
    )


if __name__ == "__main__":
    main()
