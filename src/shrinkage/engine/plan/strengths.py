"""Automatic strengths: where the path starts and ends."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shrinkage.engine.member.layers import replaced, without_memory
from shrinkage.engine.member.problem import Problem
from shrinkage.engine.member.update import unmoving
from shrinkage.errors import ShrinkageError
from shrinkage.regularizing.optimizers import is_adaptive

DECADES = 4.0
MARGIN = 0.5
"""Decades more at either end around a balance, which is no more than an estimate."""
NULL_FIT_STEPS = 200


def automatic_strengths(problem: Problem, rows: int, count: int) -> Tensor:
    """Return ``count`` strengths, equally spaced in the logarithm.

    For penalties that zero weights, on models where that can be said, they go four decades down
    from :func:`zeroing_strength`. Elsewhere from half a decade above :func:`balancing_strength` to
    four and a half below it, since a net that trained long may have its minimum at the balance, and
    a linear model nearly four decades below.

    Args:
        problem: Data, loss, penalty and selection.
        rows: How many of the first rows are training rows.
        count: How many strengths, at least 2.
    """
    exact = zeroing_strength(problem, rows)
    if exact is not None:
        return exact * torch.logspace(-DECADES, 0, count, dtype=torch.float64)
    balance = balancing_strength(problem, rows)
    return balance * torch.logspace(-DECADES - MARGIN, MARGIN, count, dtype=torch.float64)


@replaced(without_memory())
def zeroing_strength(problem: Problem, rows: int) -> float | None:
    """Return the smallest strength at which all penalized weights are zero, None if none is known.

    Or at the reference the penalty pulls to. By the optimality condition at the null fit, the fit
    of the other parameters alone. A net of several layers has no such condition, its gradient at
    zero weights vanishes; and no L2 strength gives exact zeros.
    """
    x, y, model = _in_double(*_start(problem, rows))
    penalty = problem.penalty.at(1.0)
    with torch.no_grad():
        for name, w in _penalized(problem, model).items():
            w.copy_(penalty.for_tensor(name, w).center(w))
    if not all(bool(g.any()) for g in _gradients(problem, model, x, y)):
        return None
    _fit_the_others(problem, model, x, y)
    null = _gradients(problem, model, x, y)
    exact = max(float(penalty.strength_max(g)) for g in null)
    return exact if 0 < exact < float("inf") else None


@replaced(without_memory())
def balancing_strength(problem: Problem, rows: int) -> float:
    r"""Return the strength at which the penalty outweighs the loss at the initial weights.

    It is :math:`\lVert \nabla L \rVert / \lVert \nabla P_1 \rVert`. A penalty that is decoupled,
    or applied by its prox, is weighed against what the optimizer makes of a lasting gradient: its
    sign in each entry if it is adaptive, 1 / (1 - m) times as much under momentum m.

    The loss is what training lowers on average: nothing is dropped, and batch normalization goes by
    the rows, as in training, since a new model's running statistics are those of no rows at all.

    Raises:
        ShrinkageError: The loss or the penalty has no gradient there.
    """
    x, y, model = _start(problem, rows)
    penalty = problem.penalty.at(1.0)
    weights = _penalized(problem, model)
    pulls = [penalty.for_tensor(name, w).gradient(w.detach()) for name, w in weights.items()]
    balance = _norm(_gradients(problem, model, x, y)) / _norm(pulls)
    if not 0 < balance < float("inf"):
        raise ShrinkageError(
            "no automatic strengths: the loss or the penalty has no gradient at the initial "
            "weights; give strengths=[...]."
        )
    return balance


def _start(problem: Problem, rows: int) -> tuple[Tensor, Tensor, nn.Module]:
    return problem.X[:rows], problem.y[:rows], problem.build(0).eval()


def _in_double(x: Tensor, y: Tensor, model: nn.Module) -> tuple[Tensor, Tensor, nn.Module]:
    """Return them in float64, so that the null fit is as exact as rows of any type allow."""
    if any(p.is_complex() for p in model.parameters()):
        return x, y, model
    x, y = (t.double() if t.is_floating_point() else t for t in (x, y))
    return x, y, model.double()


def _fit_the_others(problem: Problem, null: nn.Module, x: Tensor, y: Tensor) -> None:
    own = null.named_parameters()
    others = [p for name, p in own if name not in problem.selected and p.requires_grad]
    if not others:
        return
    optimizer = torch.optim.LBFGS(
        others,
        max_iter=NULL_FIT_STEPS,
        tolerance_grad=1e-14,
        tolerance_change=0.0,
        line_search_fn="strong_wolfe",
    )

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = problem.mean(problem.loss(null(x.clone()), y), torch.arange(len(x)))
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(closure)  # type: ignore[no-untyped-call]


def _gradients(problem: Problem, model: nn.Module, x: Tensor, y: Tensor) -> list[Tensor]:
    loss = problem.mean(problem.loss(model(x.clone()), y), torch.arange(len(x)))
    tensors = list(_penalized(problem, model).values())
    gradients = torch.autograd.grad(loss, tensors, materialize_grads=True)
    if problem.how == "coupled":
        return list(gradients)
    optimizer = unmoving(problem.optimizer)
    gain = _gain(optimizer)
    return [gain * (g.sgn() if is_adaptive(optimizer) else g) for g in gradients]


def _gain(optimizer: torch.optim.Optimizer) -> float:
    """Return how many times its gradient a lasting one moves the weights, by momentum."""
    settings = optimizer.defaults
    summing = isinstance(optimizer, torch.optim.SGD | torch.optim.RMSprop)
    if not summing or settings["momentum"] >= 1:
        return 1.0
    return float((1 - settings.get("dampening", 0.0)) / (1 - settings["momentum"]))


def _penalized(problem: Problem, model: nn.Module) -> dict[str, Tensor]:
    own = dict(model.named_parameters())
    return {name: own[name] for name in problem.selected}


def _norm(tensors: list[Tensor]) -> float:
    return float(torch.stack([t.detach().abs().double().norm() for t in tensors]).norm())
