"""Linear models under L1 or an elastic net: quadratic models of the loss, by coordinate descent.

scikit-learn's coordinate descent finds which weights are zero, and a linear system the values of
the others. Least squares is such a quadratic itself; any other loss takes a few, each around the
last one's minimum.

References:
    Friedman, Hastie & Tibshirani (2010), Regularization Paths for Generalized Linear Models via
    Coordinate Descent, J. Statistical Software 33(1), 1-22. Lee, Sun & Saunders (2014), Proximal
    Newton-type Methods for Minimizing Composite Functions, SIAM J. Optimization 24(3), 1420-1443.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from shrinkage.engine.exact.centered import OutputLoss, Table, damped_solve
from shrinkage.engine.exact.minimize import ENOUGH

ROUNDS = 40
FIRST_GAP, SWEEPS = 1e-4, 100
CLOSER = 1e-3
NEARLY_KINKED = 0.9
SHORTEST = 1e-3
FLATTEST = 1e-9
TIED = 1e-10


@dataclass(frozen=True, eq=False)
class Lasso:
    """The loss of a table, an L1 and a sum of squares of its weights.

    Attributes:
        table: The rows.
        loss: Of the outputs.
        l1: Factor of the absolute weights, above 0.
        ridge: Twice the factor of their squares.
        base: (N, M) outputs where all weights are zero, less the bias.
        unique: Whether the outputs determine the weights.
    """

    table: Table
    loss: OutputLoss
    l1: float
    ridge: float
    base: Tensor
    unique: bool = False

    def outputs(self, weight: Tensor, bias: Tensor) -> Tensor:
        return self.base + self.table.at(weight, bias)

    def value(self, weight: Tensor, bias: Tensor) -> float:
        penalty = self.l1 * weight.abs().sum() + self.ridge / 2 * weight.square().sum()
        return float(self.loss.value(self.outputs(weight, bias)) + penalty)

    def slopes(self, weight: Tensor, slope: Tensor) -> Tensor:
        """Return the gradient of all but the L1, from that of the outputs."""
        return slope.T @ self.table.x + self.ridge * weight

    def residual(self, weight: Tensor, slope: Tensor) -> float:
        """Return the largest entry that no subgradient balances."""
        pull = self.slopes(weight, slope)
        kinked = (pull.abs() - self.l1).clamp_min(0)
        left = torch.where(weight != 0, (pull + self.l1 * weight.sign()).abs(), kinked)
        bias = 0.0 if self.table.bias is None else float(slope.sum(0).abs().max())
        return max(float(left.max()), bias)


def lasso(
    problem: Lasso, start: tuple[Tensor, Tensor], scale: float
) -> tuple[Tensor, Tensor, float]:
    """Return weight, bias and residual at the minimum; of several, at the one of least norm.

    Args:
        problem: What to minimize.
        start: Weight, (M, P), and bias, (M,).
        scale: The residual is a share of this.
    """
    weight, bias = start
    value, flattest = problem.value(weight, bias), FLATTEST
    for _ in range(ROUNDS):
        slope, bends = problem.loss.curvature(problem.outputs(weight, bias))
        residual = problem.residual(weight, slope)
        if residual <= ENOUGH * scale:
            break
        enough = max(CLOSER * residual, ENOUGH * scale / 10)
        roots, target = _square_roots(slope, bends, flattest)
        ahead = _model_minimum(problem, weight, bias, slope, (roots, target), enough)
        way, length = (ahead[0] - weight, ahead[1] - bias), 1.0
        while length > SHORTEST:
            there = (weight + length * way[0], bias + length * way[1]) if length < 1 else ahead
            found = problem.value(*there)
            if found <= value + 1e-14 * abs(value):
                weight, bias, value = *there, found
                flattest = max(flattest / 10, FLATTEST)
                break
            length /= 2
        else:
            flattest *= 1e3
            if flattest > 1e3:
                break
    slope = problem.loss.slope(problem.outputs(weight, bias))
    residual = problem.residual(weight, slope)
    if not problem.ridge and not problem.unique:
        least = _of_least_norm(problem, weight, slope, 10 * ENOUGH * scale)
        closer = problem.residual(least, problem.loss.slope(problem.outputs(least, bias)))
        if closer <= max(residual, 10 * ENOUGH * scale):
            weight, residual = least, closer
    return weight, problem.loss.free_of_shifts(bias), residual


def _model_minimum(
    problem: Lasso,
    weight: Tensor,
    bias: Tensor,
    slope: Tensor,
    model: tuple[Tensor, Tensor],
    enough: float,
) -> tuple[Tensor, Tensor]:
    """Return the minimum of the quadratic model of the loss, plus the penalty.

    The model is half the squared distance of ``columns @ weights`` to a target, with the bias
    projected out; weights that are zero and far from their kink stay out.
    """
    pull = problem.slopes(weight, slope)
    used = (weight != 0) | (pull.abs() >= NEARLY_KINKED * problem.l1)
    if problem.table.bias is not None and not weight.any():
        used &= bool(slope.sum(0).abs().max() <= enough)  # first the null fit, by the bias alone
    roots, target = model
    columns, constant = _columns(problem.table, roots, used), roots.flatten(0, 1)
    basis, inverse = _basis(constant if problem.table.bias is not None else constant[:, :0])
    free = columns - basis @ (basis.T @ columns)
    here = weight[used]
    wanted = target - basis @ (basis.T @ target) + free @ here
    if len(here):
        values = _descended(free, wanted, here, problem.l1, problem.ridge, enough)
    else:
        values = here
    ahead = torch.zeros_like(weight).masked_scatter(used, values)
    if problem.table.bias is None:
        return ahead, bias
    return ahead, bias + inverse @ (target - columns @ (values - here))


def _descended(
    columns: Tensor, wanted: Tensor, values: Tensor, l1: float, ridge: float, enough: float
) -> Tensor:
    """Return the least ``‖columns @ values - wanted‖²/2 + l1 ‖values‖₁ + ridge ‖values‖²/2``.

    Sweeps of coordinate descent let weights in, linear systems settle them and let them out, until
    no entry of the gradient is off by more than ``enough``.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import enet_path

    gram = columns.T @ columns if columns.shape[1] <= len(columns) else None
    reached, gap = columns.T @ wanted, FIRST_GAP
    given = {} if gram is None else {"Xy": reached.numpy()}
    values = _settled(columns, gram, reached, values, l1, ridge)
    for _ in range(ROUNDS):
        pull = columns.T @ (columns @ values) - reached + ridge * values
        kinked = (pull.abs() - l1).clamp_min(0)
        left = torch.where(values != 0, (pull + l1 * values.sign()).abs(), kinked)
        if left.max() <= enough:
            break
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            _, found, _ = enet_path(
                columns.numpy(),
                wanted.numpy(),
                l1_ratio=l1 / (l1 + ridge),
                alphas=[(l1 + ridge) / len(wanted)],
                coef_init=values.numpy().copy(),
                precompute=False if gram is None else gram.numpy(),
                tol=gap,
                max_iter=SWEEPS,
                **given,
            )
        values = _settled(columns, gram, reached, torch.as_tensor(found[:, 0]), l1, ridge)
        gap /= 100
    return values


