"""Where compiled steps are kept between runs, and the key that makes one safe to use again."""

from __future__ import annotations

import hashlib
import inspect
import os
import stat
from collections.abc import Iterable
from pathlib import Path

import torch
from torch import Tensor, nn

import shrinkage
from shrinkage.engine.problem import Problem
from shrinkage.engine.update import Update


def cache_directory() -> Path | None:
    """Return the private folder of compiled steps, or None if there can be none.

    The folder holds native code, so it must belong to this user and be writable by nobody else.
    ``SHRINKAGE_CACHE`` names another place than ``$XDG_CACHE_HOME/shrinkage``.
    """
    chosen = os.environ.get("SHRINKAGE_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    directory = Path(chosen) if chosen else Path(base, "shrinkage")
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return None
    return directory if is_private(directory) and os.access(directory, os.W_OK) else None


def is_private(path: Path) -> bool:
    """Return whether ``path`` belongs to this user and nobody else can write to it."""
    status = path.lstat()
    others_write = status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    return status.st_uid == os.getuid() and not others_write and not stat.S_ISLNK(status.st_mode)


def step_key(
    model: nn.Module, problem: Problem, update: Update, inputs: list[Tensor]
) -> str | None:
    """Return a name for the compiled step, or None if its code cannot be identified.

    It depends on everything the step is made of: versions, processor, threads, the source of
    the model, the loss and this package, every setting, and the shapes.
    """
    package = Path(shrinkage.__file__).parent
    sources = [package / "coupling.py", *(package / "penalties").glob("*.py")]
    sources += [
        package / "engine" / name for name in ("step.py", "update.py", "loss.py", "compiled.py")
    ]
    objects: list[object] = [problem.loss, type(problem.penalty)]
    objects += {type(module) for module in model.modules() if not _is_torch(module)}
    try:
        sources += sorted({Path(inspect.getfile(_unwrapped(o))) for o in objects})  # type: ignore[arg-type]
        texts = [source.read_bytes() for source in sorted(sources)]
    except (TypeError, OSError):
        return None
    facts = [
        torch.__version__,
        torch.backends.cpu.get_cpu_capability(),
        repr(model),
        [(name, _plain_attributes(module)) for name, module in model.named_modules()],
        [(name, p.requires_grad) for name, p in model.named_parameters()],
        problem.penalty.at(1.0),
        problem.selected,
        problem.how,
        getattr(problem.loss, "__qualname__", repr(problem.loss)),
        sorted((k, v) for k, v in update.settings.items() if k != "lr"),
        [(tuple(t.shape), t.dtype, t.stride(), t.device) for t in inputs],
    ]
    return _digest([repr(facts).encode(), *texts])


def _digest(parts: Iterable[bytes]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()


def _unwrapped(thing: object) -> object:
    return getattr(thing, "__wrapped__", thing)


def _is_torch(module: nn.Module) -> bool:
    return type(module).__module__.startswith("torch.nn.")


def _plain_attributes(module: nn.Module) -> list[tuple[str, str]]:
    plain = (bool, int, float, str, tuple, list, type(None))
    return sorted((k, repr(v)) for k, v in vars(module).items() if isinstance(v, plain))
