"""The fallback: one member at a time, with the real optimizer, for any model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import torch
from torch import Tensor, nn

from shrinkage.engine.keep.stopping import Stopped
from shrinkage.engine.member.knobs import (
    dropout_alone,
    loss_at,
    optimizer_at,
    penalty_at,
    rate_at,
)
from shrinkage.engine.member.precision import forward
from shrinkage.engine.member.update import stepping
from shrinkage.engine.plan.outcome import Outcome
from shrinkage.engine.plan.plan import Plan
from shrinkage.engine.run.run import Run
from shrinkage.engine.run.workers import run_in_workers, worker_count
from shrinkage.errors import warn
from shrinkage.regularizing.regularize import attach
from shrinkage.rows.groups import Group, key
from shrinkage.tensors.own_thread import all_random_numbers

Closure: TypeAlias = Callable[[], Tensor]

LONG = 100_000
"""Steps of all members that take minutes one by one."""


def warn_of_time(plan: Plan, why: str) -> None:
    """Warn that a long run is slow, why, and what would shorten it."""
    members, steps = len(plan.strengths), sum(map(plan.steps, plan.groups())) * plan.epochs
    if members * steps >= LONG:
        warn(
            "one by one",
            f"{members * len(plan.groups()):,} trainings cannot run together "
            f"({why}), and have {members * steps:,} steps in all. Use fewer strengths, folds, "
            "seeds or epochs to shorten it; progress=print shows how far it is.",
        )


def train_one_by_one(run: Run) -> None:
    """Train every member alone, exactly as a user would by hand.

    Members of a group share initial weights, batches and random numbers.
    """
    plan, kept, outcome = run.plan, run.kept, run.outcome
    groups, points = plan.groups(), len(plan.strengths)
    workers = worker_count()

    def work(job: int) -> None:
        group, k = groups[job // points], job % points
        place = (k, outcome.columns[group])
        if kept.restore_alone(group, k, _left_behind(outcome, group, place)):
            return

        def epoch_done(epoch: int) -> None:
            outcome.epochs_done[place] = min(epoch, plan.epochs - 1)
            if kept.stop_asked():
                raise Stopped
            if workers == 1:
                run.tell_progress()

        member = Alone(run, group, k, run.problem.initial(group))
        member.train(epoch_done)
        with all_random_numbers(key("evaluation", group)):
            run.record_end(member.model, group, k)
        outcome.epochs_done[place] = plan.epochs
        kept.put_alone(group, k, _left_behind(outcome, group, place))

    run.tell_progress()
    run_in_workers(len(groups) * points, work, run.tell_progress, workers)
    run.tell_progress()
    if kept.stop_asked():
        raise Stopped


def _left_behind(outcome: Outcome, group: Group, place: tuple[int, int]) -> dict[str, Tensor]:
    """Return the parts of the outcome that one member fills, as views by name."""
    curves = ("train_loss", "held_loss", "fit_loss", "norms", "sparsity", "diverged", "epochs_done")
    own = {name: getattr(outcome, name)[place] for name in curves}
    own["outputs"] = outcome.outputs[group][place[0]]
    weights = outcome.weights.get(group, {})
    return own | {f"weights.{name}": tensor[place[0]] for name, tensor in weights.items()}


@dataclass(frozen=True, eq=False)
class Alone:
    """One member that trains by itself.

    Attributes:
        run: The run it is a part of.
        group: Its fold and seed.
        k: Its point.
        model: Its model, changed by every step.
    """

    run: Run
    group: Group
    k: int
    model: nn.Module

    @cached_property
    def point(self) -> dict[str, float]:
        return self.run.plan.point(self.k)

    def train(self, epoch_done: Callable[[int], None]) -> None:
        """Train to the last epoch, or to a loss that is not finite, and write the curves."""
        problem, plan, outcome, point = (
            self.run.problem,
            self.run.plan,
            self.run.outcome,
            self.point,
        )
        place = (self.k, outcome.columns[self.group])
        model = self.model
        optimizer = optimizer_at(problem, point)(p for p in model.parameters() if p.requires_grad)
        own_rate = "lr" in point
        scheduler = problem.scheduler(optimizer) if problem.scheduler and not own_rate else None
        penalty, selected = penalty_at(problem, point), lambda name, _: name in problem.selected
        attach(model, optimizer, penalty, select=selected, how=problem.how)
        held, count = plan.held_rows(self.group), 0
        with all_random_numbers(key("training", self.group)):
            for epoch in range(plan.epochs):
                if epoch >= point.get("epochs", plan.epochs):
                    outcome.held_loss[(*place, epoch)] = outcome.held_loss[(*place, epoch - 1)]
                    continue
                for settings in optimizer.param_groups if own_rate else []:
                    settings["lr"] = float(rate_at(problem, torch.as_tensor(point["lr"]), epoch))
                model.train()
                losses = 0.0
                for rows, real in zip(*plan.batches(self.group, epoch), strict=True):
                    count += 1
                    chosen = rows[real]
                    loss = self.step(count, chosen, stepping(optimizer))
                    if not loss.isfinite():
                        outcome.diverged[place] = count
                        return
                    losses += float(loss) * float(problem.weights_of(chosen).sum())
                if scheduler is not None:
                    scheduler.step()
                mean = losses / problem.weights_of(plan.train_rows(self.group)).sum()
                outcome.train_loss[(*place, epoch)] = mean.float()
                if len(held):
                    outputs = self.run.outputs(model, self.group, held)
                    outcome.held_loss[(*place, epoch)] = problem.mean_loss(outputs, held)
                epoch_done(epoch + 1)

    def step(self, count: int, rows: Tensor, move: Callable[[Closure], object]) -> Tensor:
        """Take step ``count`` on these rows; return the loss before it.

        Args:
            count: 1 at the first step.
            rows: The batch.
            move: Calls the closure, as an optimizer's ``step`` does, and moves the parameters.
        """
        problem = self.run.problem
        trained_on = loss_at(problem, self.point)
        x, y = problem.batch(self.group, count, rows)
        losses: list[Tensor] = []

        def closure() -> Tensor:
            self.model.zero_grad()
            output = forward(self.model, x, problem.autocast)
            loss = problem.mean(trained_on(output, y), rows)
            loss.backward()  # type: ignore[no-untyped-call]
            losses.append(problem.mean(problem.loss(output.detach(), y), rows))
            return loss

        with dropout_alone(problem, self.point, self.group, count):
            move(closure)
        return losses[0]
