"""The order of things: chunks, epochs, steps, evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from shrinkage.engine.chunk import Chunk
from shrinkage.engine.compiled import Stepper, leaves
from shrinkage.engine.outcome import Outcome, Progress, empty_outcome
from shrinkage.engine.plan import ALL_ROWS, Plan
from shrinkage.engine.problem import Problem
from shrinkage.engine.stack import stacked_members, stacked_outputs
from shrinkage.engine.step import Member, Tensors
from shrinkage.engine.update import Update

EVALUATED_NUMBERS = 4_000_000


def step_inputs(
    problem: Problem, plan: Plan, chunk: Chunk, members: Member, epoch: int
) -> Iterator[list[Tensor]]:
    """Yield the arguments of every step of one epoch.

    A group with fewer batches than the others ends with batches of weight zero.
    """
    batches = [plan.batches(group, epoch) for group in chunk.groups]
    dtype = members.total.dtype
    strength = plan.strengths[list(chunk.strengths)].to(dtype)
    lr = problem.lrs[epoch].to(dtype)
    own = leaves(members)
    for step in range(max(len(rows) for rows, _ in batches)):
        rows = torch.stack([r[min(step, len(r) - 1)] for r, _ in batches])
        weight = torch.stack([w[step] if step < len(w) else torch.zeros_like(w[0]) for _, w in batches])
        yield [*own, strength, lr, problem.X, problem.y, rows, weight.to(dtype)]


def train_chunks(
    problem: Problem,
    plan: Plan,
    update: Update,
    chunks: list[Chunk],
    stepper: Stepper,
    report: Callable[[Progress], None],
) -> Outcome:
    """Train every chunk and return what all members left behind.

    Args:
        problem: What to train.
        plan: The grid.
        update: The optimizer.
        chunks: The plan, cut.
        stepper: The mapped step.
        report: Told after every epoch.
    """
    outcome = empty_outcome(plan, len(problem.selected))
    model = problem.initial(chunks[0].groups[0]).eval()
    total = sum(chunk.members * plan.steps(chunk.groups[0]) for chunk in chunks) * plan.epochs
    members_total = sum(chunk.members for chunk in chunks)
    steps = members = 0
    for chunk in chunks:
        stacked = stacked_members(problem, update, chunk)
        for epoch in range(plan.epochs):
            for inputs in step_inputs(problem, plan, chunk, stacked, epoch):
                stepper.run(inputs)
            _record_epoch(problem, plan, chunk, stacked, model, outcome, epoch)
            steps += chunk.members * plan.steps(chunk.groups[0])
            report(Progress("train", members, members_total, epoch + 1, plan.epochs, steps, total))
        _record_end(problem, plan, chunk, stacked, model, outcome)
        members += chunk.members
    report(Progress("train", members, members_total, plan.epochs, plan.epochs, total, total))
    return outcome


def _record_epoch(
    problem: Problem,
    plan: Plan,
    chunk: Chunk,
    stacked: Member,
    model: nn.Module,
    outcome: Outcome,
    epoch: int,
) -> None:
    for place, column, group, strengths in _places(plan, chunk):
        alive = stacked.diverged[place, : len(strengths)] < 0
        mean = stacked.total[place, : len(strengths)] / len(plan.train_rows(group))
        outcome.train_loss[strengths, column, epoch] = mean.where(alive, torch.nan).float()
        held = plan.held_rows(group)
        if len(held):
            outputs = group_outputs(model, _slice(stacked, place, len(strengths)), problem.X[held])
            losses = mean_losses(problem, outputs, problem.y[held])
            outcome.held_loss[strengths, column, epoch] = losses.where(alive, torch.nan).float()
            if epoch == plan.epochs - 1:
                nan = torch.full_like(outputs, torch.nan)
                alive_like = alive.view(-1, *[1] * (outputs.dim() - 1))
                kept = outcome.outputs.setdefault(group, outputs.new_empty(len(plan.strengths), *outputs.shape[1:]))
                kept[strengths] = torch.where(alive_like, outputs, nan)
    stacked.total.zero_()


def _record_end(
    problem: Problem,
    plan: Plan,
    chunk: Chunk,
    stacked: Member,
    model: nn.Module,
    outcome: Outcome,
) -> None:
    for place, column, group, strengths in _places(plan, chunk):
        tensors = _slice(stacked, place, len(strengths))
        rows = plan.train_rows(group)
        outputs = group_outputs(model, tensors, problem.X[rows])
        alive = stacked.diverged[place, : len(strengths)] < 0
        losses = mean_losses(problem, outputs, problem.y[rows])
        outcome.fit_loss[strengths, column] = losses.where(alive, torch.nan).float()
        outcome.diverged[strengths, column] = stacked.diverged[place, : len(strengths)]
        for p, name in enumerate(problem.selected):
            flat = tensors[name].flatten(1)
            outcome.norms[strengths, column, p] = torch.linalg.vector_norm(flat, dim=1).float()
            outcome.sparsity[strengths, column, p] = (flat == 0).float().mean(1)
        if group.fold == ALL_ROWS:
            weights = outcome.weights.setdefault(group, {})
            for name, tensor in tensors.items():
                kept = weights.setdefault(name, tensor.new_empty(len(plan.strengths), *tensor.shape[1:]))
                kept[strengths] = tensor


def _places(plan: Plan, chunk: Chunk) -> Iterator[tuple[int, int, object, list[int]]]:
    columns = {group: column for column, group in enumerate(plan.groups())}
    strengths = list(chunk.strengths[: chunk.real_strengths])
    for place, group in enumerate(chunk.groups[: chunk.real_groups]):
        yield place, columns[group], group, strengths


def _slice(stacked: Member, place: int, strengths: int) -> Tensors:
    everything = {**stacked.params, **stacked.fixed}
    return {name: tensor[place, :strengths] for name, tensor in everything.items()}


def group_outputs(model: nn.Module, tensors: Tensors, x: Tensor) -> Tensor:
    """Return the outputs of a group's members on ``x``, in blocks that bound the memory."""
    k = len(next(iter(tensors.values())))
    block = max(1, EVALUATED_NUMBERS // (k * max(1, x[0].numel())))
    return torch.cat([stacked_outputs(model, tensors, part) for part in x.split(block)], dim=1)


def mean_losses(problem: Problem, outputs: Tensor, y: Tensor) -> Tensor:
    """Return the mean loss of each member's outputs, shape (K,)."""
    k, rows = outputs.shape[:2]
    targets = y.repeat(k, *[1] * (y.dim() - 1))
    return problem.loss(outputs.flatten(0, 1), targets).view(k, rows).mean(1)
