"""The fallback: one member at a time, with the real optimizer, for any model."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn

from shrinkage.engine.outcome import Outcome, Progress, empty_outcome, progress
from shrinkage.engine.plan import ALL_ROWS, Group, Plan, key
from shrinkage.engine.problem import Problem
from shrinkage.engine.stack import model_tensors
from shrinkage.engine.workers import run_in_workers, worker_count
from shrinkage.regularize import regularize


def train_one_by_one(problem: Problem, plan: Plan, report: Callable[[Progress], None]) -> Outcome:
    """Train every member alone, exactly as a user would by hand.

    Members of a group share initial weights, batches and random numbers.

    Args:
        problem: What to train.
        plan: The grid.
        report: Told after every epoch.
    """
    outcome = empty_outcome(problem, plan)
    groups, strengths = plan.groups(), plan.strengths.tolist()
    workers = worker_count()

    def look() -> None:
        report(progress(plan, outcome))

    def work(job: int) -> None:
        group, k = groups[job // len(strengths)], job % len(strengths)
        place, model = (k, outcome.columns[group]), problem.initial(group)

        def epoch_done(epoch: int) -> None:
            outcome.epochs_done[place] = epoch
            if workers == 1:
                look()

        _train(model, problem, plan, group, strengths[k], outcome, place, epoch_done)
        _record_end(model, problem, plan, group, outcome, place)
        outcome.epochs_done[place] = plan.epochs

    look()
    run_in_workers(len(groups) * len(strengths), work, look, workers)
    look()
    return outcome


def _train(
    model: nn.Module,
    problem: Problem,
    plan: Plan,
    group: Group,
    strength: float,
    outcome: Outcome,
    place: tuple[int, int],
    epoch_done: Callable[[int], None],
) -> None:
    optimizer = problem.optimizer(p for p in model.parameters() if p.requires_grad)
    scheduler = problem.scheduler(optimizer) if problem.scheduler else None
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "the optimizer already has weight_decay")
        regularize(
            model,
            optimizer,
            problem.penalty.at(strength),
            select=lambda name, _: name in problem.selected,
            how=problem.how,
        )
    X, held, count = problem.views.of(group.fold), plan.held_rows(group), 0
    with torch.random.fork_rng():
        torch.manual_seed(key("training", group))
        for epoch in range(plan.epochs):
            model.train()
            losses = 0.0
            for rows, weight in zip(*plan.batches(group, epoch), strict=True):
                count += 1
                chosen = rows[weight > 0]
                loss = _step(model, optimizer, problem, X, chosen)
                if not loss.isfinite():
                    outcome.diverged[place] = count
                    return
                losses += float(loss) * len(chosen)
            if scheduler is not None:
                scheduler.step()
            mean = torch.tensor(losses, dtype=torch.float64) / len(plan.train_rows(group))
            outcome.train_loss[(*place, epoch)] = mean.float()
            if len(held):
                outcome.held_loss[(*place, epoch)] = _loss(problem, _outputs(model, X[held]), held)
            epoch_done(epoch + 1)


def _step(
    model: nn.Module, optimizer: torch.optim.Optimizer, problem: Problem, X: Tensor, rows: Tensor
) -> Tensor:
    losses: list[Tensor] = []

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = problem.loss(model(X[rows]), problem.y[rows]).mean()
        loss.backward()  # type: ignore[no-untyped-call]
        losses.append(loss.detach())
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    return losses[0]


def _record_end(
    model: nn.Module,
    problem: Problem,
    plan: Plan,
    group: Group,
    outcome: Outcome,
    place: tuple[int, int],
) -> None:
    k, column = place
    X, rows, held = problem.views.of(group.fold), plan.train_rows(group), plan.held_rows(group)
    alive = outcome.diverged[place] < 0
    if alive:
        outcome.fit_loss[place] = _loss(problem, _outputs(model, X[rows]), rows)
    if len(held):
        outputs = _outputs(model, X[held])
        outcome.outputs[group][k] = outputs if alive else torch.nan
    tensors = model_tensors(model)
    for p, name in enumerate(problem.selected):
        outcome.norms[k, column, p] = tensors[name].norm().float()
        outcome.sparsity[k, column, p] = (tensors[name] == 0).float().mean()
    if group.fold == ALL_ROWS:
        for name, tensor in tensors.items():
            outcome.weights[group][name][k] = tensor


def _outputs(model: nn.Module, X: Tensor) -> Tensor:
    model.eval()
    with torch.no_grad():
        return torch.cat([model(part) for part in torch.split(X, 4096)])


def _loss(problem: Problem, outputs: Tensor, rows: Tensor) -> Tensor:
    return problem.loss(outputs, problem.y[rows]).mean().float()
