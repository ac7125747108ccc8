"""What a run is, in words: for its result, and for the checkpoint that must be of the same run."""

from __future__ import annotations

import functools
import hashlib
import inspect
from typing import Any

import torch
from torch import Tensor, nn

from shrinkage._version import __version__
from shrinkage.engine.member.member import model_tensors
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.plan.plan import Plan
from shrinkage.identity import hash_of, named


def dependencies(problem: Problem, plan: Plan) -> dict[str, str]:
    """Return all that a member's numbers depend on besides its point, fold, seed and epochs."""
    model = problem.build(0)
    rows = [problem.X, problem.y]
    weights = [] if problem.row_weights is None else [problem.row_weights]
    augmented = {"augmented": problem.augmented.fact} if problem.augmented else {}
    return augmented | {
        "data": f"{len(problem.X)} rows, {hash_of(*rows, *weights)[:16]}",
        "preprocess": str((problem.views.facts or {}).get("transformer")),
        "model": " ".join(str(model).split()),
        "code of the model": _code_digest({type(module) for module in model.modules()}),
        "initial weights": hash_of(*model_tensors(model).values())[:16],
        "loss": f"{problem.loss_name} {_code_digest({problem.loss})} {_settings(problem.loss)}",
        "penalty": repr(problem.penalty.at(1.0)),
        "on": ", ".join(problem.selected),
        "how": problem.how,
        "optimizer": named(problem.optimizer),
        "scheduler": named(problem.scheduler) if problem.scheduler else "none",
        "batch_size": str(plan.batch_size),
        "autocast": str(problem.autocast),
        "torch": torch.__version__,
        "shrinkage": __version__,
    }


def _code_digest(things: set[Any]) -> str:
    """Return a hash of the source of classes and functions; torch's own are known by version."""
    sources = []
    for thing in things:
        module = getattr(thing, "__module__", "")
        name = f"{module}.{getattr(thing, '__qualname__', type(thing).__qualname__)}"
        own = not module.startswith("torch.") and not isinstance(thing, nn.Module)
        try:
            sources.append(name + (inspect.getsource(thing) if own else ""))
        except (OSError, TypeError):
            sources.append(name)
    return hashlib.sha256("\n".join(sorted(sources)).encode()).hexdigest()[:16]


def _settings(loss: Any) -> str:
    """Return the numbers and texts among the attributes of a loss, or of the module it wraps."""
    thing = getattr(loss, "module", loss)
    if isinstance(thing, functools.partial):
        return named(thing)
    held = {**getattr(thing, "__dict__", {}), **getattr(thing, "_buffers", {})}
    plain = {n: v.tolist() if isinstance(v, Tensor) else v for n, v in held.items() if n[0] != "_"}
    return str({n: v for n, v in plain.items() if isinstance(v, (bool, int, float, str, list))})
