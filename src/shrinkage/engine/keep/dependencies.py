"""All that the numbers of a member depend on, for a checkpoint that must be of the same run."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import torch

from shrinkage._version import __version__
from shrinkage.engine.member.member import model_tensors
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.plan.plan import Plan
from shrinkage.identity import fingerprint, hash_of, named


def dependencies(problem: Problem, plan: Plan) -> dict[str, str]:
    """Return all that a member's numbers depend on besides its point, fold, seed and epochs."""
    model, penalty = problem.build(0), problem.penalty.at(1.0)
    rows = [problem.X, *problem.views.by_fold, problem.y]
    weights = [] if problem.row_weights is None else [problem.row_weights]
    augmented = {"augmented": problem.augmented.fact} if problem.augmented else {}
    return augmented | {
        "data": f"{len(problem.X)} rows, {hash_of(*rows, *weights)[:16]}",
        "preprocess": str((problem.views.facts or {}).get("transformer")),
        "model": " ".join(str(model).split()),
        "code and attributes of the model": fingerprint(model, "model"),
        "initial weights": hash_of(*model_tensors(model).values())[:16],
        "loss": f"{problem.loss_name} {fingerprint(problem.loss, 'loss', weights=True)}",
        "penalty": f"{penalty!r} {fingerprint(penalty, 'penalty')}",
        "on": ", ".join(problem.selected),
        "how": problem.how,
        "optimizer": made_by(problem.optimizer, "optimizer"),
        "scheduler": made_by(problem.scheduler, "scheduler"),
        "batch_size": str(plan.batch_size),
        "autocast": str(problem.autocast),
        **versions(),
    }


def versions() -> dict[str, str]:
    """Return the versions on which numbers and compiled code depend."""
    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "shrinkage": __version__,
    }


def made_by(make: Callable[..., Any] | None, what: str) -> str:
    """Return the name of what makes an optimizer or a scheduler, and the hash of its code."""
    return "none" if make is None else f"{named(make)} {fingerprint(make, what)}"
