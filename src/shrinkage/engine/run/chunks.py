"""The order of things: chunks, epochs, steps, evaluation."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.func import vmap

from shrinkage.engine.keep.kept import Kept
from shrinkage.engine.keep.stopping import Stopped
from shrinkage.engine.member.knobs import rate_at
from shrinkage.engine.member.layers import drawn, linear, mappable_attention, replaced
from shrinkage.engine.member.member import Member, Tensors, leaves, stacked_members
from shrinkage.engine.member.precision import Autocast, forward
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.member.update import Update
from shrinkage.engine.plan.chunk import Chunk
from shrinkage.engine.plan.outcome import Outcome, Progress, progress
from shrinkage.engine.plan.plan import Plan
from shrinkage.engine.run.compiled import Stepper
from shrinkage.engine.run.workers import run_in_workers
from shrinkage.rows.groups import ALL_ROWS, Group

EVALUATED_NUMBERS = 4_000_000

NO_NUMBERS = torch.empty(0)


def step_inputs(
    problem: Problem,
    plan: Plan,
    update: Update,
    chunk: Chunk,
    members: Member,
    epoch: int,
    first: int = 0,
) -> Iterator[list[Tensor]]:
    """Yield the arguments of every step of one epoch, from its step ``first`` on."""
    rows, real = plan.batches(chunk.group, epoch)
    steps, dtype = len(rows), members.total.dtype
    counts = range(epoch * steps + 1, (epoch + 1) * steps + 1)
    factors = torch.tensor([update.factors(count) for count in counts], dtype=dtype)
    points = {"strength": plan.strengths, **plan.knobs}
    if "lr" in points:
        points["lr"] = rate_at(problem, points["lr"], epoch)
    if "epochs" in points:
        points["epochs"] = points["epochs"] - epoch
    own = [values[list(chunk.strengths)].to(dtype) for values in points.values()]
    same = [*leaves(members), *own, problem.lrs[epoch].to(dtype)]
    weights = (problem.weights_of(rows) * real).to(dtype)
    of_steps = (t.unbind() for t in (factors, torch.tensor(counts), rows, real, weights))
    for factor, count, row, is_real, weight in list(zip(*of_steps, strict=True))[first:]:
        yield [
            *same,
            *(factor, count),
            *_rows(problem, chunk.group, count, row, is_real),
            weight,
            _uniform(problem, chunk.group, count),
        ]


def _uniform(problem: Problem, group: Group, count: Tensor) -> Tensor:
    """Return what dropout reads in a step, for all its calls."""
    if not problem.draws:
        return NO_NUMBERS
    numbers = drawn(group, int(count))
    return torch.cat([numbers(call, count) for call, count in enumerate(problem.draws)])


def _rows(
    problem: Problem, group: Group, count: Tensor, rows: Tensor, real: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return inputs and targets, and which of them make the batch."""
    if problem.augmented is None:
        return problem.views.of(group.fold), problem.y, rows
    (x, y), places = problem.batch(group, int(count), rows[real]), torch.arange(len(rows))
    own = torch.where(real, places, 0)
    return x[own], y[own], places


