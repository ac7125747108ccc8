"""The same members with ``shrinkage.engine.fit_path``, one call."""

from __future__ import annotations

import time

from benchmarks import rivals

# isort: split
import numpy as np
import torch
from torch import nn

from shrinkage.engine import Progress, fit_path
from shrinkage.penalties import L2

IMPORTED = time.perf_counter()


def main() -> None:
    options = rivals.arguments("ours")
    problem = rivals.load(options.problem, options.epochs)
    model = nn.Sequential(
        nn.Linear(problem.features, rivals.HIDDEN),
        nn.ReLU(),
        nn.Linear(rivals.HIDDEN, rivals.CLASSES),
    )
    stage_seconds = {"check": 0.0, "compile": 0.0, "train": 0.0}
    start = last = time.perf_counter()
    stage = "check"

    def watch(progress: Progress) -> None:
        """A report opens a stage or closes a part of the training."""
        nonlocal last, stage
        now = time.perf_counter()
        stage_seconds[stage] += now - last
        last, stage = now, progress.stage

    result = fit_path(
        model,
        torch.from_numpy(problem.X),
        torch.from_numpy(problem.y),
        L2(1.0),
        strengths=rivals.STRENGTHS[1:].tolist(),
        folds=problem.folds,
        seeds=[rivals.SEED],
        epochs=problem.epochs,
        batch_size=rivals.BATCH,
        refit=False,
        progress=watch,
    )
    whole = time.perf_counter() - start
    if not np.allclose(result.strengths.numpy(), rivals.STRENGTHS):
        raise SystemExit(f"other strengths were trained: {result.strengths.tolist()}")
    startup = stage_seconds["check"] + stage_seconds["compile"]
    rivals.report(
        options,
        problem,
        result.valid_loss[..., -1].mean(dim=(1, 2)).numpy(),
        import_s=IMPORTED - rivals.STARTED,
        compile_s=startup,
        run_s=whole - startup,
        note=str(result.about.get("engine", "")),
    )


if __name__ == "__main__":
    main()
