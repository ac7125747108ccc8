"""The mapped step made fast: the only vmap and the only compiler in this package.

In order: a package compiled ahead of time, from the cache or made now; ``torch.compile``; plain
eager. Each changes the stacked members in place and gives the same numbers to rounding.
"""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import torch
from torch import Tensor, nn
from torch.func import vmap

from shrinkage.engine.cache import cache_directory, is_private, step_key
from shrinkage.engine.problem import Problem
from shrinkage.engine.step import Member, make_step
from shrinkage.engine.update import Update

Run: TypeAlias = Callable[[list[Tensor]], object]


@dataclass(frozen=True, eq=False)
class Stepper:
    """A step of a whole chunk.

    Attributes:
        kind: "compiled" or "eager".
        run: Takes the leaves of the stacked members, then strengths (K,), learning rate (),
            X, y, rows (G, B), weights (G, B); changes the leaves in place.
    """

    kind: str
    run: Run


def leaves(member: Member) -> list[Tensor]:
    """Return the tensors of a member in a fixed order."""
    slots = [slot for state in member.slots.values() for slot in state]
    tail = [member.count, member.diverged, member.total]
    return [*member.params.values(), *member.fixed.values(), *slots, *tail]


def _rebuilt(like: Member, flat: list[Tensor]) -> Member:
    rest = iter(flat)
    params = {name: next(rest) for name in like.params}
    fixed = {name: next(rest) for name in like.fixed}
    slots = {name: tuple(next(rest) for _ in state) for name, state in like.slots.items()}
    return Member(params, fixed, slots, next(rest), next(rest), next(rest))


def eager_stepper(model: nn.Module, problem: Problem, update: Update, members: Member) -> Stepper:
    """Return the mapped step as plain operations.

    Args:
        model: The module in training mode.
        problem: What to train.
        update: The optimizer.
        members: The stacked members, axes (G, K, ...); only their names are used.
    """
    step = make_step(model, problem, update)
    strengths_mapped = vmap(step, in_dims=(0, 0, None, None, None, None))
    groups_mapped = vmap(strengths_mapped, in_dims=(0, None, None, 0, 0, 0))
    n = len(leaves(members))

    def run(flat: list[Tensor]) -> tuple[()]:
        before = _rebuilt(members, flat[:n])
        strength, lr, X, y, rows, weight = flat[n:]
        after = groups_mapped(before, strength, lr, X[rows], y[rows], weight)
        for old, new in zip(flat[:n], leaves(after), strict=True):
            old.copy_(new)
        return ()

    return Stepper("eager", run)


def compiled_stepper(
    model: nn.Module, problem: Problem, update: Update, members: Member, inputs: list[Tensor]
) -> Stepper:
    """Return the fastest step that this machine can make.

    Args:
        model: The module in training mode.
        problem: What to train.
        update: The optimizer.
        members: The stacked members.
        inputs: One call's arguments; read for their shapes, never changed.
    """
    eager = eager_stepper(model, problem, update, members)
    if cached_package(model, problem, update, inputs) is None and not _has_compiler():
        warnings.warn("no C++ compiler found: training runs uncompiled, slower.", stacklevel=2)
        return eager
    for make in (_packaged, _just_in_time):
        try:
            return Stepper("compiled", make(eager, model, problem, update, inputs))
        except Exception as error:  # noqa: BLE001 - compilers fail in every way; eager is always right
            reason = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    warnings.warn(f"the step could not be compiled, training runs slower ({reason}).", stacklevel=2)
    return eager


def cached_package(
    model: nn.Module, problem: Problem, update: Update, inputs: list[Tensor]
) -> Path | None:
    """Return the compiled step of an earlier run, if there is one."""
    path = _package_path(model, problem, update, inputs)
    return path if path is not None and path.exists() and is_private(path) else None


def _package_path(
    model: nn.Module, problem: Problem, update: Update, inputs: list[Tensor]
) -> Path | None:
    directory, key = cache_directory(), step_key(model, problem, update, inputs)
    return directory / f"{key}.pt2" if directory and key else None


def _packaged(
    eager: Stepper, model: nn.Module, problem: Problem, update: Update, inputs: list[Tensor]
) -> Run:
    path = _package_path(model, problem, update, inputs)
    if path is None:
        raise RuntimeError("no private cache folder")
    if not (path.exists() and is_private(path)):
        _compile_ahead(eager, inputs, path)
    return _load(path)


def _load(path: Path) -> Run:
    loader = torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 1, -1)  # type: ignore[attr-defined]
    return lambda flat: loader.boxed_run(list(flat))


def _compile_ahead(eager: Stepper, inputs: list[Tensor], path: Path) -> None:
    import torch._inductor
    from torch.fx.experimental.proxy_tensor import make_fx

    class Traced(nn.Module):
        def __init__(self, graph: Callable[[list[Tensor]], object]) -> None:
            super().__init__()
            self.graph = graph

        def forward(self, *flat: Tensor) -> object:
            return self.graph(list(flat))

    with warnings.catch_warnings(), tempfile.TemporaryDirectory(dir=path.parent) as scratch:
        warnings.simplefilter("ignore")
        copies = [t.clone() for t in inputs]
        graph = make_fx(eager.run, tracing_mode="real")(copies)
        program = torch.export.export(Traced(graph), tuple(copies), strict=False)
        package = os.path.join(scratch, "step.pt2")
        torch._inductor.aoti_compile_and_package(program, package_path=package)
        os.chmod(package, 0o600)
        os.replace(package, path)


def _just_in_time(
    eager: Stepper, model: nn.Module, problem: Problem, update: Update, inputs: list[Tensor]
) -> Run:
    compiled = torch.compile(lambda *flat: eager.run(list(flat)), dynamic=False, fullgraph=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled(*[t.clone() for t in inputs])
    return lambda flat: compiled(*flat)


def _has_compiler() -> bool:
    from shutil import which

    return which(os.environ.get("CXX", "g++")) is not None or which("clang++") is not None
