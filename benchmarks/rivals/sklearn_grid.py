"""scikit-learn's own network under ``GridSearchCV``, one fit per core.

Its penalty is alpha / (2 * batch size) * sum of squares, so alpha = 2 * 32 * strength. Its own
initial weights are 1.4 to 2.4 times as large as torch's, and its losses then lie 8% off; here it
starts as torch does.
"""

from __future__ import annotations

import time

from benchmarks import rivals

# isort: split
import os
import warnings
from typing import Any

import numpy as np
from sklearn.model_selection import GridSearchCV, PredefinedSplit
from sklearn.neural_network import MLPClassifier

IMPORTED = time.perf_counter()


class Network(MLPClassifier):
    """scikit-learn's, starting from torch's initial weights."""

    def _init_coef(self, fan_in: int, fan_out: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
        bound = fan_in**-0.5
        weights = self._random_state.uniform(-bound, bound, (fan_in, fan_out))
        return weights.astype(dtype), self._random_state.uniform(-bound, bound, fan_out).astype(
            dtype
        )


def main() -> None:
    options = rivals.arguments("sklearn_grid")
    problem = rivals.load(options.problem, options.epochs)
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", PYTHONWARNINGS="ignore")
    warnings.simplefilter("ignore")  # the iterations end before convergence: that is the task
    network = Network(
        (rivals.HIDDEN,),
        batch_size=rivals.BATCH,
        learning_rate_init=rivals.LEARNING_RATE,
        max_iter=problem.epochs,
        n_iter_no_change=problem.epochs + 1,
        random_state=rivals.SEED,
    )
    grid = {"alpha": (2 * rivals.BATCH * rivals.STRENGTHS).tolist()}
    cores = len(os.sched_getaffinity(0))
    search = GridSearchCV(
        network,
        grid,
        scoring="neg_log_loss",
        cv=PredefinedSplit(problem.folds),
        n_jobs=cores,
        refit=False,
    )
    start = time.perf_counter()
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
