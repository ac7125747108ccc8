"""Convex minimization: proximal steps find the support, Newton steps settle the values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from shrinkage.engine.member.member import Tensors
from shrinkage.penalties import Penalty

ENOUGH = 1e-10
"""The residual, as a share of the first gradient, at which a minimum is found."""

ROUNDS = 40
FEWEST_STEPS, MOST_STEPS = 20, 640
LONGER = 8.0
NEWTON_STEPS = 30
CG_STEPS = 500
CG_TOLERANCE = 1e-3
SHORTEST = 1e-30
SHORTEST_NEWTON = 1e-4


@dataclass(frozen=True, eq=False)
class Objective:
    """A smooth convex loss of named tensors, and convex penalties of some of them.

    Attributes:
        loss: The loss of the tensors, in float64.
        penalties: The penalty of each penalized tensor.
        smooth: Whether all of them are smooth.
    """

    loss: Callable[[Tensors], Tensor]
    penalties: Mapping[str, Penalty]
    smooth: bool

    def slope(self, tensors: Tensors) -> tuple[Tensor, Tensors]:
        """Return the loss and its gradient."""
        own = {name: w.detach().requires_grad_() for name, w in tensors.items()}
        value = self.loss(own)
        gradient = torch.autograd.grad(value, list(own.values()), materialize_grads=True)
        return value.detach(), dict(zip(own, gradient, strict=True))

    def steepest(self, tensors: Tensors) -> float:
        """Return the largest entry of the loss's gradient, or 1 where all are 0."""
        return max(float(g.abs().max()) for g in self.slope(tensors)[1].values()) or 1.0

    def value(self, tensors: Tensors) -> Tensor:
        """Return loss and penalties."""
        with torch.no_grad():
            penalties = [own.value(tensors[name]) for name, own in self.penalties.items()]
            return self.loss(tensors) + sum(penalties, torch.zeros(()))

    def curvature(
        self, tensors: Tensors, free: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensors, Callable[[Tensors], Tensors]]:
        """Return loss plus penalties, its gradient, and its Hessian as a product with a direction.

        Entries that are not free count as constants.
        """
        own = {name: w.detach().requires_grad_() for name, w in tensors.items()}
        slopes = torch.autograd.grad(
            self.loss(own), list(own.values()), create_graph=True, materialize_grads=True
        )
        whole = dict(zip(own, slopes, strict=True))
        for name, penalty in self.penalties.items():
            whole[name] = whole[name] + penalty.gradient(own[name])

        def kept(values: Mapping[str, Tensor]) -> Tensors:
            return {name: torch.where(free[name], v, 0.0) for name, v in values.items()}

        def curve(way: Tensors) -> Tensors:
            bent = torch.autograd.grad(
                list(whole.values()),
                list(own.values()),
                list(kept(way).values()),
                retain_graph=True,
                materialize_grads=True,
            )
            return kept(dict(zip(own, bent, strict=True)))

        gradient = kept({name: slope.detach() for name, slope in whole.items()})
        return self.value(tensors), gradient, curve

    def prox(self, tensors: Tensors, step: float) -> Tensors:
        return {
            name: self.penalties[name].prox(w, step) if name in self.penalties else w
            for name, w in tensors.items()
        }

    def residual(self, tensors: Tensors, step: float) -> float:
        """Return the largest entry of the generalized gradient, 0 at the minimum alone."""
        _, gradient = self.slope(tensors)
        if self.smooth:
            own = self.penalties.items()
            pulls = {name: penalty.gradient(tensors[name]) for name, penalty in own}
            return max(float((g + pulls.get(n, 0)).abs().max()) for n, g in gradient.items())
        moved = self.prox({n: w - step * gradient[n] for n, w in tensors.items()}, step)
        return max(float((w - moved[n]).abs().max()) / step for n, w in tensors.items())