def _settled(
    columns: Tensor, gram: Tensor | None, reached: Tensor, values: Tensor, l1: float, ridge: float
) -> Tensor:
    """Return the minimum over the weights that are not zero; one that would turn stays at zero."""
    values = values.clone()
    while values.any():
        kept = values.nonzero().squeeze(1)
        own, signs = values[kept], values[kept].sign()
        bent = columns[:, kept].T @ columns[:, kept] if gram is None else gram[kept][:, kept]
        bent = bent + ridge * torch.eye(len(kept), dtype=bent.dtype)
        way = -damped_solve(bent, bent @ own - reached[kept] + l1 * signs)
        turned = (own + way).sign() != signs
        if not turned.any():
            values[kept] = own + way
            break
        lengths = torch.where(turned, -own / way, torch.inf)
        first = int(lengths.argmin())
        values[kept] = own + lengths[first] * way
        values[kept[first]] = 0.0
    return values


def _square_roots(slope: Tensor, bends: Tensor, flattest: float) -> tuple[Tensor, Tensor]:
    """Return roots R, (N, Q, M), with RᵀR the Hessian of a row, and the target that has its slope.

    Nearly flat directions get a little curvature, so that every slope has a target; a direction
    that is flat in every row, as the shifts of a softmax are, is left out.
    """
    if bends.shape[1] == 1:
        sizes, ways = bends[:, 0], torch.ones_like(bends)
    else:
        sizes, ways = torch.linalg.eigh(bends)
    least = flattest * max(float(sizes.max()), 1e-3 * float(slope.abs().max()))
    flat = (sizes <= least).all(0)
    along = (ways.mT @ slope.unsqueeze(2)).squeeze(2)
    keep = ~(flat & (along.abs() <= 1e-12 * slope.abs().max()).all(0))
    sizes = sizes[:, keep].clamp_min(least).sqrt()
    roots = sizes.unsqueeze(2) * ways.mT[:, keep]
    return roots, -(along[:, keep] / sizes).flatten()


