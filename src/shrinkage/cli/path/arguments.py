"""What ``shrinkage path`` alone reads from its options: penalty, strengths, knobs, solver."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import torch

from shrinkage.cli.exits import usage
from shrinkage.cli.learning import make_optimizer, make_scheduler
from shrinkage.cli.path.options import PathOptions
from shrinkage.cli.screens import warnings_as_notes
from shrinkage.coupling import resolve_coupling
from shrinkage.engine.member.given import Grid, check_grid, make_strengths
from shrinkage.errors import ShrinkageError, choose_from
from shrinkage.penalties import Penalty, catalogue

if TYPE_CHECKING:
    from rich.console import Console

N_STRENGTHS = 20
BY_STEPS = {
    *("batch_size", "bfloat16", "checkpoint", "compile", "epochs"),
    *("how", "lr", "optimizer", "scheduler", "seeds"),
}
"""What has no meaning for the exact solver."""


def make_penalty(job: PathOptions) -> tuple[Penalty, str | None]:
    """Return the penalty and its coupling; the exact solver has none."""
    known = catalogue()
    with usage("--penalty"):
        if job.penalty not in known:
            name, _, strength = job.penalty.lower().partition(":")
            if name in known and strength:
                hint = f"strengths are a separate option: --penalty {name} --strengths {strength}."
            else:
                hint = choose_from(job.penalty, sorted(known))
            raise ShrinkageError(f"unknown penalty {job.penalty!r}; {hint}")
    penalty = known[job.penalty](1.0)
    if job.solver == "exact":
        return penalty, None
    how = "decoupled" if job.optimizer == "adamw" and penalty.smooth else None
    return penalty, resolve_coupling(job.how or how, penalty)


def read_strengths(job: PathOptions, side: Console) -> int | list[float]:
    """Return how many strengths to find, or the given ones, sorted, with 0 in front.

    0 alone is for knobs: they are compared without a penalty.
    """
    if job.strengths is None:
        return job.n_strengths or N_STRENGTHS
    with usage("--strengths"):
        if job.n_strengths is not None:
            raise ShrinkageError("give either a list or --n-strengths, not both.")
        try:
            given = [float(text) for text in job.strengths.split(",")]
        except ValueError:
            raise ShrinkageError(
                f"{job.strengths!r} is not a list of numbers; write 1e-5,1e-4,1e-3."
            ) from None
        with warnings_as_notes(side):
            kept = given if job.grid and given == [0] else make_strengths(given).tolist()
    if given != sorted(given):
        side.print("Note: the strengths were sorted.", style="yellow")
    if job.strengths.isdecimal() and given[0] >= 2:
        says = (
            f"Note: this is one strength, {job.strengths}; for {job.strengths} strengths use "
            f"--n-strengths {job.strengths}."
        )
        side.print(says, style="yellow")
    return kept


def read_grid(job: PathOptions, penalty: Penalty) -> Grid:
    """Return lists of values and ranges (low, high) by the name of the knob."""
    grid: dict[str, Sequence[float]] = {}
    with usage("--grid"):
        for text in job.grid or ():
            name, _, values = text.partition("=")
            if name == "strength":
                raise ShrinkageError("the strength is no knob; give it by --strengths.")
            if name in grid:
                raise ShrinkageError(f"{name!r} is given twice; put all its values into one list.")
            grid[name] = _numbers(text, values)
        check_grid(grid, job.draws, penalty, job.epochs)
    return grid


def _numbers(text: str, values: str) -> Sequence[float]:
    low, dots, high = values.partition("..")
    try:
        return (float(low), float(high)) if dots else [float(part) for part in values.split(",")]
    except ValueError:
        raise ShrinkageError(
            f"{text!r} is not a knob with numbers; write dropout=0,0.2,0.5 or a range "
            "lr=1e-4..1e-2."
        ) from None


def combinations_of(grid: Grid, draws: int | None) -> int:
    """Return how many combinations of knobs there will be."""
    return draws or math.prod(map(len, grid.values()))


def check_solver(job: PathOptions, penalty: Penalty) -> None:
    """Refuse the exact solver where it cannot be used, or beside options of the other."""
    if job.solver == "steps":
        return
    with usage("--solver"):
        if job.model.partition(":")[0] in ("mlp", "cnn"):
            raise ShrinkageError(
                f"exact needs a model that is linear in its parameters, and {job.model} has "
                "hidden layers; add --model linear."
            )
        if not penalty.convex:
            raise ShrinkageError(f"exact needs a convex penalty, and {job.penalty} is not convex.")
        for field in fields(job):
            if field.name in BY_STEPS and getattr(job, field.name) != field.default:
                option = f"--{field.name.replace('_', '-')}"
                raise ShrinkageError(f"exact takes no steps; leave {option} out.")


def training_of(job: PathOptions, how: str | None) -> dict[str, Any]:
    """Return how members are fit, as arguments of `fit_path`."""
    if job.solver == "exact":
        return {"solver": "exact"}
    return {
        "how": how,
        "seeds": range(job.seed * job.seeds, (job.seed + 1) * job.seeds),
        "epochs": job.epochs,
        "batch_size": job.batch_size,
        "optimizer": make_optimizer(job),
        "scheduler": make_scheduler(job),
        "autocast": torch.bfloat16 if job.bfloat16 else None,
    }
