"""Members side by side: choose the step, check it on the user's own model, train."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from contextlib import nullcontext
from typing import Literal

from shrinkage.disk.private import Shelf
from shrinkage.engine.keep.kept import Kept
from shrinkage.engine.member.member import member_bytes, stacked_members
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.member.update import Update
from shrinkage.engine.plan.chunk import Chunk, make_chunks, split_by_progress
from shrinkage.engine.plan.outcome import Outcome, Progress, empty_outcome
from shrinkage.engine.plan.plan import Plan
from shrinkage.engine.run.cache import step_shelf
from shrinkage.engine.run.check import blamed_module, difference_together, slow_mapping_refused
from shrinkage.engine.run.chunks import step_inputs, train_chunks
from shrinkage.engine.run.compiled import (
    Stepper,
    compiled_stepper,
    eager_stepper,
    earlier_stepper,
)
from shrinkage.engine.run.workers import (
    MemoryRanOutError,
    memory_faults_named,
    worker_count,
)
from shrinkage.errors import ShrinkageError, warn
from shrinkage.rows.groups import Group
from shrinkage.tensors.own_thread import one_thread, others_drew

Report = Callable[[Progress], None]

COMPILING_SECONDS = 20.0
PLAIN_SECONDS_PER_STEP = 4e-3
PLAIN_SECONDS_PER_BYTE = 4e-9
"""What compiling takes, and what a plain step takes by itself and per byte of its members' state.

