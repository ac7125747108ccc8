"""A linear layer as a table: centered columns, and the loss as a function of the outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.func import functional_call

from shrinkage.engine.member.member import Tensors, trained_names
from shrinkage.rows.groups import generator

RowLosses = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False)
class Table:
    """The rows of a model whose outputs are ``x @ weight.T + bias``.

    With a bias that nothing penalizes, the columns are centered: an exact change of the bias alone,
    after which it has nothing to do with the weights.

    Attributes:
        weight: The name of the weight, (M, P).
        bias: The name of the bias, or None.
        x: (N, P) float64.
        means: (P,) what was taken off the columns.
        shares: (N,) weights of the rows, of sum 1.
        outputs: How many outputs a row has, M.
        shape: The shape in which the loss takes them.
    """

    weight: str
    bias: str | None
    x: Tensor
    means: Tensor
    shares: Tensor
    outputs: int
    shape: torch.Size

    def at(self, weight: Tensor, bias: Tensor) -> Tensor:
        """Return the outputs, (N, M)."""
        return self.x @ weight.T + bias

    def tensors(self, weight: Tensor, bias: Tensor) -> Tensors:
        """Return weight and bias as the model has them."""
        if self.bias is None:
            return {self.weight: weight}
        return {self.weight: weight, self.bias: bias - weight @ self.means}


def table_of(
    model: nn.Module, x: Tensor, shares: Tensor, selected: tuple[str, ...]
) -> Table | None:
    """Return the model as a table, or None if it is no linear layer with a penalized weight.

    The outputs are linear in the parameters, so random ones tell.
    """
    own = dict(model.named_parameters())
    names = trained_names(model)
    if len(selected) != 1 or not set(selected) <= set(names) or not x.is_floating_point():
        return None
    weight, rest = selected[0], [name for name in names if name != selected[0]]
    columns, w = x.flatten(1), own[weight]
    if w.dim() != 2 or w.shape[1] != columns.shape[1] or len(rest) > 1:
        return None
    if any(own[name].shape != w.shape[:1] for name in rest):
        return None
    random = generator("a linear layer")
    drawn = {n: torch.randn(own[n].shape, generator=random, dtype=w.dtype) for n in names}
    with torch.no_grad():
        outputs = functional_call(model, drawn, (x,))
    expected = columns @ drawn[weight].T + (drawn[rest[0]] if rest else 0.0)
    if outputs.numel() != expected.numel():
        return None
    if not torch.allclose(outputs.reshape(expected.shape), expected, rtol=1e-9, atol=1e-9):
        return None
    means = shares @ columns if rest else torch.zeros_like(columns[0])
    bias = rest[0] if rest else None
    return Table(weight, bias, columns - means, means, shares, len(w), outputs.shape)


@dataclass(frozen=True, eq=False)
class OutputLoss:
    """The mean loss as a function of the outputs.

    Attributes:
        each: The loss of each row, from outputs (N, M).
        shares: (N,) weights of the rows, of sum 1.
        shifts: Whether a number added to all outputs of a row changes nothing, as under softmax.
    """

    each: RowLosses
    shares: Tensor
    shifts: bool

    def free_of_shifts(self, values: Tensor) -> Tensor:
        """Return values (..., M) less their mean over the outputs, where that changes nothing."""
        return values - values.mean(-1, keepdim=True) if self.shifts else values

    def value(self, outputs: Tensor) -> Tensor:
        with torch.no_grad():
            return self.shares @ self.each(outputs)

    def slope(self, outputs: Tensor) -> Tensor:
        """Return the gradient of each row's share of the loss, (N, M)."""
        own = outputs.detach().requires_grad_()
        return torch.autograd.grad(self.shares @ self.each(own), own)[0]

    def curvature(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradient and the Hessian of each row's share, (N, M) and (N, M, M)."""
        own = outputs.detach().requires_grad_()
        (slope,) = torch.autograd.grad(self.shares @ self.each(own), own, create_graph=True)
        columns = [
            torch.autograd.grad(slope[:, m].sum(), own, retain_graph=True, materialize_grads=True)[
                0
            ]
            for m in range(own.shape[1])
        ]
        return slope.detach(), torch.stack(columns, 2)


@dataclass(frozen=True, eq=False)
class SquaredLoss(OutputLoss):
    """The squared distance of one output to its targets, without autograd.

    Attributes:
        targets: (N, 1).
        factor: Of the squares.
    """

    targets: Tensor
    factor: float

    @classmethod
    def of(cls, targets: Tensor, factor: float) -> SquaredLoss:
        ones = torch.ones(len(targets), dtype=targets.dtype)

        def each(outputs: Tensor) -> Tensor:
            return factor * (outputs - targets).square().squeeze(1)

        return cls(each, ones, False, targets, factor)

    def slope(self, outputs: Tensor) -> Tensor:
        return 2 * self.factor * (outputs - self.targets)

    def curvature(self, outputs: Tensor) -> tuple[Tensor, Tensor]:
        return self.slope(outputs), torch.full_like(outputs, 2 * self.factor).unsqueeze(2)


def endless(each: RowLosses, outputs: Tensor) -> bool:
    """Return whether these outputs times 1000 are better for some rows and worse for none.

    A loss that only falls along a ray has no minimum: the classes are separated.
    """
    with torch.no_grad():
        here, beyond = each(outputs), each(1000 * outputs)
    return bool((beyond <= here).all() and (beyond < here).any())


def damped_solve(matrix: Tensor, right: Tensor, damping: float = 1e-13) -> Tensor:
    """Return ``matrix⁻¹ right`` for a positive semidefinite matrix, singular or not."""
    diagonal = matrix.diagonal()
    size = diagonal.clamp_min(1e-15 * float(diagonal.max()) + 1e-300).sqrt()
    scaled = matrix / size / size.unsqueeze(1)
    eye = torch.eye(len(scaled), dtype=scaled.dtype)
    while True:
        factor, failed = torch.linalg.cholesky_ex(scaled + damping * eye)
        if not failed or damping > 1e9:
            break
        damping *= 100
    return torch.cholesky_solve((right / size).unsqueeze(1), factor).squeeze(1) / size
