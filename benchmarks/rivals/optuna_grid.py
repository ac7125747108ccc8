"""Optuna over the same grid: one trial a strength, the tuned loop inside, one process per core."""

from __future__ import annotations

import time

from benchmarks import rivals

# isort: split
import os
import tempfile

import numpy as np
import optuna
from joblib import Parallel, delayed
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from benchmarks.rivals.tuned import train

IMPORTED = time.perf_counter()


def work(journal: str, name: str, epochs: int | None) -> None:
    """Take trials until the grid is used up."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(
        study_name="path",
        storage=JournalStorage(JournalFileBackend(journal)),
        sampler=optuna.samplers.GridSampler({"strength": rivals.STRENGTHS.tolist()}),
    )

    def objective(trial: optuna.Trial) -> float:
        strength = trial.suggest_float("strength", 0.0, 1.0)
        return float(np.mean([train(name, epochs, strength, f) for f in range(rivals.FOLDS)]))

    study.optimize(objective)


def main() -> None:
    options = rivals.arguments("optuna_grid")
    problem = rivals.load(options.problem, options.epochs)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    cores = len(os.sched_getaffinity(0))
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        journal = f"{directory}/journal"
        study = optuna.create_study(
            study_name="path", storage=JournalStorage(JournalFileBackend(journal))
        )
        Parallel(n_jobs=cores, backend="multiprocessing")(
            delayed(work)(journal, options.problem, options.epochs) for _ in range(cores)
        )
        trials = study.get_trials(states=[optuna.trial.TrialState.COMPLETE])
    losses = {trial.params["strength"]: trial.value for trial in trials}
    rivals.report(
        options,
        problem,
        np.array([losses[strength] for strength in rivals.STRENGTHS.tolist()]),
        import_s=IMPORTED - rivals.STARTED,
        compile_s=0.0,
        run_s=time.perf_counter() - start,
        note=f"{len(trials)} trials" if len(trials) > len(rivals.STRENGTHS) else "",
    )


if __name__ == "__main__":
    main()
