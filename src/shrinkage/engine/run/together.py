"""Members side by side: choose the step, check it on the user's own model, train."""

from __future__ import annotations

import dataclasses
import functools
from contextlib import nullcontext

from shrinkage.disk.private import Shelf
from shrinkage.engine.member.member import member_bytes
from shrinkage.engine.member.settings import Settings
from shrinkage.engine.plan.chunk import Chunk, Limits, make_chunks, split_by_progress
from shrinkage.engine.run.cache import step_shelf
from shrinkage.engine.run.check import blamed_module, difference_together, slow_mapping_refused
from shrinkage.engine.run.chunks import train_chunks
from shrinkage.engine.run.compiled import (
    Stepper,
    compiled_stepper,
    eager_stepper,
    earlier_stepper,
)
from shrinkage.engine.run.run import Run
from shrinkage.engine.run.stacked import stacked
from shrinkage.engine.run.workers import (
    MemoryRanOutError,
    memory_faults_named,
    worker_count,
)
from shrinkage.errors import ShrinkageError, warn
from shrinkage.identity import named
from shrinkage.rows.groups import Group
from shrinkage.tensors.own_thread import one_thread, others_drew

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


def train_together(run: Run, settings: Settings) -> tuple[bool, str]:
    """Train the run with members stacked, if that gives what training them alone does.

    Args:
        run: The run.
        settings: Whether to compile the step, how many members a chunk, in how much memory.

    Returns:
        Whether they could be trained so; and the kind of step, or the reason why not.

    Raises:
        ShrinkageError: Memory ran out with one member at a time.
    """
    problem, plan, kept = run.problem, run.plan, run.kept
    if run.update is None:
        return False, f"no vectorized {named(problem.optimizer)}"
    with one_thread():
        if reason := _known_refusal(run):
            return False, reason
    work = sum(map(plan.steps, plan.groups())) * len(plan.strengths) * plan.epochs
    with one_thread():
        member = member_bytes(problem, run.update, plan.batch_size)
    small = work < WORTH_FORKING and work * member.training < WORTH_FORKING_BYTES
    workers = 1 if small else worker_count()
    limits = Limits(workers, settings.chunk, kept.width, settings.max_memory)
    chunks, compile = make_chunks(plan, member, limits), settings.compile
    if compile == "auto":
        steps = work / len(chunks[0].strengths)
        bytes_moved = work * member.state
        plain = steps * PLAIN_SECONDS_PER_STEP + bytes_moved * PLAIN_SECONDS_PER_BYTE
        compile = plain / workers > COMPILING_SECONDS

    def steps_done(group: Group, k: int) -> int | None:
        finished = int(run.outcome.epochs_done[k, run.outcome.columns[group]]) == plan.epochs
        return None if finished else kept.steps_done(group, k)

    while True:
        try:
            with one_thread(), memory_faults_named():
                attempt = _Attempt(run, chunks)
                stepper = attempt.refused_in_float32() or _choose_step(attempt, compile)
            if isinstance(stepper, str):
                return False, stepper
            left = split_by_progress(chunks, steps_done)
            with one_thread() if small else nullcontext():
                train_chunks(run, left, stepper, workers)
        except MemoryRanOutError as error:
            members = len(chunks[0].strengths) // 2
            if members == 0:
                raise ShrinkageError(
                    f"even one member at a time, {workers} side by side, is too much: {error}"
                ) from error
            run.tell_stage("train", f"memory ran out: {members} members at a time now")
            limits = dataclasses.replace(limits, members=members, width=None)
            chunks = make_chunks(plan, member, limits)
        else:
            return True, stepper.kind


def _known_refusal(run: Run) -> str | None:
    """Return why members cannot be trained together, where trying would not show it well."""
    model, padded = run.problem.build(0), any(map(run.plan.padding, run.plan.groups()))
    if any(w.is_complex() for w in model.parameters()):
        return "complex parameters"
    rows = run.problem.first_rows(run.plan.batch_size)
    if others_drew(lambda: model.train()(rows)):
        return "forward() draws numpy's or Python's random numbers"
    for name, module in model.named_modules():
        if getattr(module, "sparse", False):
            return f"{type(module).__name__} {name!r} has sparse gradients"
        if padded and getattr(module, "scale_grad_by_freq", False):
            return f"{type(module).__name__} {name!r} counts the padding of the last batch"
    return None


def _choose_step(attempt: _Attempt, compile: bool) -> Stepper | str:
    """Return the step to use, or why members cannot be trained together."""
    attempt.run.tell_stage("check")
    stepper = attempt.earlier() if compile else None
    if stepper is None:
        stepper, reason = attempt.eager()
        if reason is not None:
            return reason
        if compile:
            attempt.run.tell_stage("compile")
            stepper = attempt.compiled() or stepper
    return stepper


class _Attempt:
    """The ways to step the chunks of one run, each tried before it is used."""

    def __init__(self, run: Run, chunks: list[Chunk]) -> None:
        self.run = run
        self.chunk = max(chunks, key=lambda chunk: run.plan.padding(chunk.group))
        self.model = run.problem.initial(self.chunk.group).train()
        together = stacked(run, self.chunk, self.model)
        self.update, self.inputs = together.update, next(together.inputs(0))
        self.plain = eager_stepper(self.model, run.problem, self.update, together.members)

    @functools.cached_property
    def shelf(self) -> Shelf | None:
        """Where the compiled step is kept."""
        return step_shelf(self.model, self.run.problem, self.update, self.inputs)

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
            rows = self.run.problem.first_rows(self.run.plan.batch_size)
            return self.plain, blamed_module(self.model, rows, error)

    def refused_in_float32(self) -> str | None:
        """Return what is wrong with a step under autocast without it, where rounding hides less."""
        problem = self.run.problem
        if problem.autocast is None:
            return None
        exact = dataclasses.replace(self.run, problem=dataclasses.replace(problem, autocast=None))
        return _Attempt(exact, [self.chunk]).eager()[1]

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
            return difference_together(self.run, self.chunk, stepper)
