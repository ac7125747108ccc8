"""Linear models without kinks in their penalty: least squares by SVD, all else by Newton's method.

Both work in the coordinates of the singular vectors of the rows. The weights of a minimum lie in
the span of the rows; without a penalty the least of them do. So there are as many coordinates as
the rows have rank, and of many minima it is the one of least norm.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from shrinkage.engine.exact.centered import OutputLoss, Table, damped_solve, endless
from shrinkage.engine.exact.minimize import ENOUGH

STEPS = 100
SHORTEST = 1e-3
LEAST_DAMPING, MOST_DAMPING = 1e-13, 1e3
STILL_MOVING = 0.1
"""How far a Newton step moves some output where the loss falls without end: about 1 there."""
RANK = 1e-12


@dataclass(frozen=True, eq=False)
class Rotated:
    """A table in the coordinates of its singular vectors.

    Attributes:
        left: (N, R) left singular vectors of the rows, each times the root of its share.
        sizes: (R,) singular values.
        right: (P, R) right singular vectors.
        x: (N, R) the rows.
    """

    left: Tensor
    sizes: Tensor
    right: Tensor
    x: Tensor


def rotated(table: Table) -> Rotated:
    """Return the table in the coordinates of its singular vectors."""
    root = table.shares.sqrt().unsqueeze(1)
    left, sizes, right = torch.linalg.svd(root * table.x, full_matrices=False)
    kept = sizes > RANK * max(table.x.shape) * sizes.max()
    return Rotated(left[:, kept], sizes[kept], right[kept].T, table.x @ right[kept].T)


def least_squares(
    table: Table, own: Rotated, y: Tensor, ridge: float, center: Tensor
) -> tuple[Tensor, Tensor]:
    """Return weight and bias of the least mean square, plus ``ridge / 2`` times the sum of squares.

    Shape:
        y: (N, M). center, weight: (M, P). bias: (M,).
    """
    left_over = y - table.x @ center.T
    along = own.left.T @ (table.shares.sqrt().unsqueeze(1) * left_over)
    own_sizes = own.sizes.unsqueeze(1)
    moved = own_sizes * along / (own_sizes**2 + ridge * table.outputs / 2)
    bias = table.shares @ left_over if table.bias else torch.zeros_like(y[0])
    return center + (own.right @ moved).T, bias


def newton(
    table: Table,
    own: Rotated,
    loss: OutputLoss,
    ridge: float,
    center: Tensor,
    start: tuple[Tensor, Tensor],
    scale: float,
) -> tuple[Tensor, Tensor] | None:
    """Return weight and bias at the minimum, or None where the loss falls without end.

    Args:
        table: The rows.
        own: The same, rotated.
        loss: Of the outputs.
        ridge: Twice the factor of the squares of ``weight - center``.
        center: (M, P).
        start: Weight and bias; the weight less the center lies in the span of the rows.
        scale: The residual is a share of this.
    """
    base = table.x @ center.T
    rows = own.x if table.bias is None else torch.cat([own.x, torch.ones(len(own.x), 1)], 1)
    pull = torch.full((table.outputs, rows.shape[1]), ridge, dtype=rows.dtype)
    at = (start[0] - center) @ own.right
    if table.bias is not None:
        at, pull[:, -1] = torch.cat([at, start[1].unsqueeze(1)], 1), 0.0
    outputs, damping = base + rows @ at.T, LEAST_DAMPING
    for _ in range(STEPS):
        if not ridge and endless(loss.each, outputs):
            return None
        slopes, bends = loss.curvature(outputs)
        gradient = slopes.T @ rows + pull * at
        way = _newton_step(rows, bends, pull, gradient, damping)
        if _residual(table, own, at, slopes, ridge) <= ENOUGH * scale:
            moved = loss.free_of_shifts(rows @ way.T)
            moving = not ridge and float(moved.abs().max()) > STILL_MOVING
            if moving and loss.value(outputs + moved) < loss.value(outputs):
                return None
            break
        length, value = 1.0, loss.value(outputs) + (pull * at**2).sum() / 2
        promised = (gradient * way).sum()
        while length > SHORTEST:
            ahead = at + length * way
            found = loss.value(base + rows @ ahead.T) + (pull * ahead**2).sum() / 2
            if found <= value + 1e-4 * length * promised + 1e-14 * value.abs():
                break
            length /= 2
        else:
            damping = max(1e3 * damping, 1e-6)
            if damping > MOST_DAMPING:
                break
            continue
        at, outputs, damping = ahead, base + rows @ ahead.T, max(damping / 10, LEAST_DAMPING)
    at = at if ridge else loss.free_of_shifts(at.T).T
    along, bias = (
        (at, torch.zeros_like(at[:, 0])) if table.bias is None else (at[:, :-1], at[:, -1])
    )
    return center + along @ own.right.T, loss.free_of_shifts(bias)


def _newton_step(
    rows: Tensor, bends: Tensor, pull: Tensor, gradient: Tensor, damping: float
) -> Tensor:
    outputs, columns = gradient.shape
    hessian = torch.empty(outputs, columns, outputs, columns, dtype=rows.dtype)
    for m in range(outputs):
        for other in range(m + 1):
            block = rows.T @ (bends[:, m, other].unsqueeze(1) * rows)
            hessian[m, :, other], hessian[other, :, m] = block, block.T
    hessian = hessian.reshape(outputs * columns, -1) + torch.diag(pull.flatten())
    return -damped_solve(hessian, gradient.flatten(), damping).view_as(gradient)


def _residual(table: Table, own: Rotated, at: Tensor, slopes: Tensor, ridge: float) -> float:
    along = at[:, : own.right.shape[1]]
    weight = float((slopes.T @ table.x + ridge * along @ own.right.T).abs().max())
    return weight if table.bias is None else max(weight, float(slopes.sum(0).abs().max()))
