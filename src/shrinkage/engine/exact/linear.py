"""A linear layer at its minimum, by the fastest way that its loss and its penalty have."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from shrinkage.engine.exact.centered import OutputLoss, SquaredLoss, Table, endless
from shrinkage.engine.exact.minimize import Objective, minimize
from shrinkage.engine.exact.smooth import Rotated, least_squares, newton, rotated
from shrinkage.engine.exact.sparse import Lasso, lasso
from shrinkage.engine.member.member import Tensors
from shrinkage.penalties import L1, L2, Penalty
from shrinkage.rows.loss import RowLoss, Unreduced, mse

LARGEST_HESSIAN, LARGEST_MODEL = 2_000, 30_000_000
"""Unknowns of a Newton step, and numbers of a quadratic model, that are worth their memory."""


class Minimum(NamedTuple):
    """Parameters, and what is left of the gradient; no parameters where there is no minimum."""

    tensors: Tensors | None
    residual: float


class Elastic(NamedTuple):
    """A penalty as ``l1 * |w - center| + ridge / 2 * (w - center)²``, entry by entry."""

    l1: float
    ridge: float
    center: Tensor


def elastic(penalty: Penalty | None, weight: Tensor) -> Elastic | None:
    """Return a penalty of absolute values and squares as such, or None for any other."""
    l1, ridge, centers = 0.0, 0.0, [torch.zeros_like(weight)]
    if penalty is None:
        return Elastic(l1, ridge, *centers)
    parts = penalty.parts()
    if not all(isinstance(part, L1 | L2) for _, part in parts):
        return None
    l1 = sum(float(factor * part.strength) for factor, part in parts if isinstance(part, L1))
    ridge = sum(float(factor * part.strength) for factor, part in parts if isinstance(part, L2))
    centers = [part.center(weight) for _, part in parts]
    if not all(torch.equal(center, centers[0]) for center in centers):
        return None
    return Elastic(l1, 2 * ridge, centers[0])


@dataclass(frozen=True, eq=False)
class Linear:
    """The training rows of one fold, for every strength.

    Attributes:
        table: The rows.
        y: Their targets.
    """

    table: Table
    y: Tensor

    @cached_property
    def rotated(self) -> Rotated:
        return rotated(self.table)

    @property
    def determined(self) -> bool:
        """Whether the outputs determine the weights: no column is a sum of others."""
        return len(self.rotated.sizes) == self.table.x.shape[1]

    def minimum(
        self, each: RowLoss, penalty: Penalty | None, weight: Tensor, before: Tensors, scale: float
    ) -> Minimum:
        """Return the minimum of the loss of each row and a penalty, None for none.

        Args:
            each: The loss of each row.
            penalty: The penalty of the weight.
            weight: The shape and type of the weight.
            before: The minimum at the strength before.
            scale: The residual is a share of this.
        """
        terms, loss = elastic(penalty, weight), self._loss(each)
        n, m, p = *self.table.x.shape[:1], *weight.shape
        squared = is_squared(each)
        start = self._start(before, terms)
        if terms is None:
            return self._any(loss, penalty, before, scale)
        if terms.l1 and (squared or n * m * m * p <= LARGEST_MODEL):
            return self._sparse(loss, terms, start, squared, scale)
        if not terms.l1 and squared:
            y = self.y.reshape(n, m)
            found = least_squares(self.table, self.rotated, y, terms.ridge, terms.center)
            return self._measured(loss, terms, *found, scale)
        if not terms.l1 and m * (min(n, p) + 1) <= LARGEST_HESSIAN:
            settled = newton(
                self.table, self.rotated, loss, terms.ridge, terms.center, start, scale
            )
            if settled is None:
                return Minimum(None, 0.0)
            return self._measured(loss, terms, *settled, scale)
        return self._any(loss, penalty, before, scale)

    def _loss(self, each: RowLoss) -> OutputLoss:
        table, y = self.table, self.y

        def by_row(outputs: Tensor) -> Tensor:
            return each(outputs.reshape(table.shape), y)

        some = torch.linspace(-1, 1, len(table.x) * table.outputs, dtype=torch.float64)
        some = some.view(-1, table.outputs)
        shifts = table.outputs > 1 and torch.allclose(by_row(some), by_row(some + 1), rtol=1e-9)
        return OutputLoss(by_row, table.shares, shifts)

    def _start(self, before: Tensors, terms: Elastic | None) -> tuple[Tensor, Tensor]:
        weight = before[self.table.weight]
        bias = weight.new_zeros(self.table.outputs)
        if self.table.bias is not None:
            bias = before[self.table.bias] + weight @ self.table.means
        if terms is None or terms.l1 or terms.ridge:
            return weight, bias
        return torch.zeros_like(weight), torch.zeros_like(bias)

    def _sparse(
        self,
        loss: OutputLoss,
        terms: Elastic,
        start: tuple[Tensor, Tensor],
        squared: bool,
        scale: float,
    ) -> Minimum:
        """Find the minimum with kinks."""
        table, base = self.table, self.table.x @ terms.center.T
        moved, bias = start[0] - terms.center, start[1]
        if squared:
            return self._sparse_squares(terms, moved, scale)
        unique = self.determined and not loss.shifts
        problem = Lasso(table, loss, terms.l1, terms.ridge, base, unique)
        weight, bias, left = lasso(problem, (moved, bias), scale)
        return Minimum(table.tensors(weight + terms.center, bias), left / scale)

    def _sparse_squares(self, terms: Elastic, start: Tensor, scale: float) -> Minimum:
        """Find the minimum of least squares with kinks: each output alone, the rows condensed.

        In the coordinates of the left singular vectors there are no more rows than their rank, and
        the bias, being the mean of what the centered columns leave over, has no part in it.
        """
        table, own = self.table, self.rotated
        y = self.y.reshape(-1, table.outputs) - table.x @ terms.center.T
        bias = table.shares @ y if table.bias else torch.zeros_like(y[0])
        wanted = own.left.T @ (table.shares.sqrt().unsqueeze(1) * (y - bias))
        x = own.sizes.unsqueeze(1) * own.right.T
        rows = replace(table, bias=None, x=x, shares=torch.ones(len(x)).to(x), outputs=1)
        weights, residuals = torch.empty_like(start), []
        for m, target in enumerate(wanted.T):
            loss = SquaredLoss.of(target.unsqueeze(1), 1 / table.outputs)
            zeros = torch.zeros_like(wanted[:, :1])
            problem = Lasso(rows, loss, terms.l1, terms.ridge, zeros, self.determined)
            weights[m], _, residual = lasso(problem, (start[m : m + 1], bias.new_zeros(1)), scale)
            residuals.append(residual / scale)
        return Minimum(table.tensors(weights + terms.center, bias), max(residuals))

    def _measured(
        self, loss: OutputLoss, terms: Elastic, weight: Tensor, bias: Tensor, scale: float
    ) -> Minimum:
        slope = loss.slope(self.table.at(weight, bias))
        left = (slope.T @ self.table.x + terms.ridge * (weight - terms.center)).abs().max()
        if self.table.bias is not None:
            left = torch.maximum(left, slope.sum(0).abs().max())
        return Minimum(self.table.tensors(weight, bias), float(left) / scale)

    def _any(
        self, loss: OutputLoss, penalty: Penalty | None, before: Tensors, scale: float
    ) -> Minimum:
        """Find the minimum of any convex penalty, and of rows too large for the other ways."""
        table = self.table
        names = [table.weight] if table.bias is None else [table.weight, table.bias]

        def of_outputs(tensors: Tensors) -> Tensor:
            bias = tensors[table.bias] if table.bias is not None else torch.zeros(())
            return table.shares @ loss.each(table.at(tensors[table.weight], bias))

        weight, bias = self._start(before, Elastic(0.0, 0.0, before[table.weight]))
        start = dict(zip(names, (weight, bias), strict=False))
        own = {} if penalty is None else {table.weight: penalty}
        objective = Objective(of_outputs, own, penalty is None or penalty.smooth)
        if penalty is not None and not self.determined:
            start[table.weight] = penalty.center(weight)
        found, residual = minimize(objective, start, scale)
        if penalty is None and endless(
            loss.each, table.at(found[table.weight], found.get(table.bias or "", bias))
        ):
            return Minimum(None, 0.0)
        bias = found[table.bias] if table.bias is not None else bias
        return Minimum(table.tensors(found[table.weight], bias), residual)


def is_squared(each: RowLoss) -> bool:
    """Return whether a loss is the squared error."""
    return each is mse or (isinstance(each, Unreduced) and isinstance(each.module, nn.MSELoss))
