"""The minimum itself where the problem is convex: no learning rate, no epochs, no seeds."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.func import functional_call

from shrinkage.engine.exact.centered import endless, table_of
from shrinkage.engine.exact.linear import Linear, Minimum
from shrinkage.engine.exact.minimize import Objective, minimize
from shrinkage.engine.member.knobs import Point, loss_at, penalty_at
from shrinkage.engine.member.member import Tensors, trained_names
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.member.settings import Settings
from shrinkage.engine.plan.outcome import shared
from shrinkage.engine.run.run import Run
from shrinkage.engine.run.workers import run_in_workers, worker_count
from shrinkage.errors import ShrinkageError, warn
from shrinkage.penalties import Penalty
from shrinkage.result.points import combinations
from shrinkage.rows.groups import Group, generator
from shrinkage.rows.loss import RowLoss, name_of
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
        start of the path. A member whose loss has no minimum is marked as diverged. A warning names
        the strengths where there is no minimum, or where the residual is not small.
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
    _warn_of_no_minimum(run)
    left = (residuals > TOLERANCE).any(1)
    if left.any():
        warn(
            "not the minimum",
            f"solver='exact' did not reach the minimum at strength {_listed(run, left)}: its "
            f"residual is up to {float(residuals.max()):.1e}; standardize X, or leave these "
            "strengths out.",
        )
    return f"exact, residual at most {float(residuals.max()):.1e}"


def _warn_of_no_minimum(run: Run) -> None:
    lost = run.outcome.diverged >= 0
    if lost.any():
        warn(
            "no minimum",
            f"at strength {_listed(run, lost.any(1))} the loss of {int(lost.any(0).sum())} of "
            f"{lost.shape[1]} fits has no minimum: the model separates the classes of the training "
            "rows, so larger weights are always better. These fits are left out.",
        )


def _listed(run: Run, which: Tensor) -> str:
    return ", ".join(f"{s:g}" for s in sorted(set(run.plan.strengths[which].tolist())))


def _solve_path(run: Run, group: Group, path: Tensor, residuals: Tensor) -> None:
    problem, plan, outcome = run.problem, run.plan, run.outcome
    model = problem.initial(group).eval()
    members = _Members(run, group, copy.deepcopy(model).double())
    held = plan.held_rows(group)
    largest_first = path[plan.strengths[path].argsort(descending=True)].tolist()
    before, scale = members.centers(), 0.0
    for k in largest_first:
        point, place = plan.point(k), (k, outcome.columns[group])
        scale = scale or members.objective(point).steepest(before)
        tensors, residuals[k] = members.minimum(point, before, scale)
        outcome.diverged[place] = -1 if tensors else 1
        before = tensors or before
        nowhere = {name: torch.full_like(w, torch.nan) for name, w in before.items()}
        model.load_state_dict(tensors or nowhere, strict=False)
        run.record_end(model, group, k)
        outcome.train_loss[(*place, 0)] = outcome.fit_loss[place]
        if tensors is None:
            outcome.sparsity[place] = torch.nan
        elif len(held):
            loss = problem.mean_loss(outcome.outputs[group][k], held)
            outcome.held_loss[(*place, 0)] = loss
        outcome.epochs_done[place] = plan.epochs


class _Members:
    """The members of one fold, in float64."""

    def __init__(self, run: Run, group: Group, model: nn.Module) -> None:
        self.problem, self.model, self.rows = run.problem, model, run.plan.train_rows(group)
        self.x, self.y = _wide(run.rows(group, self.rows)), _wide(run.problem.y[self.rows])
        self.own = dict(model.named_parameters())
        weights = self.problem.weights_of(self.rows)
        table = table_of(model, self.x, weights / weights.sum(), self.problem.selected)
        self.linear = None if table is None else Linear(table, self.y)

    def centers(self) -> Tensors:
        """Return what every tensor is pulled to, zeros for those that are not penalized."""
        zeros = {name: torch.zeros_like(self.own[name]) for name in trained_names(self.model)}
        penalty = self.problem.penalty
        return zeros | {
            name: penalty.for_tensor(name, zeros[name]).center(zeros[name])
            for name in self.problem.selected
        }

    def objective(self, point: Point) -> Objective:
        """Return the loss of all tensors; without its penalty at strength 0."""
        each, own = loss_at(self.problem, point), self._penalties(point)

        def loss(tensors: Tensors) -> Tensor:
            outputs = functional_call(self.model, tensors, (self.x,))
            return self.problem.mean(each(outputs, self.y), self.rows)

        return Objective(loss, own, all(penalty.smooth for penalty in own.values()))

    def minimum(self, point: Point, before: Tensors, scale: float) -> Minimum:
        """Return the minimum at a point.

        The answer does not depend on the other strengths: a minimum that may not be the only one is
        the one of least norm, or the one found from the center of the penalty.
        """
        each, own = loss_at(self.problem, point), self._penalties(point)
        if self.linear is not None:
            name = self.linear.table.weight
            return self.linear.minimum(each, own.get(name), self.own[name], before, scale)
        objective = self.objective(point)
        start = self.centers() if own else {n: torch.zeros_like(w) for n, w in before.items()}
        tensors, residual = minimize(objective, start, scale)
        if not own and self._endless(each, tensors):
            return Minimum(None, 0.0)
        return Minimum(tensors, residual)

    def _penalties(self, point: Point) -> dict[str, Penalty]:
        if float(point["strength"]) == 0:
            return {}
        penalty = penalty_at(self.problem, point)
        return {n: penalty.for_tensor(n, self.own[n]) for n in self.problem.selected}

    def _endless(self, each: RowLoss, tensors: Tensors) -> bool:
        with torch.no_grad():
            outputs = functional_call(self.model, tensors, (self.x,))
        return endless(lambda values: each(values, self.y), outputs)


def _wide(rows: Tensor) -> Tensor:
    return rows.double() if rows.is_floating_point() else rows
