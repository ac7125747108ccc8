r"""L2: the sum of squares."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from shrinkage.penalties.base import Penalty


@dataclass(frozen=True, eq=False, repr=False)
class L2(Penalty):
    r"""The sum of squared weights, known as ridge or weight decay.

    .. math:: P(w) = \lambda \sum_i w_i^2

    Convention: no factor 1/2, as in the common tutorial and in Keras. So the gradient is
    :math:`2 \lambda w` and ``weight_decay=2*strength`` in ``torch.optim`` (coupled in SGD, Adam,
    RMSprop; decoupled in AdamW). scikit-learn's ``Ridge(alpha)`` on n samples is
    ``L2(alpha / n)`` beside a mean squared error; ``LogisticRegression(C)`` is
    ``L2(1 / (2 * C * n))`` beside a mean cross-entropy.

    Args:
        strength: :math:`\lambda \ge 0`, number or 0-d tensor, in loss per squared weight.

    Shape:
        w: any. value: (). gradient, prox: as w.

    Raises:
        ShrinkageError: The strength is negative, not finite or not a number.

    Example:
        >>> L2(0.5).value(torch.tensor([3.0, 4.0]))
        tensor(12.5000)
        >>> print(L2(0.5))
        L2(0.5)  # = torch weight_decay=1, Keras L2(0.5)

    References:
        Hoerl & Kennard (1970), Ridge Regression, Technometrics 12(1), 55-67.
    """

    convex: ClassVar = True
    smooth: ClassVar = True
    absolute: ClassVar = True
    examples: ClassVar = ({"strength": 0.3},)

    def value(self, w: Tensor) -> Tensor:
        return self.strength * w.square().sum()

    def gradient(self, w: Tensor) -> Tensor:
        return 2 * self.strength * w

    def prox(self, w: Tensor, step: float | Tensor) -> Tensor:
        return w / (1 + 2 * step * self.strength)

    def strength_max(self, gradient: Tensor) -> Tensor:
        return torch.where(gradient.any(), torch.inf, 0.0)

    def twins(self) -> dict[str, str]:
        if self.toward is not None:
            return {}
        return {"torch": f"weight_decay={2 * self.strength:g}", "Keras": f"L2({self.strength:g})"}
