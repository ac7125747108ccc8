"""Where compiled steps are kept between runs, and the key that makes one safe to use again."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch
from torch import Tensor, nn

from shrinkage.disk.private import Shelf, is_private_folder
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.member.update import Update
from shrinkage.identity import UnidentifiedError, identity, source_digest
from shrinkage.result.points import with_arguments

STEP_IS_IN = (
    "engine/member/*.py",
    "engine/run/compiled.py",
    "penalties/*.py",
    "result/points.py",
    "rows/*.py",
    "tensors/*.py",
    "coupling.py",
    "parameters.py",
)
"""The rooms whose code may be inlined in a compiled step."""


def cache_directory() -> Path | None:
    """Return the private folder of compiled steps, or None if none can be made.

    The folder holds native code, so it must belong to this user and be writable by nobody else.
    ``SHRINKAGE_CACHE`` names another place than ``$XDG_CACHE_HOME/shrinkage``.
    """
    chosen, base = os.environ.get("SHRINKAGE_CACHE"), os.environ.get("XDG_CACHE_HOME")
    try:
        usual = Path(base) if base else Path("~", ".cache").expanduser()
        directory = Path(chosen) if chosen else usual / "shrinkage"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # no such place, or no home
        return None
    return directory if is_private_folder(directory) and os.access(directory, os.W_OK) else None


def step_shelf(
    model: nn.Module, problem: Problem, update: Update, inputs: list[Tensor]
) -> Shelf | None:
    """Return where the compiled step is kept, or None if it cannot be.

    Args:
        model: The module in training mode.
        problem: What to train.
        update: The optimizer.
        inputs: One call's arguments, for their shapes.
    """
    directory, key = cache_directory(), step_key(model, problem, update, inputs)
    return Shelf(directory, key, ".pt2") if directory and key else None


def step_sources() -> list[Path]:
    """Return the files of this package that a compiled step is made from: whole rooms."""
    package = Path(__file__).parents[2]
    return sorted(file for place in STEP_IS_IN for file in package.glob(place))


def step_key(
    model: nn.Module, problem: Problem, update: Update, inputs: list[Tensor]
) -> str | None:
    """Return a name for the compiled step, or None if its code cannot be identified.

    It depends on everything the step is made of: versions, processor, the code and attributes
    of the model and the loss, this package, every setting, and the shapes.
    """
    inputs_too = {"lr", *problem.knobs}
    settings = {name: value for name, value in update.settings.items() if name not in inputs_too}
    penalty = with_arguments(
        problem.penalty.at(1.0), dict.fromkeys(problem.knobs, 0.0), checked=False
    )
    try:
        facts = [
            torch.__version__,
            torch.backends.cpu.get_cpu_capability(),
            [source_digest(source) for source in step_sources()],
            identity([model, problem.loss, penalty]),
            identity([settings, problem.selected, problem.how]),
            identity([problem.knobs, problem.draws, problem.normalizes, problem.autocast]),
            [(tuple(t.shape), t.dtype, t.stride(), t.device) for t in inputs],
        ]
    except (UnidentifiedError, OSError, RecursionError):
        return None
    return hashlib.sha256(repr(facts).encode()).hexdigest()
