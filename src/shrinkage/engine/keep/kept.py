"""What a checkpoint holds of a plan: the state of its members, by what they are."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from shrinkage.disk.files import as_path
from shrinkage.engine.keep.dependencies import dependencies
from shrinkage.engine.keep.entry import (
    About,
    Entry,
    UnlikeError,
    about_members,
    like,
    row_of,
)
from shrinkage.engine.keep.stopping import Stopped, stopping_gently
from shrinkage.engine.keep.store import Store, open_store, warn_damaged
from shrinkage.engine.member.member import Member, Tensors, named_tensors
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.plan.chunk import Chunk
from shrinkage.engine.plan.outcome import Outcome
from shrinkage.engine.plan.plan import Plan
from shrinkage.errors import CheckpointError
from shrinkage.rows.groups import Group

SECONDS_BETWEEN_WRITES = 10.0

CURVES = ("train_loss", "held_loss")


@dataclass(frozen=True)
class Place:
    """Where the state of one member is: a row of an entry, after so many steps."""

    entry: Entry
    row: int
    steps: int


@dataclass(eq=False)
class Kept:
    """The members of a plan that a checkpoint holds, and room for those to come.

    A member is known by its point, its fold's rows and its seed, so a plan with more strengths,
    knobs, seeds or epochs finds those of the smaller one.

    Attributes:
        plan: The plan.
        lrs: The learning rates of all epochs of the run.
        store: Where they are kept, or None where nothing is.
        stop_asked: Whether to stop after the next step.
        places: The state of each member that is kept, by group and point.
        width: Members of each earlier chunk, or None if there was none.
    """

    plan: Plan
    lrs: list[float]
    store: Store | None = None
    stop_asked: Callable[[], bool] = lambda: False
    places: dict[tuple[Group, int], Place] = field(default_factory=dict)
    width: int | None = None
    _written: float = field(default_factory=time.monotonic)

    def steps_done(self, group: Group, k: int) -> int:
        """Return how many steps a member has behind it."""
        place = self.places.get((group, k))
        return place.steps if place else 0

    def found(self) -> str:
        """Return what is kept of the plan, in words."""
        whole = [self._all_steps(group) for group, _ in self.places]
        steps = [place.steps for place in self.places.values()]
        done = sum(own >= all_ for own, all_ in zip(steps, whole, strict=True))
        members = len(self.plan.groups()) * len(self.plan.strengths)
        begun = f", {len(steps) - done} half done" if len(steps) > done else ""
        return f"the checkpoint holds {done} of {members} members{begun}; they go on from there"

    def restore(self, chunk: Chunk, members: Member, outcome: Outcome) -> int:
        """Bring fresh members to where they were, and their curves; return the steps done."""
        places = [self.places.get((chunk.group, k)) for k in chunk.strengths]
        found = [place for place in places if place is not None]
        if len(found) < len(places):
            return 0
        targets = named_tensors(members)
        wanted = {name: tensor[0] for name, tensor in targets.items()}
        wanted |= dict.fromkeys(CURVES, torch.empty(self._epochs(chunk.group, found[0].steps)))
        try:
            loaded = {place.entry.path: place.entry.load() for place in found}
            own = [like(row_of(loaded[at.entry.path], at.row), wanted) for at in found]
        except UnlikeError as error:
            warn_damaged(found[0].entry.path, error)
            return 0
        for name, target in targets.items():
            target.copy_(torch.stack([tensors[name] for tensors in own]))
        column = outcome.columns[chunk.group]
        for k, tensors in zip(chunk.own_strengths, own, strict=False):
            for name in CURVES:
                getattr(outcome, name)[k, column, : len(tensors[name])] = tensors[name]
        return found[0].steps

    def after_step(self, chunk: Chunk, members: Member, outcome: Outcome, steps: int) -> None:
        """Stop within an epoch if that was asked, with everything written."""
        if self.stop_asked() and steps % self.plan.steps(chunk.group):
            self._put(chunk, members, outcome, steps)
            raise Stopped

    def after_epoch(self, chunk: Chunk, members: Member, outcome: Outcome, steps: int) -> None:
        """Write the members if they are done, if it is time, or to stop."""
        done, stop = steps == self._all_steps(chunk.group), self.stop_asked()
        if done or stop or time.monotonic() - self._written > SECONDS_BETWEEN_WRITES:
            self._put(chunk, members, outcome, steps)
        if stop:
            raise Stopped

    def _put(self, chunk: Chunk, members: Member, outcome: Outcome, steps: int) -> None:
        if self.store is None:
            return
        own, column = chunk.own_strengths, outcome.columns[chunk.group]
        epochs = steps // self.plan.steps(chunk.group)
        tensors = {name: t[: chunk.members] for name, t in named_tensors(members).items()}
        tensors["train_loss"] = outcome.train_loss[own, column, :epochs]
        tensors["held_loss"] = outcome.held_loss[own, column, :epochs]
        self._write(chunk.group, own, tensors, {"steps": steps, "width": len(chunk.strengths)})
        self._written = time.monotonic()

    def put_alone(self, group: Group, k: int, tensors: Tensors) -> None:
        """Write what one member that trained alone left behind."""
        self._write(group, [k], tensors, {"steps": self._all_steps(group)})

    def restore_alone(self, group: Group, k: int, own: Tensors) -> bool:
        """Fill ``own`` with what a member that trained alone left behind, if it is kept."""
        place = self.places.get((group, k))
        if place is None or place.steps < self._all_steps(group):
            return False
        try:
            tensors = like(place.entry.load(), own)
        except UnlikeError as error:
            warn_damaged(place.entry.path, error)
            return False
        tensors["epochs_done"].clamp_(max=self.plan.epochs)
        for name, target in own.items():
            target.copy_(tensors[name])
        return True

    def _epochs(self, group: Group, steps: int) -> int:
        """Return the length of the curves after so many steps."""
        return min(steps // self.plan.steps(group), self.plan.epochs)

    def _all_steps(self, group: Group) -> int:
        return self.plan.epochs * self.plan.steps(group)

    def _write(self, group: Group, ks: list[int], tensors: Tensors, more: dict[str, Any]) -> None:
        if self.store is None:
            return
        who = {"group": identify(self.plan, group), "points": [self.plan.point(k) for k in ks]}
        epochs = -(-more["steps"] // self.plan.steps(group))
        name = hashlib.sha256(json.dumps(who).encode()).hexdigest()[:32]
        self.store.put(name, {**who, **more, "lrs": self.lrs[:epochs]}, tensors)


@contextmanager
def keeping(
    problem: Problem, plan: Plan, checkpoint: str | Path | None
) -> Iterator[Callable[[Plan], Kept]]:
    """Yield a function that returns what is kept of a plan; what is trained inside is written.

    Args:
        problem: What to train.
        plan: The plan, or the first one of several rounds.
        checkpoint: The directory, or None where nothing is kept.
    """
    lrs = problem.lrs.tolist()
    if checkpoint is None:
        yield lambda plan: Kept(plan, lrs)
        return
    directory = as_path("checkpoint", checkpoint)
    facts = dependencies(problem, plan)
    with open_store(directory, facts) as store, stopping_gently() as stop_asked:
        yield lambda plan: find_kept(plan, lrs, store, stop_asked)


def find_kept(plan: Plan, lrs: list[float], store: Store, stop_asked: Callable[[], bool]) -> Kept:
    """Return what ``store`` holds of ``plan``, part of a run at the learning rates ``lrs``.

    Raises:
        CheckpointError: Members have trained longer than the run, or at other learning rates.
    """
    kept = Kept(plan, lrs, store, stop_asked)
    groups = {identify(plan, group): group for group in plan.groups()}
    points = {json.dumps(plan.point(k)): k for k in range(len(plan.strengths))}
    for entry in store.entries():
        try:
            about = about_members(entry.about)
        except UnlikeError as error:
            warn_damaged(entry.path, error)
            continue
        kept.width = about.width or kept.width
        group = groups.get(about.group)
        if group is None:
            continue
        _check_schedule(plan, group, kept.lrs, about)
        for row, point in enumerate(about.points):
            k = points.get(point)
            if k is not None and about.steps > kept.steps_done(group, k):
                kept.places[group, k] = Place(entry, row, about.steps)
    return kept


def identify(plan: Plan, group: Group) -> str:
    """Return a name for a fold's rows and a seed, the same in every plan that has them."""
    digest = hashlib.sha256(repr(group).encode())
    for rows in (plan.train_rows(group), plan.held_rows(group)):
        digest.update(rows.numpy().tobytes() + b"|")
    return digest.hexdigest()


def _check_schedule(plan: Plan, group: Group, lrs: list[float], about: About) -> None:
    if about.steps > len(lrs) * plan.steps(group):
        raise CheckpointError(
            f"the checkpoint's members have trained {about.steps // plan.steps(group)} epochs, "
            f"more than epochs={len(lrs)}; ask for as many, or give a new directory."
        )
    if about.lrs != lrs[: len(about.lrs)]:
        raise CheckpointError(
            f"the checkpoint's members trained at the learning rates {about.lrs[:5]}..., the "
            f"plan begins with {lrs[:5]}...; a schedule that depends on the number of epochs "
            "cannot be extended. Give a new directory."
        )
