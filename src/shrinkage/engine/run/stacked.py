"""The members of one chunk, side by side: what each step reads, and what they leave behind."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import vmap

from shrinkage.engine.member.knobs import rate_at
from shrinkage.engine.member.layers import drawn, mappable_attention, narrow_linear, replaced
from shrinkage.engine.member.member import Member, Tensors, leaves, stacked_members
from shrinkage.engine.member.precision import Autocast, forward
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.member.update import Update
from shrinkage.engine.plan.chunk import Chunk
from shrinkage.engine.run.run import Run
from shrinkage.rows.groups import ALL_ROWS

EVALUATED_NUMBERS = 4_000_000

NO_NUMBERS = torch.empty(0)


@dataclass(frozen=True, eq=False)
class Stacked:
    """A chunk under way; made by :func:`stacked`.

    Attributes:
        run: The run it is a part of.
        chunk: Which members.
        update: The optimizer.
        members: Their tensors, changed by every step.
    """

    run: Run
    chunk: Chunk
    update: Update
    members: Member

    def inputs(self, epoch: int, first: int = 0) -> Iterator[list[Tensor]]:
        """Yield the arguments of every step of one epoch, from its step ``first`` on."""
        problem, plan = self.run.problem, self.run.plan
        rows, real = plan.batches(self.chunk.group, epoch)
        steps, dtype = len(rows), self.members.total.dtype
        counts = range(epoch * steps + 1, (epoch + 1) * steps + 1)
        factors = torch.tensor([self.update.factors(count) for count in counts], dtype=dtype)
        points = {"strength": plan.strengths, **plan.knobs}
        if "lr" in points:
            points["lr"] = rate_at(problem, points["lr"], epoch)
        if "epochs" in points:
            points["epochs"] = points["epochs"] - epoch
        own = [values[list(self.chunk.strengths)].to(dtype) for values in points.values()]
        same = [*leaves(self.members), *own, problem.lrs[epoch].to(dtype)]
        weights = (problem.weights_of(rows) * real).to(dtype)
        of_steps = (t.unbind() for t in (factors, torch.tensor(counts), rows, real, weights))
        for factor, count, row, is_real, weight in list(zip(*of_steps, strict=True))[first:]:
            batch = self._batch(count, row, is_real)
            yield [*same, factor, count, *batch, weight, self._uniform(count)]

    def _uniform(self, count: Tensor) -> Tensor:
        """Return what dropout reads in a step, for all its calls."""
        if not self.run.problem.draws:
            return NO_NUMBERS
        numbers = drawn(self.chunk.group, int(count))
        return torch.cat([numbers(call, size) for call, size in enumerate(self.run.problem.draws)])

    def _batch(self, count: Tensor, rows: Tensor, real: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return inputs and targets, and which of them make the batch."""
        problem, group = self.run.problem, self.chunk.group
        if problem.augmented is None:
            return problem.views.of(group.fold), problem.y, rows
        (x, y), places = problem.batch(group, int(count), rows[real]), torch.arange(len(rows))
        own = torch.where(real, places, 0)
        return x[own], y[own], places

    @property
    def tensors(self) -> Tensors:
        """Return parameters and buffers of the chunk's own members, without repeats."""
        everything = {**self.members.params, **self.members.fixed}
        return {name: tensor[: self.chunk.members] for name, tensor in everything.items()}

    @property
    def alive(self) -> Tensor:
        return self.members.diverged[: self.chunk.members] < 0

    @property
    def place(self) -> tuple[list[int], int]:
        """Return where the members stand in the outcome: their points, and their group."""
        return self.chunk.own_strengths, self.run.outcome.columns[self.chunk.group]

    def record_training(self, epoch: int) -> None:
        """Write the mean loss of an epoch, and begin the next."""
        problem, plan, (own, column) = self.run.problem, self.run.plan, self.place
        learned = self.alive
        if "epochs" in plan.knobs:
            learned &= plan.knobs["epochs"][own] > epoch
        weight = problem.weights_of(plan.train_rows(self.chunk.group)).sum()
        mean = self.members.total[: self.chunk.members] / weight
        losses = mean.where(learned, torch.nan).float()
        self.run.outcome.train_loss[own, column, epoch] = losses
        self.members.total.zero_()

    def record_held(self, model: nn.Module, epoch: int) -> None:
        """Write the loss on the held-out rows after an epoch, and after the last the outputs."""
        problem, group, (own, column) = self.run.problem, self.chunk.group, self.place
        held = self.run.plan.held_rows(group)
        if not len(held):
            return
        x = self.run.rows(group, held)
        outputs = outputs_of(model, self.tensors, x, problem.autocast)
        losses = mean_losses(problem, outputs, held).where(self.alive, torch.nan).float()
        self.run.outcome.held_loss[own, column, epoch] = losses
        if epoch == self.run.plan.epochs - 1:
            outputs[~self.alive] = torch.nan
            self.run.outcome.outputs[group][own] = outputs

    def record_end(self, model: nn.Module) -> None:
        """Write the losses on the training rows, norms and weights of finished members."""
        problem, group, outcome = self.run.problem, self.chunk.group, self.run.outcome
        (own, column), tensors = self.place, self.tensors
        rows = self.run.plan.train_rows(group)
        outputs = outputs_of(model, tensors, self.run.rows(group, rows), problem.autocast)
        losses = mean_losses(problem, outputs, rows)
        outcome.fit_loss[own, column] = losses.where(self.alive, torch.nan).float()
        outcome.diverged[own, column] = self.members.diverged[: self.chunk.members]
        for p, name in enumerate(problem.selected):
            flat = tensors[name].reshape(len(own), -1)
            outcome.norms[own, column, p] = torch.linalg.vector_norm(flat, dim=1).float()
            outcome.sparsity[own, column, p] = (flat == 0).float().mean(1)
        if group.fold == ALL_ROWS:
            for name, weights in outcome.weights[group].items():
                weights[own] = tensors[name]


def stacked(run: Run, chunk: Chunk, model: nn.Module | None = None) -> Stacked:
    """Return the members of a chunk before their first step.

    Args:
        run: The run.
        chunk: Which members.
        model: The model that they start from, where it has been built.
    """
    assert run.update is not None
    model = run.problem.initial(chunk.group) if model is None else model
    members = stacked_members(model, run.update, len(chunk.strengths))
    return Stacked(run, chunk, run.update, members)


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
    with torch.no_grad(), mappable_attention(), replaced(narrow_linear()):
        parts = [vmap(outputs, in_dims=(0, None))(tensors, part) for part in torch.split(x, block)]
    return torch.cat(parts, dim=1)


def mean_losses(problem: Problem, outputs: Tensor, rows: Tensor) -> Tensor:
    """Return the mean loss of each member's outputs on these rows, shape (K,)."""
    members, y = len(outputs), problem.y[rows]
    targets = y.repeat(members, *[1] * (y.dim() - 1))
    losses = problem.loss(outputs.flatten(0, 1), targets).view(members, len(rows))
    return problem.mean(losses, rows)
