"""One round under way: what trains, which members, where their numbers go, and who is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from shrinkage.engine.keep.kept import Kept
from shrinkage.engine.member.member import model_tensors
from shrinkage.engine.member.precision import forward
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.member.update import Update
from shrinkage.engine.plan.outcome import Outcome, Progress, empty_outcome, progress
from shrinkage.engine.plan.plan import Plan
from shrinkage.rows.groups import ALL_ROWS, Group
from shrinkage.tensors.own_thread import one_thread

ROWS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Run:
    """A round of training, the same for every engine; made by :func:`begun`.

    Attributes:
        problem: What to train.
        plan: The members.
        update: The optimizer as a pure update, or None where there is none.
        kept: The members that an earlier run has trained, and where this one writes its own.
        outcome: What the members leave behind, filled in as they train.
        tell: Told how far the run is, again and again.
    """

    problem: Problem
    plan: Plan
    update: Update | None
    kept: Kept
    outcome: Outcome
    tell: Callable[[Progress], None]

    def tell_progress(self) -> None:
        self.tell(progress(self.plan, self.outcome))

    def tell_stage(self, stage: str, note: str = "") -> None:
        """Tell of a stage before any member has trained."""
        members = len(self.plan.groups()) * len(self.plan.strengths)
        self.tell(Progress(stage, 0, members, 0, self.plan.epochs, 0, 0, note))

    def rows(self, group: Group, rows: Tensor) -> Tensor:
        """Return these rows as the group sees them."""
        return self.problem.views.of(group.fold)[rows]

    def record_end(self, model: nn.Module, group: Group, k: int) -> None:
        """Write the losses, outputs, norms and weights of one finished member."""
        problem, outcome, column = self.problem, self.outcome, self.outcome.columns[group]
        rows, held = self.plan.train_rows(group), self.plan.held_rows(group)
        alive = outcome.diverged[k, column] < 0
        if alive:
            outputs = self.outputs(model, group, rows)
            outcome.fit_loss[k, column] = problem.mean_loss(outputs, rows)
        if len(held):
            outputs = self.outputs(model, group, held)
            outcome.outputs[group][k] = outputs if alive else torch.nan
        tensors = model_tensors(model)
        for p, name in enumerate(problem.selected):
            outcome.norms[k, column, p] = tensors[name].norm().float()
            outcome.sparsity[k, column, p] = (tensors[name] == 0).float().mean()
        if group.fold == ALL_ROWS:
            for name, own in outcome.weights[group].items():
                own[k] = tensors[name]

    def outputs(self, model: nn.Module, group: Group, rows: Tensor) -> Tensor:
        """Return what a single model makes of these rows, in evaluation mode."""
        model.eval()
        parts = torch.split(self.rows(group, rows), ROWS_AT_ONCE)
        with torch.no_grad():
            return torch.cat([forward(model, part, self.problem.autocast) for part in parts])


@one_thread()
def begun(
    problem: Problem,
    plan: Plan,
    update: Update | None,
    kept: Kept,
    tell: Callable[[Progress], None],
) -> Run:
    """Return a run that has room for every member, none of them trained."""
    return Run(problem, plan, update, kept, empty_outcome(problem, plan), tell)