def train_chunks(
    problem: Problem,
    plan: Plan,
    update: Update,
    chunks: list[Chunk],
    stepper: Stepper,
    report: Callable[[Progress], None],
    workers: int,
    kept: Kept,
    outcome: Outcome,
) -> None:
    """Train every chunk; what its members leave behind goes into ``outcome``.

    Args:
        problem: What to train.
        plan: The grid.
        update: The optimizer.
        chunks: All chunks of the plan.
        stepper: The mapped step.
        report: Told how far the run is, again and again.
        workers: How many chunks train at once.
        kept: What an earlier run has trained, and where this one writes.
        outcome: Filled in.
    """
    model = problem.build(0).eval()

    def look() -> None:
        report(progress(plan, outcome))

    def work(job: int) -> None:
        chunk = chunks[job]
        members = stacked_members(problem.initial(chunk.group), update, len(chunk.strengths))
        own = (chunk.own_strengths, outcome.columns[chunk.group])
        done, steps = kept.restore(chunk, members, outcome), plan.steps(chunk.group)
        if done == plan.epochs * steps:
            _record_held(problem, plan, chunk, members, model, outcome, plan.epochs - 1)
        for epoch in range(done // steps, plan.epochs):
            first = max(0, done - epoch * steps)
            for inputs in step_inputs(problem, plan, update, chunk, members, epoch, first):
                stepper.run(inputs)
                done += 1
                kept.after_step(chunk, members, outcome, done)
            _record_training(problem, plan, chunk, members, outcome, epoch)
            _record_held(problem, plan, chunk, members, model, outcome, epoch)
            kept.after_epoch(chunk, members, outcome, done)
            outcome.epochs_done[own] = min(epoch + 1, plan.epochs - 1)
            if workers == 1:
                look()
        _record_end(problem, plan, chunk, members, model, outcome)
        outcome.epochs_done[own] = plan.epochs

    look()
    run_in_workers(len(chunks), work, look, workers)
    look()
    if kept.stop_asked():
        raise Stopped


def _record_training(
    problem: Problem, plan: Plan, chunk: Chunk, members: Member, outcome: Outcome, epoch: int
) -> None:
    own, column = chunk.own_strengths, outcome.columns[chunk.group]
    learned = members.diverged[: chunk.members] < 0
    if "epochs" in plan.knobs:
        learned &= plan.knobs["epochs"][own] > epoch
    mean = members.total[: chunk.members] / problem.weights_of(plan.train_rows(chunk.group)).sum()
    outcome.train_loss[own, column, epoch] = mean.where(learned, torch.nan).float()
    members.total.zero_()


def _record_held(
    problem: Problem,
    plan: Plan,
    chunk: Chunk,
    members: Member,
    model: nn.Module,
    outcome: Outcome,
    epoch: int,
) -> None:
    own, column = chunk.own_strengths, outcome.columns[chunk.group]
    alive = members.diverged[: chunk.members] < 0
    held = plan.held_rows(chunk.group)
    if len(held):
        X = problem.views.of(chunk.group.fold)
        outputs = outputs_of(model, _tensors(members, chunk), X[held], problem.autocast)
        losses = mean_losses(problem, outputs, held)
        outcome.held_loss[own, column, epoch] = losses.where(alive, torch.nan).float()
        if epoch == plan.epochs - 1:
            outputs[~alive] = torch.nan
            outcome.outputs[chunk.group][own] = outputs


def _record_end(
    problem: Problem,
    plan: Plan,
    chunk: Chunk,
    members: Member,
    model: nn.Module,
    outcome: Outcome,
) -> None:
    own, column = chunk.own_strengths, outcome.columns[chunk.group]
    tensors = _tensors(members, chunk)
    rows = plan.train_rows(chunk.group)
    own_rows = problem.views.of(chunk.group.fold)[rows]
    outputs = outputs_of(model, tensors, own_rows, problem.autocast)
    alive = members.diverged[: chunk.members] < 0
    losses = mean_losses(problem, outputs, rows)
    outcome.fit_loss[own, column] = losses.where(alive, torch.nan).float()
    outcome.diverged[own, column] = members.diverged[: chunk.members]
    for p, name in enumerate(problem.selected):
        flat = tensors[name].reshape(chunk.members, -1)
        outcome.norms[own, column, p] = torch.linalg.vector_norm(flat, dim=1).float()
        outcome.sparsity[own, column, p] = (flat == 0).float().mean(1)
    if chunk.group.fold == ALL_ROWS:
        for name, kept in outcome.weights[chunk.group].items():
            kept[own] = tensors[name]


def _tensors(members: Member, chunk: Chunk) -> Tensors:
    everything = {**members.params, **members.fixed}
    return {name: tensor[: chunk.members] for name, tensor in everything.items()}


def outputs_of(model: nn.Module, tensors: Tensors, x: Tensor, autocast: Autocast = None) -> Tensor:
    """Return the outputs of stacked members on the same rows, in blocks that bound the memory.

    Args:
        model: The module in evaluation mode; only its code is used.
        tensors: Stacked parameters and buffers, axes (K, ...).
        x: Rows.
        autocast: The type to compute in, or None.

    Shape:
        (K, rows, ...).
    """

    def outputs(own: Tensors, part: Tensor) -> Tensor:
        return forward(model, part, autocast, own)

    members = len(next(iter(tensors.values())))
    block = max(1, EVALUATED_NUMBERS // (members * max(1, x[0].numel())))
    with torch.no_grad(), mappable_attention(), replaced(linear()):
        parts = [vmap(outputs, in_dims=(0, None))(tensors, part) for part in torch.split(x, block)]
    return torch.cat(parts, dim=1)


def mean_losses(problem: Problem, outputs: Tensor, rows: Tensor) -> Tensor:
    """Return the mean loss of each member's outputs on these rows, shape (K,)."""
    members, y = len(outputs), problem.y[rows]
    targets = y.repeat(members, *[1] * (y.dim() - 1))
    losses = problem.loss(outputs.flatten(0, 1), targets).view(members, len(rows))
    return problem.mean(losses, rows)
