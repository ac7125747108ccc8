"""Ray Tune over the same grid: one trial a strength, the tuned loop inside, one worker per core."""

from __future__ import annotations

import time

from benchmarks import rivals

# isort: split
import logging
import os
import tempfile

import numpy as np
import ray
from ray import tune

from benchmarks.rivals.tuned import train

IMPORTED = time.perf_counter()


def main() -> None:
    options = rivals.arguments("ray_tune")
    problem = rivals.load(options.problem, options.epochs)
    name, epochs = options.problem, options.epochs

    def objective(config: dict[str, float]) -> dict[str, float]:
        losses = [train(name, epochs, config["strength"], fold) for fold in range(rivals.FOLDS)]
        return {"loss": float(np.mean(losses))}

    start = time.perf_counter()
    ray.init(
        num_cpus=len(os.sched_getaffinity(0)),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    ready = time.perf_counter()
    with tempfile.TemporaryDirectory() as directory:
        results = tune.Tuner(
            tune.with_resources(objective, {"cpu": 1}),
            param_space={"strength": tune.grid_search(rivals.STRENGTHS.tolist())},
            run_config=tune.RunConfig(storage_path=directory, verbose=0),
        ).fit()
        losses = {r.config["strength"]: r.metrics["loss"] for r in results}
    rivals.report(
        options,
        problem,
        np.array([losses[strength] for strength in rivals.STRENGTHS.tolist()]),
        import_s=IMPORTED - rivals.STARTED,
        compile_s=ready - start,
        run_s=time.perf_counter() - ready,
    )


if __name__ == "__main__":
    main()