def minimize(objective: Objective, start: Tensors, scale: float) -> tuple[Tensors, float]:
    """Return the minimum near ``start``, and its residual as a share of ``scale``.

    With kinks the two methods alternate: once proximal steps have found which entries are zero, the
    problem in the others is smooth. A Newton result is taken only if its residual is smaller, so a
    support that was not right yet costs time and nothing else.

    References:
        Beck & Teboulle (2009), A Fast Iterative Shrinkage-Thresholding Algorithm for Linear
        Inverse Problems, SIAM J. Imaging Sciences 2(1), 183-202. O'Donoghue & Candès (2015),
        Adaptive Restart for Accelerated Gradient Schemes, Foundations of Computational
        Mathematics 15, 715-732.
    """
    tensors, step, steps = start, 1.0, FEWEST_STEPS
    residual = objective.residual(tensors, step)
    for _ in range(ROUNDS):
        if not residual > ENOUGH * scale:
            break
        before, same = _free(objective, tensors), True
        if not objective.smooth:
            tensors, step = _proximal_steps(objective, tensors, step, steps)
            residual = objective.residual(tensors, step)
            free = _free(objective, tensors)
            same = all(torch.equal(free[name], before[name]) for name in free)
            steps = min(2 * steps, MOST_STEPS)
        if not same or not residual > ENOUGH * scale:
            continue
        settled = _settled(objective, tensors, scale)
        closer = objective.residual(settled, step)
        if closer < residual:
            tensors, residual = settled, closer
        elif objective.smooth:
            break
    return tensors, residual / scale


def _proximal_steps(
    objective: Objective, start: Tensors, step: float, steps: int
) -> tuple[Tensors, float]:
    """Take accelerated proximal gradient steps; the step is halved until it is short enough.

    It starts at a multiple of its last length: near the minimum of a logistic loss, where most rows
    are fitted, the curvature is a small part of what it is far away.
    """
    at, ahead, momentum, step = start, start, 1.0, LONGER * step
    for _ in range(steps):
        value, gradient = objective.slope(ahead)
        while True:
            moved = objective.prox({n: w - step * gradient[n] for n, w in ahead.items()}, step)
            way = {name: moved[name] - w for name, w in ahead.items()}
            bound = value + _dot(gradient, way) + _dot(way, way) / (2 * step)
            with torch.no_grad():
                if objective.loss(moved) <= bound + 1e-12 * value.abs() or step < SHORTEST:
                    break
            step /= 2
        onward = {name: moved[name] - w for name, w in at.items()}
        if _dot(way, onward) < 0:  # the momentum points uphill: start it anew
            momentum = 1.0
        following = (1 + (1 + 4 * momentum**2) ** 0.5) / 2
        ahead = {n: moved[n] + (momentum - 1) / following * onward[n] for n in moved}
        at, momentum = moved, following
    return at, step


def _settled(objective: Objective, start: Tensors, scale: float) -> Tensors:
    """Minimize over the entries that are not at the center of their penalty, by Newton's method."""
    tensors, free = start, _free(objective, start)
    value, gradient, curve = objective.curvature(tensors, free)
    for _ in range(NEWTON_STEPS):
        if all(float(g.abs().max()) <= 0.1 * ENOUGH * scale for g in gradient.values()):
            break
        way = _conjugate_gradients(curve, gradient)
        promised, length = _dot(gradient, way), 1.0
        while length > SHORTEST_NEWTON:
            moved = {name: w + length * way[name] for name, w in tensors.items()}
            if objective.value(moved) <= value + 1e-4 * length * promised + 1e-13 * value.abs():
                break
            length /= 2
        else:
            break
        tensors = moved
        value, gradient, curve = objective.curvature(tensors, free)
    return tensors


def _free(objective: Objective, tensors: Tensors) -> Tensors:
    """Return which entries are not held at a kink."""
    return {
        name: w != objective.penalties[name].center(w)
        if name in objective.penalties and not objective.smooth
        else torch.ones_like(w, dtype=torch.bool)
        for name, w in tensors.items()
    }


def _conjugate_gradients(curve: Callable[[Tensors], Tensors], gradient: Tensors) -> Tensors:
    """Return the Newton step, approximately, by conjugate gradients."""
    way = {name: torch.zeros_like(g) for name, g in gradient.items()}
    left = {name: -g for name, g in gradient.items()}
    ahead, size = left, _dot(left, left)
    enough = size * CG_TOLERANCE**2
    for _ in range(CG_STEPS):
        bent = curve(ahead)
        along = _dot(ahead, bent)
        if not along > 0:
            break
        length = size / along
        way = {name: w + length * ahead[name] for name, w in way.items()}
        left = {name: r - length * bent[name] for name, r in left.items()}
        before, size = size, _dot(left, left)
        if size <= enough:
            break
        ahead = {name: r + size / before * ahead[name] for name, r in left.items()}
    return way


def _dot(one: Tensors, other: Tensors) -> Tensor:
    return torch.stack([(one[name] * other[name]).sum() for name in one]).sum()