def _columns(table: Table, roots: Tensor, used: Tensor) -> Tensor:
    """Return what each used weight does to the rooted outputs, (N Q, J)."""
    outputs, inputs = used.nonzero(as_tuple=True)
    return (roots[:, :, outputs] * table.x[:, inputs].unsqueeze(1)).flatten(0, 1)


def _basis(columns: Tensor) -> tuple[Tensor, Tensor]:
    """Return an orthonormal basis of the columns, and their pseudoinverse."""
    left, sizes, right = torch.linalg.svd(columns, full_matrices=False)
    kept = sizes > TIED * sizes[:1]
    return left[:, kept], right[kept].T @ (left[:, kept].T / sizes[kept].unsqueeze(1))


def _of_least_norm(problem: Lasso, weight: Tensor, slope: Tensor, close: float) -> Tensor:
    """Return the weights of least norm among those with the same outputs and the same penalty.

    These are the weights at their kink, with the sign that their slope allows: a least distance
    problem, solved by nonnegative least squares.

    References:
        Lawson & Hanson (1974), Solving Least Squares Problems, chapter 23.
    """
    from scipy.optimize import nnls

    pull = problem.slopes(weight, slope)
    tied = (pull.abs() >= problem.l1 - close) | (weight != 0)
    signs = torch.where(weight != 0, weight.sign(), -pull.sign())[tied]
    eye = torch.eye(problem.table.outputs, dtype=weight.dtype)
    same = problem.loss.free_of_shifts(eye).expand(len(slope), -1, -1)
    columns = _columns(problem.table, same, tied)
    if problem.table.bias is not None:
        basis, _ = _basis(same.flatten(0, 1))
        columns = columns - basis @ (basis.T @ columns)
    if len(columns) > columns.shape[1]:
        columns = torch.linalg.qr(columns, mode="r").R
    _, sizes, right = torch.linalg.svd(signs * columns, full_matrices=True)
    rank = int((sizes > TIED * sizes.max()).sum()) if len(sizes) else 0
    if rank == len(signs):
        return weight
    least = right[:rank].T @ (right[:rank] @ (signs * weight[tied]))
    if float(least.min()) < -TIED * float(least.max()):
        null = right[rank:]
        system = torch.cat([null, -least.unsqueeze(0)])
        aim = torch.zeros(len(system), dtype=system.dtype)
        aim[-1] = 1.0
        try:
            dual, _ = nnls(system.numpy(), aim.numpy())
        except RuntimeError:
            return weight
        left = system @ torch.as_tensor(dual) - aim
        least = least - null.T @ (left[:-1] / left[-1])
    least = torch.where(least > TIED * least.max(), least, 0.0)
    return torch.zeros_like(weight).masked_scatter(tied, signs * least)
