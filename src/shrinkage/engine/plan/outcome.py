"""What training produces, by strength and group, in memory that workers share."""

from __future__ import annotations

import math
import mmap
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from shrinkage.engine.member.member import model_tensors
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.plan.plan import Plan
from shrinkage.errors import ShrinkageError
from shrinkage.rows.groups import ALL_ROWS, Group


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        stage: "check", "compile" or "train".
        members_done: Members that are finished.
        members_total: All members.
        epoch: Epochs done, on average over the members.
        epochs: Epochs of every member.
        steps_done: Member-steps done in the whole run, for an estimate of the time left.
        steps_total: All member-steps.
        note: A line to say once, or "".
    """

    stage: str
    members_done: int
    members_total: int
    epoch: int
    epochs: int
    steps_done: int
    steps_total: int
    note: str = ""


class Teller:
    """Tells a caller how far a run is, and remembers it.

    Args:
        progress: The caller's function, or None where nobody listens.

    Raises:
        ShrinkageError: It is no function.
    """

    def __init__(self, progress: Callable[[Progress], None] | None) -> None:
        if not callable(progress or print):
            raise ShrinkageError(f"progress={progress!r}: give a function of a Progress, or print.")
        self._progress = progress
        self._last: Progress | None = None

    def __call__(self, progress: Progress) -> None:
        """Tell of a progress."""
        self._last = progress
        if self._progress is not None:
            self._progress(progress)

    @property
    def so_far(self) -> str:
        """How far the run is, in words."""
        if self._last is None:
            return "before the training"
        return f"at {self._last.members_done} of {self._last.members_total} members"


@dataclass(frozen=True, eq=False)
class Outcome:
    """Curves, norms and outputs of every member; NaN until a member is done.

    Attributes:
        columns: The place of each group on the axis G.
        train_loss: (K, G, E) running mean loss of each epoch.
        held_loss: (K, G, E) loss on the held-out rows after each epoch.
        fit_loss: (K, G) loss on the member's own training rows at the end.
        norms: (K, G, P) norm of each penalized tensor.
        sparsity: (K, G, P) fraction of exact zeros in it.
        diverged: (K, G) step whose loss was not finite, or -1.
        outputs: Per group (K, held rows, ...) outputs on the held-out rows.
        weights: Per refit group the stacked model (K, ...) by name.
        epochs_done: (K, G) epochs that each member has behind it.
    """

    columns: dict[Group, int]
    train_loss: Tensor
    held_loss: Tensor
    fit_loss: Tensor
    norms: Tensor
    sparsity: Tensor
    diverged: Tensor
    outputs: dict[Group, Tensor]
    weights: dict[Group, dict[str, Tensor]]
    epochs_done: Tensor


def empty_outcome(problem: Problem, plan: Plan) -> Outcome:
    """Return an outcome with room for every member of ``plan``."""
    groups = plan.groups()
    k, g, p = len(plan.strengths), len(groups), len(problem.selected)
    model = problem.build(0)
    with torch.no_grad():
        output = model(problem.first_rows(2))
    return Outcome(
        columns={group: column for column, group in enumerate(groups)},
        train_loss=shared((k, g, plan.epochs)),
        held_loss=shared((k, g, plan.epochs)),
        fit_loss=shared((k, g)),
        norms=shared((k, g, p)),
        sparsity=shared((k, g, p)),
        diverged=shared((k, g), torch.int64),
        outputs={
            group: shared((k, len(plan.held_rows(group)), *output.shape[1:]), output.dtype)
            for group in groups
        },
        weights={
            group: {
                name: shared((k, *tensor.shape), tensor.dtype)
                for name, tensor in model_tensors(model).items()
                if name in model.state_dict()
            }
            for group in groups
            if group.fold == ALL_ROWS
        },
        epochs_done=shared((k, g), torch.int64).zero_(),
    )


def progress(plan: Plan, outcome: Outcome) -> Progress:
    """Return the progress of a run, from the epochs that its members have done."""
    done = outcome.epochs_done
    per_epoch = torch.tensor([plan.steps(group) for group in outcome.columns])
    steps = int((done * per_epoch).sum())
    total = len(plan.strengths) * plan.epochs * int(per_epoch.sum())
    members = int((done == plan.epochs).sum())
    epoch = steps * plan.epochs // total
    return Progress("train", members, done.numel(), epoch, plan.epochs, steps, total)


def shared(shape: tuple[int, ...], dtype: torch.dtype = torch.float32) -> Tensor:
    """Return a tensor that forked processes write into together, filled with NaN or -1."""
    size = math.prod(shape) * torch.empty((), dtype=dtype).element_size()
    memory = mmap.mmap(-1, max(size, 1))
    tensor = torch.frombuffer(memory, dtype=dtype, count=math.prod(shape)) if size else None
    whole = torch.empty(shape, dtype=dtype) if tensor is None else tensor.view(shape)
    return whole.fill_(torch.nan if dtype.is_floating_point else -1)
