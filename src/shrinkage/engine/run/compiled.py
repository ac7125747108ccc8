"""The mapped step made fast: the only compiler in this package.

In order: a package compiled ahead of time, from the cache or made now; ``torch.compile``; plain
eager. Each changes the stacked members in place and gives the same numbers to rounding.
"""

from __future__ import annotations

import os
import shutil
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import vmap
from torch.fx import GraphModule

from shrinkage.disk.private import Shelf
from shrinkage.engine.member.member import Member, leaves, rebuilt
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.member.step import Batch, make_step
from shrinkage.engine.member.update import Update
from shrinkage.errors import warn

Call: TypeAlias = Callable[[list[Tensor]], object]

OPTIONS: dict[str, Any] = {
    "cpp.threads": 1,
    "cpp.vec_isa_ok": True,
    "cpp.enable_floating_point_contract_flag": "fast",
}
"""One thread, since chunks run side by side; no trial of the instruction set (4 s); and products
and sums in one instruction (3% of a step)."""

AHEAD_OPTIONS: dict[str, Any] = {
    "aot_inductor.precompile_headers": False,
    "aot_inductor.compile_wrapper_opt_level": "O0",
    "aot_inductor.enable_line_tables": False,
}
"""Less work for the compiler, at no cost in speed."""


@dataclass(frozen=True, eq=False)
class Stepper:
    """A step of a whole chunk.

    Attributes:
        kind: "compiled" or "eager".
        call: Takes the leaves of the stacked members, then strengths and knobs, each (K,), then
            learning rate (), factors, count (), X, y, rows (B,), weights (B,), uniform (D,);
            changes the leaves in place.
    """

    kind: str
    call: Call


def eager_stepper(model: nn.Module, problem: Problem, update: Update, members: Member) -> Stepper:
    """Return the mapped step as plain operations.

    Args:
        model: The module in training mode.
        problem: What to train.
        update: The optimizer.
        members: The stacked members; only their names are used.
    """
    mapped = vmap(make_step(model, problem, update), in_dims=(0, 0, None))
    n, names = len(leaves(members)), ("strength", *problem.knobs)

    def call(flat: list[Tensor]) -> tuple[()]:
        point = dict(zip(names, flat[n:], strict=False))
        lr, factors, count, X, y, rows, weight, uniform = flat[n + len(names) :]
        batch = Batch(lr, factors, count, X[rows], y[rows], weight, uniform)
        after = mapped(rebuilt(members, flat[:n]), point, batch)
        for old, new in zip(flat[:n], leaves(after), strict=True):
            old.copy_(new)
        return ()

    return Stepper("eager", call)


def earlier_stepper(shelf: Shelf | None) -> Stepper | None:
    """Return the compiled step that an earlier run has left, if there is one."""
    package = shelf.found() if shelf else None
    if shelf is None or package is None:
        return None
    try:
        return Stepper("compiled", _load(package))
    except Exception:  # made for another machine
        shelf.clear()
        return None


def compiled_stepper(eager: Stepper, inputs: list[Tensor], shelf: Shelf | None) -> Stepper:
    """Return the fastest step that this machine can make.

    Args:
        eager: The plain step.
        inputs: One call's arguments; read for their shapes, never changed.
        shelf: Where to keep the compiled step, or None.
    """
    if not _has_compiler():
        warn("no compiler", "no C++ compiler was found; training runs uncompiled, which is slower.")
        return eager
    reason = "no private cache folder"
    for make in (_just_in_time,) if shelf is None else (_packaged, _just_in_time):
        try:
            return Stepper("compiled", make(eager, inputs, shelf))
        except Exception as error:  # compilers fail in every way, and plain eager is always right
            reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    warn("not compiled", f"the step could not be compiled; training runs slower ({reason}).")
    return eager


def _packaged(eager: Stepper, inputs: list[Tensor], shelf: Shelf | None) -> Call:
    assert shelf is not None
    return _load(shelf.make(lambda package: _compile_ahead(eager, inputs, package)))


def _load(path: Path) -> Call:
    loader = torch._C._aoti.AOTIModelPackageLoader(str(path), "model", False, 1, -1)
    return lambda flat: loader.boxed_run(list(flat))


def _compile_ahead(eager: Stepper, inputs: list[Tensor], package: Path) -> None:
    import torch._inductor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph, copies = _traced(eager, inputs)
        program = torch.export.export(graph, tuple(copies), strict=False)
        torch._inductor.aoti_compile_and_package(
            program, package_path=str(package), inductor_configs={**OPTIONS, **AHEAD_OPTIONS}
        )


def _just_in_time(eager: Stepper, inputs: list[Tensor], shelf: Shelf | None) -> Call:
    import torch._inductor

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        graph, copies = _traced(eager, inputs)
        compiled = torch._inductor.compile(graph, [*copies], options=OPTIONS)
        compiled(*copies)
    return lambda flat: compiled(*flat)


def _traced(eager: Stepper, inputs: list[Tensor]) -> tuple[GraphModule, list[Tensor]]:
    """Return the graph of one call, and copies of its arguments that may be changed."""
    from torch.fx.experimental.proxy_tensor import make_fx

    copies = [t.clone() for t in inputs]
    graph = make_fx(lambda *flat: eager.call(list(flat)), tracing_mode="real")(*copies)
    return graph, copies


def _has_compiler() -> bool:
    chosen = os.environ.get("CXX", "g++")
    return shutil.which(chosen) is not None or shutil.which("clang++") is not None
