"""The fallback: one member at a time, with the real optimizer, for any model."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from shrinkage.engine.keep.kept import Kept
from shrinkage.engine.keep.stopping import Stopped
from shrinkage.engine.member.knobs import (
    Point,
    dropout_alone,
    loss_at,
    optimizer_at,
    penalty_at,
    rate_at,
)
from shrinkage.engine.member.member import model_tensors
from shrinkage.engine.member.precision import Autocast, forward
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.plan.outcome import Outcome, Progress, empty_outcome, progress
from shrinkage.engine.plan.plan import Plan
from shrinkage.engine.run.workers import run_in_workers, worker_count
from shrinkage.errors import warn
from shrinkage.regularizing.regularize import attach
from shrinkage.rows.groups import ALL_ROWS, Group, key
from shrinkage.tensors.own_thread import all_random_numbers

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


def train_one_by_one(
    problem: Problem, plan: Plan, report: Callable[[Progress], None], kept: Kept
) -> Outcome:
    """Train every member alone, exactly as a user would by hand.

    Members of a group share initial weights, batches and random numbers.

    Args:
        problem: What to train.
        plan: The grid.
        report: Told after every epoch.
        kept: The members that an earlier run has finished, and where this one writes its own.
    """
    outcome = empty_outcome(problem, plan)
    groups, points = plan.groups(), len(plan.strengths)
    workers = worker_count()

    def look() -> None:
        report(progress(plan, outcome))

    def work(job: int) -> None:
        group, k = groups[job // points], job % points
        place = (k, outcome.columns[group])
        if kept.restore_alone(group, k, _left_behind(outcome, group, place)):
            return
        model = problem.initial(group)

        def epoch_done(epoch: int) -> None:
            outcome.epochs_done[place] = min(epoch, plan.epochs - 1)
            if kept.stop_asked():
                raise Stopped
            if workers == 1:
                look()

        _train(model, problem, plan, group, plan.point(k), outcome, place, epoch_done)
        with all_random_numbers(key("evaluation", group)):
            record_end(model, problem, plan, group, outcome, place)
        outcome.epochs_done[place] = plan.epochs
        kept.put_alone(group, k, _left_behind(outcome, group, place))

    look()
    run_in_workers(len(groups) * points, work, look, workers)
    look()
    if kept.stop_asked():
        raise Stopped
    return outcome


def _left_behind(outcome: Outcome, group: Group, place: tuple[int, int]) -> dict[str, Tensor]:
    """Return the parts of the outcome that one member fills, as views by name."""
    curves = ("train_loss", "held_loss", "fit_loss", "norms", "sparsity", "diverged", "epochs_done")
    own = {name: getattr(outcome, name)[place] for name in curves}
    own["outputs"] = outcome.outputs[group][place[0]]
    weights = outcome.weights.get(group, {})
    return own | {f"weights.{name}": tensor[place[0]] for name, tensor in weights.items()}


def _train(
    model: nn.Module,
    problem: Problem,
    plan: Plan,
    group: Group,
    point: Point,
    outcome: Outcome,
    place: tuple[int, int],
    epoch_done: Callable[[int], None],
) -> None:
    optimizer = optimizer_at(problem, point)(p for p in model.parameters() if p.requires_grad)
    own_rate = "lr" in point
    scheduler = problem.scheduler(optimizer) if problem.scheduler and not own_rate else None
    penalty, selected = penalty_at(problem, point), lambda name, _: name in problem.selected
    attach(model, optimizer, penalty, select=selected, how=problem.how)
    X, held, count = problem.views.of(group.fold), plan.held_rows(group), 0
    with all_random_numbers(key("training", group)):
        for epoch in range(plan.epochs):
            if epoch >= point.get("epochs", plan.epochs):
                outcome.held_loss[(*place, epoch)] = outcome.held_loss[(*place, epoch - 1)]
                continue
            for settings in optimizer.param_groups if own_rate else []:
                settings["lr"] = float(rate_at(problem, torch.as_tensor(point["lr"]), epoch))
            model.train()
            losses = 0.0
            for rows, real in zip(*plan.batches(group, epoch), strict=True):
                count += 1
                chosen = rows[real]
                x, y = problem.batch(group, count, chosen)
                with dropout_alone(problem, point, group, count):
                    loss = _step(model, optimizer, problem, point, x, y, chosen)
                if not loss.isfinite():
                    outcome.diverged[place] = count
                    return
                losses += float(loss) * float(problem.weights_of(chosen).sum())
            if scheduler is not None:
                scheduler.step()
            mean = losses / problem.weights_of(plan.train_rows(group)).sum()
            outcome.train_loss[(*place, epoch)] = mean.float()
            if len(held):
                outputs = _outputs(model, X[held], problem.autocast)
                outcome.held_loss[(*place, epoch)] = _loss(problem, outputs, held)
            epoch_done(epoch + 1)


def _step(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    problem: Problem,
    point: Point,
    x: Tensor,
    y: Tensor,
    rows: Tensor,
) -> Tensor:
    trained_on = loss_at(problem, point)
    losses: list[Tensor] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        output = forward(model, x, problem.autocast)
        loss = problem.mean(trained_on(output, y), rows)
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(problem.mean(problem.loss(output.detach(), y), rows))
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    return losses[0]


def record_end(
    model: nn.Module,
    problem: Problem,
    plan: Plan,
    group: Group,
    outcome: Outcome,
    place: tuple[int, int],
) -> None:
    """Write the losses, outputs, norms and weights of a finished member into the outcome."""
    k, column = place
    X, rows, held = problem.views.of(group.fold), plan.train_rows(group), plan.held_rows(group)
    alive = outcome.diverged[place] < 0
    if alive:
        outputs = _outputs(model, X[rows], problem.autocast)
        outcome.fit_loss[place] = _loss(problem, outputs, rows)
    if len(held):
        outputs = _outputs(model, X[held], problem.autocast)
        outcome.outputs[group][k] = outputs if alive else torch.nan
    tensors = model_tensors(model)
    for p, name in enumerate(problem.selected):
        outcome.norms[k, column, p] = tensors[name].norm().float()
        outcome.sparsity[k, column, p] = (tensors[name] == 0).float().mean()
    if group.fold == ALL_ROWS:
        for name, kept in outcome.weights[group].items():
            kept[k] = tensors[name]


def _outputs(model: nn.Module, X: Tensor, autocast: Autocast) -> Tensor:
    model.eval()
    with torch.no_grad():
        return torch.cat([forward(model, part, autocast) for part in torch.split(X, 4096)])


def _loss(problem: Problem, outputs: Tensor, rows: Tensor) -> Tensor:
    return problem.mean(problem.loss(outputs, problem.y[rows]), rows).float()
