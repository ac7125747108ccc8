"""The minimum itself where the problem is convex: no learning rate, no epochs, no seeds."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call

from shrinkage.engine.member.knobs import loss_at, penalty_at
from shrinkage.engine.member.member import Tensors, trained_names
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.member.settings import Settings
from shrinkage.engine.plan.outcome import shared
from shrinkage.engine.run.minimize import Objective, minimize
from shrinkage.engine.run.run import Run
from shrinkage.engine.run.workers import run_in_workers, worker_count
from shrinkage.errors import ShrinkageError, warn
from shrinkage.penalties import Penalty
from shrinkage.result.points import combinations
from shrinkage.rows.groups import Group, generator
from shrinkage.rows.loss import name_of
from shrinkage.tensors.own_thread import one_thread

CONVEX_LOSSES = (
    nn.MSELoss,
    nn.CrossEntropyLoss,
    nn.BCEWithLogitsLoss,
    nn.HuberLoss,
    nn.SmoothL1Loss,
    nn.SoftMarginLoss,
)

TOLERANCE = 1e-6


def check_convex_settings(penalty: Penalty, settings: Settings) -> None:
    """Refuse what has no minimum that can be found for certain, whatever the model, by the reason.

    Raises:
        ShrinkageError: The loss is not known to be smooth and convex, the penalty is not convex, or
            a knob belongs to the stochastic solver.
    """
    loss, reason = settings.loss, None
    own = ("lr", "dropout", "weight_decay", "epochs")
    stray = [name for name in settings.grid or () if name in own]
    if stray:
        reason = f"the knob {stray[0]!r} belongs to training by steps"
    elif not penalty.convex:
        reason = f"{type(penalty).__name__} is not convex"
    elif not isinstance(loss, (str, *CONVEX_LOSSES)):
        names = ", ".join(kind.__name__ for kind in CONVEX_LOSSES)
        reason = f"the loss {name_of(loss)} is not known to be convex; these are: {names}"
    _refuse(reason)


def check_convex(problem: Problem) -> None:
    """Refuse a model whose minimum cannot be found for certain, with the reason.

    Raises:
        ShrinkageError: It is not linear in its parameters, or mixes or drops anything.
    """
    reason = None
    if any(w.is_complex() for w in problem.build(0).parameters()):
        reason = "the model has complex parameters"
    elif problem.draws or problem.normalizes:
        reason = "the model has dropout or batch normalization"
    elif not _linear_in_parameters(problem):
        reason = "the model is not linear in its parameters: it has hidden layers"
    _refuse(reason)


def _refuse(reason: str | None) -> None:
    if reason is not None:
        raise ShrinkageError(
            f"solver='exact' cannot be used: {reason}. Leave solver= out to train by steps."
        )


def _linear_in_parameters(problem: Problem) -> bool:
    """Return whether outputs halfway between two models lie halfway between theirs."""
    model, x = problem.build(0).double().eval(), _wide(problem.X[:16])
    random = generator("linear in its parameters")
    own = {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}
    one, two = (
        {n: torch.randn(p.shape, generator=random, dtype=p.dtype) for n, p in own.items()}
        for _ in range(2)
    )
    halfway = {name: (one[name] + two[name]) / 2 for name in own}
    with torch.no_grad():
        a, b, c = (functional_call(model, tensors, (x,)) for tensors in (one, two, halfway))
    return bool(torch.allclose(c, (a + b) / 2, rtol=1e-6, atol=1e-9 * float(a.abs().max())))


def solve(run: Run) -> str:
    """Find the minimum of every member, along each path from its largest strength down.

    Args:
        run: A run of one epoch and one seed; :func:`check_convex` has let its problem pass.

    Returns:
        How optimal the minima are, in words: the residual is the largest entry of the loss's
        gradient that no subgradient of the penalty balances, as a share of the largest one at the
        start of the path. A warning names the strengths where it is not small.
    """
    plan, groups = run.plan, run.plan.groups()
    residuals = shared((len(plan.strengths), len(groups)), torch.float64)
    workers = worker_count()

    def work(job: int) -> None:
        with one_thread():
            for path in combinations(plan.knobs, len(plan.strengths)):
                _solve_path(run, groups[job], path, residuals[:, job])
        if workers == 1:
            run.tell_progress()

    run.tell_progress()
    run_in_workers(len(groups), work, run.tell_progress, workers)
    run.tell_progress()
    left = (residuals > TOLERANCE).any(1)
    if left.any():
        where = ", ".join(f"{s:g}" for s in sorted(set(plan.strengths[left].tolist())))
        warn(
            "not the minimum",
            f"solver='exact' did not reach the minimum at strength {where}: its residual is up to "
            f"{float(residuals.max()):.1e}; standardize X, or leave these strengths out.",
        )
    return f"exact, residual at most {float(residuals.max()):.1e}"


def _solve_path(run: Run, group: Group, path: Tensor, residuals: Tensor) -> None:
    problem, plan, outcome = run.problem, run.plan, run.outcome
    model = problem.initial(group).eval()
    wide = copy.deepcopy(model).double()
    rows, held = plan.train_rows(group), plan.held_rows(group)
    batch = _wide(run.rows(group, rows)), _wide(problem.y[rows])
    own = dict(wide.named_parameters())
    tensors = {name: torch.zeros_like(own[name]) for name in trained_names(wide)}
    for name in problem.selected:
        tensors[name] = problem.penalty.for_tensor(name, tensors[name]).center(tensors[name])
    largest_first = path[plan.strengths[path].argsort(descending=True)].tolist()
    scale = 0.0
    for k in largest_first:
        objective = _objective(run, k, wide, batch, rows)
        scale = scale or objective.steepest(tensors)
        tensors, residual = minimize(objective, tensors, scale)
        residuals[k] = residual
        model.load_state_dict(tensors, strict=False)
        place = (k, outcome.columns[group])
        outcome.diverged[place] = -1
        run.record_end(model, group, k)
        outcome.train_loss[(*place, 0)] = outcome.fit_loss[place]
        if len(held):
            loss = problem.mean_loss(outcome.outputs[group][k], held)
            outcome.held_loss[(*place, 0)] = loss
        outcome.epochs_done[place] = plan.epochs


def _objective(
    run: Run, k: int, model: nn.Module, batch: tuple[Tensor, Tensor], rows: Tensor
) -> Objective:
    problem, point, (x, y) = run.problem, run.plan.point(k), batch
    penalty, each = penalty_at(problem, point), loss_at(problem, point)
    zero = float(point["strength"]) == 0
    named = dict(model.named_parameters())
    own = {} if zero else {n: penalty.for_tensor(n, named[n]) for n in problem.selected}

    def loss(tensors: Tensors) -> Tensor:
        return problem.mean(each(functional_call(model, tensors, (x,)), y), rows)

    return Objective(loss, own, penalty.smooth or zero)


def _wide(rows: Tensor) -> Tensor:
    return rows.double() if rows.is_floating_point() else rows
