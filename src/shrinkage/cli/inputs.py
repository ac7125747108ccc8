"""From options to what they name: penalty, strengths, data. A wrong name is wrong usage."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from shrinkage.cli.exits import usage
from shrinkage.cli.options import PathOptions
from shrinkage.coupling import resolve_coupling
from shrinkage.data import BUILT_IN, Dataset, load_data, split_test
from shrinkage.engine.plan import make_strengths
from shrinkage.errors import ShrinkageError
from shrinkage.penalties import Penalty, catalogue

if TYPE_CHECKING:
    from rich.console import Console

N_STRENGTHS = 20


def make_penalty(job: PathOptions) -> tuple[Penalty, str]:
    """Return the penalty and its coupling."""
    known = catalogue()
    with usage("--penalty"):
        if job.penalty not in known:
            raise ShrinkageError(
                f"unknown penalty {job.penalty!r}. Choose from {', '.join(sorted(known))}."
            )
    penalty = known[job.penalty](1.0)
    how = "decoupled" if job.optimizer == "adamw" and penalty.smooth else None
    return penalty, resolve_coupling(job.how or how, penalty)


def read_strengths(job: PathOptions, side: Console) -> int | list[float]:
    """Return how many strengths to find, or the given ones, sorted, with 0 in front."""
    if job.strengths is None:
        return job.n_strengths or N_STRENGTHS
    with usage("--strengths"):
        if job.n_strengths is not None:
            raise ShrinkageError("give a list, or a number with --n-strengths, not both.")
        try:
            given = [float(text) for text in job.strengths.split(",")]
        except ValueError:
            raise ShrinkageError(
                f"{job.strengths!r} is not a list of numbers; write 1e-5,1e-4,1e-3."
            ) from None
        kept = make_strengths(given).tolist()
    if given != sorted(given):
        side.print("Note: the strengths were sorted.", style="yellow")
    return kept


def read_data(job: PathOptions) -> tuple[Dataset, Dataset, dict[str, Any]]:
    """Return training part, test part, and what the manifest says of them."""
    if job.data not in BUILT_IN and not os.path.lexists(job.data):
        with usage("--data"):
            load_data(job.data)
    loaded = load_data(job.data)
    train, test = split_test(loaded, seed=job.seed)
    facts = {
        "name": loaded.name,
        "sha256": loaded.sha256,
        "task": loaded.task,
        "rows": len(train.y),
        "test_rows": len(test.y),
        "test_part": "its own" if loaded.test else f"a stratified fifth, seed {job.seed}",
        "features": train.X.shape[1],
        "outputs": train.outputs,
    }
    if len(train.feature_shape) == 1:
        train, test, scales = _standardized(train, test)
        facts["standardized"] = scales
    return train, test, facts


def _standardized(train: Dataset, test: Dataset) -> tuple[Dataset, Dataset, dict[str, Any]]:
    """Bring the columns of a table, and numeric targets, to mean 0 and deviation 1 in training."""
    scales = {"X": _mean_and_deviation(train.X)}
    if train.task == "regression":
        scales["y"] = _mean_and_deviation(train.y)
    train, test = (
        replace(
            part, **{name: (getattr(part, name) - mean) / sd for name, (mean, sd) in scales.items()}
        )
        for part in (train, test)
    )
    as_lists = {name: {"mean": m.tolist(), "sd": sd.tolist()} for name, (m, sd) in scales.items()}
    return train, test, as_lists


def _mean_and_deviation(values: Tensor) -> tuple[Tensor, Tensor]:
    deviation = values.std(0, correction=0)
    return values.mean(0), torch.where(deviation > 0, deviation, 1.0)
