r"""L1: the sum of absolute values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from shrinkage.penalties.base import Penalty
from shrinkage.tensors.norms import largest
from shrinkage.tensors.threshold import soft_threshold


@dataclass(frozen=True, eq=False, repr=False)
class L1(Penalty):
    r"""The sum of absolute weights, known as the lasso; its prox gives exact zeros.

    .. math:: P(w) = \lambda \sum_i |w_i|

    Gradient at zero: zero, the subgradient of smallest norm. scikit-learn's ``Lasso(alpha)`` is
    ``L1(2 * alpha)`` beside a mean squared error; ``LogisticRegression(C)`` on n samples is
    ``L1(1 / (C * n))`` beside a mean cross-entropy.

    Args:
        strength: :math:`\lambda \ge 0`, number or 0-d tensor, in loss per unit of weight.

    Shape:
        w: any. value: (). gradient, prox: as w.

    Raises:
        ShrinkageError: The strength is negative, not finite or not a number.

    Example:
        >>> import torch
        >>> L1(0.5).prox(torch.tensor([2.0, 0.3]), step=1.0)
        tensor([1.5000, 0.0000])

    References:
        Tibshirani (1996), Regression Shrinkage and Selection via the Lasso, JRSS-B 58(1), 267-288.
    """

    convex: ClassVar = True
    smooth: ClassVar = False
    absolute: ClassVar = True
    examples: ClassVar = ({"strength": 0.3},)

    def value(self, w: Tensor) -> Tensor:
        return self.strength * w.abs().sum()

    def gradient(self, w: Tensor) -> Tensor:
        return self.strength * w.sign()

    def prox(self, w: Tensor, step: float | Tensor) -> Tensor:
        return soft_threshold(w, step * self.strength)

    def strength_max(self, gradient: Tensor) -> Tensor:
        return largest(gradient)

    def twins(self) -> dict[str, str]:
        if self.toward is not None:
            return {}
        return {"Keras": f"L1({self.strength:g})"}