Measured once, on four cores; they only decide what ``compile="auto"`` does.
"""

WORTH_FORKING = 2_000
WORTH_FORKING_BYTES = 2**30
"""Member-steps, and bytes that all of them use, below which one process is done before others have
started; it has one thread, since several take longer to wake than so little work takes.
"""


@dataclasses.dataclass(frozen=True, eq=False)
class Together:
    """What came of training members side by side.

    Attributes:
        outcome: What they left behind, or None where they cannot be trained so.
        note: The kind of step, or the reason why not.
    """

    outcome: Outcome | None
    note: str


def train_together(
    problem: Problem,
    plan: Plan,
    update: Update,
    *,
    compile: bool | Literal["auto"],
    report: Report,
    members: int | None,
    max_memory: int | None,
    kept: Kept,
) -> Together:
    """Train the plan with members stacked, if that gives what training them alone does.

    Args:
        problem: What to train.
        plan: The grid.
        update: The optimizer.
        compile: Whether to compile the step; "auto" where it pays.
        report: Told how far the run is.
        members: Members a chunk, or None to choose.
        max_memory: Bytes for all that trains at once, or None for half of what is free.
        kept: What an earlier run has trained, and where this one writes.

    Raises:
        ShrinkageError: Memory ran out with one member at a time.
    """
    if reason := _known_refusal(problem, plan):
        return Together(None, reason)
    work = sum(map(plan.steps, plan.groups())) * len(plan.strengths) * plan.epochs
    with one_thread():
        state, needed = member_bytes(problem, update, plan.batch_size)
        outcome = empty_outcome(problem, plan)
    small = work < WORTH_FORKING and work * needed < WORTH_FORKING_BYTES
    workers = 1 if small else worker_count()
    cut = functools.partial(
        make_chunks, plan, state, needed, workers=workers, max_memory=max_memory
    )
    chunks = cut(members=members, width=kept.width)
    if compile == "auto":
        steps = work / len(chunks[0].strengths)
        plain = (steps * PLAIN_SECONDS_PER_STEP + work * state * PLAIN_SECONDS_PER_BYTE) / workers
        compile = plain > COMPILING_SECONDS

    def steps_done(group: Group, k: int) -> int | None:
        finished = int(outcome.epochs_done[k, outcome.columns[group]]) == plan.epochs
        return None if finished else kept.steps_done(group, k)

    while True:
        try:
            with one_thread(), memory_faults_named():
                attempt = _Attempt(problem, plan, update, chunks)
                stepper = attempt.refused_in_float32() or _choose_step(attempt, compile, report)
            if isinstance(stepper, str):
                return Together(None, stepper)
            left = split_by_progress(chunks, steps_done)
            with one_thread() if small else nullcontext():
                train_chunks(problem, plan, update, left, stepper, report, workers, kept, outcome)
        except MemoryRanOutError as error:
            members = len(chunks[0].strengths) // 2
            if members == 0:
                raise ShrinkageError(
                    f"even one member at a time, {workers} side by side, is too much: {error}"
                ) from error
            report(at_start("train", plan, f"memory ran out: {members} members at a time now"))
            chunks = cut(members=members)
        else:
            return Together(outcome, stepper.kind)


def _known_refusal(problem: Problem, plan: Plan) -> str | None:
    """Return why members cannot be trained together, where trying would not show it well."""
    model, padded = problem.build(0), any(map(plan.padding, plan.groups()))
    if any(w.is_complex() for w in model.parameters()):
        return "complex parameters"
    rows = problem.X[: plan.batch_size].clone()
    if others_drew(lambda: model.train()(rows)):
        return "forward() draws numpy's or Python's random numbers"
    for name, module in model.named_modules():
        if getattr(module, "sparse", False):
            return f"{type(module).__name__} {name!r} has sparse gradients"
        if padded and getattr(module, "scale_grad_by_freq", False):
            return f"{type(module).__name__} {name!r} counts the padding of the last batch"
    return None


def _choose_step(attempt: _Attempt, compile: bool, report: Report) -> Stepper | str:
    """Return the step to use, or why members cannot be trained together."""
    report(at_start("check", attempt.plan))
    stepper = attempt.earlier() if compile else None
    if stepper is None:
        stepper, reason = attempt.eager()
        if reason is not None:
            return reason
        if compile:
            report(at_start("compile", attempt.plan))
            stepper = attempt.compiled() or stepper
    return stepper


class _Attempt:
    """The ways to step the chunks of one plan, each tried before it is used."""

    def __init__(self, problem: Problem, plan: Plan, update: Update, chunks: list[Chunk]) -> None:
        self.problem, self.plan, self.update = problem, plan, update
        self.chunk = max(chunks, key=lambda chunk: plan.padding(chunk.group))
        self.model = problem.initial(self.chunk.group).train()
        members = stacked_members(self.model, update, len(self.chunk.strengths))
        self.inputs = next(step_inputs(problem, plan, update, self.chunk, members, 0))
        self.plain = eager_stepper(self.model, problem, update, members)

    @functools.cached_property
    def shelf(self) -> Shelf | None:
        """Where the compiled step is kept."""
        return step_shelf(self.model, self.problem, self.update, self.inputs)

    def earlier(self) -> Stepper | None:
        """Return the compiled step of an earlier run, unless there is none or it is stale."""
        stepper = earlier_stepper(self.shelf)
        try:
            if stepper is None or self._difference(stepper) is None:
                return stepper
        except ShrinkageError:
            raise
        except Exception:  # whatever it is, it is no step of these members
            pass
        self._forget()
        return None

    def eager(self) -> tuple[Stepper, str | None]:
        """Return the plain step and what is wrong with it, if anything."""
        try:
            with slow_mapping_refused():
                return self.plain, self._difference(self.plain)
        except ShrinkageError:
            raise
        except (RuntimeError, TypeError, ValueError, UserWarning) as error:
            rows = self.problem.X[: self.plan.batch_size]
            return self.plain, blamed_module(self.model, rows, error)

    def refused_in_float32(self) -> str | None:
        """Return what is wrong with a step under autocast without it, where rounding hides less."""
        if self.problem.autocast is None:
            return None
        exact = dataclasses.replace(self.problem, autocast=None)
        return _Attempt(exact, self.plan, self.update, [self.chunk]).eager()[1]

    def compiled(self) -> Stepper | None:
        """Return the step compiled now, unless it cannot be or gives other numbers."""
        stepper = compiled_stepper(self.plain, self.inputs, self.shelf)
        difference = self._difference(stepper)
        if difference is None:
            return stepper
        self._forget()
        warn("not compiled", f"the compiled step is not used: {difference}.")
        return None

    def _forget(self) -> None:
        if self.shelf is not None:
            self.shelf.clear()

    def _difference(self, stepper: Stepper) -> str | None:
        with memory_faults_named():
            return difference_together(self.problem, self.plan, self.update, self.chunk, stepper)


def at_start(stage: str, plan: Plan, note: str = "") -> Progress:
    """Return the progress of a run whose training has not begun."""
    members = len(plan.groups()) * len(plan.strengths)
    return Progress(stage, 0, members, 0, plan.epochs, 0, 0, note)
