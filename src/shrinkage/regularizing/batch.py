"""The couplings on many tensors at once: the same numbers as ``coupling``, in few operations.

L2 and L1 take at most five operations of a GPU, however many tensors there are; penalties without a
form here go tensor by tensor.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from shrinkage.coupling import coupled, decoupled, projected, proximal
from shrinkage.penalties import L1, L2, ElasticNet
from shrinkage.tensors.sharded import is_sharded, part, shard, whole

Number = float | Tensor
Tensors = list[Tensor] | tuple[Tensor, ...]


class Batch:
    """Tensors of one rule, parameter group, device and type, with what acts on them now.

    What depends on them alone is found out once, not in every step.

    Attributes:
        acting: A penalty, or a constraint where it is projected.
        group: The parameter group.
        tensors: At least one.
        scales: Whether a decoupled step is a mere factor on the tensors: :meth:`scale_`.
    """

    def __init__(self, acting: Any, group: dict[str, Any], tensors: list[Tensor]) -> None:
        self.acting, self.group, self.tensors = acting, group, tensors
        same = getattr(acting, "toward", None) is None and not tensors[0].is_complex()
        self._form = type(acting) if same and type(acting) in (L2, L1, ElasticNet) else None
        self._sharded = is_sharded(tensors[0])
        self.scales = self._form is L2

    def of(self, tensors: list[Tensor]) -> Batch:
        """Return a part of the batch."""
        return Batch(self.acting, self.group, tensors)

    def add_gradients_(self, gradients: list[Tensor], scale: Number | None = None) -> None:
        """Add the penalty's gradients to the loss's: :func:`shrinkage.coupling.coupled`."""
        if self._form is None:
            for w, gradient in zip(self.tensors, gradients, strict=True):
                _put(gradient, coupled(self.acting, whole(w), whole(gradient), scale))
            return
        directions, factor = self._directions()
        factor = factor if scale is None else factor * _number(scale)
        if isinstance(factor, Tensor):
            directions, factor = torch._foreach_mul(directions, factor), 1
        torch._foreach_add_(self._shards(gradients), directions, alpha=factor)

    def decrements(self, lr: Number) -> Tensors:
        """Return what a step takes off the tensors: :func:`shrinkage.coupling.decoupled`."""
        if self._form is None:
            return [part(decoupled(self.acting, whole(w), lr), w) for w in self.tensors]
        directions, factor = self._directions()
        return torch._foreach_mul(directions, factor * _number(lr))

    def subtract_(self, decrements: Tensors) -> None:
        """Take off what :meth:`decrements` measured."""
        torch._foreach_sub_(self._shards(self.tensors), decrements)

    def scale_(self, lr: Number) -> None:
        """Take off what :meth:`decrements` would measure, in one pass over memory, as AdamW."""
        factor = 1 - _number(lr) * (2 * _number(self.acting.strength))
        torch._foreach_mul_(self._shards(self.tensors), factor)

    def prox_(self, lr: Number, skipped: Tensor | None = None) -> None:
        """Apply the prox: :func:`shrinkage.coupling.proximal`; not where ``skipped`` is true."""
        penalty, form = self.acting, self._form
        if form is None:
            for w in self.tensors:
                _put(w, proximal(penalty, whole(w), lr), skipped)
            return
        ws = self._shards(self.tensors)
        step = lr if skipped is None else torch.where(skipped, 0.0, lr)
        threshold = _number(step) * _number(penalty.strength)
        if form is L1:
            _soft_threshold_(ws, threshold)
        elif form is L2:
            torch._foreach_div_(ws, 1 + 2 * threshold)
        else:
            _soft_threshold_(ws, threshold * penalty.l1_ratio)
            torch._foreach_div_(ws, 1 + threshold * (1 - penalty.l1_ratio))

    def project_(self, skipped: Tensor | None = None) -> None:
        """Project: :func:`shrinkage.coupling.projected`; not where ``skipped`` is true."""
        for w in self.tensors:
            _put(w, projected(self.acting, whole(w)), skipped)

    def _shards(self, tensors: list[Tensor]) -> list[Tensor]:
        return [shard(one) for one in tensors] if self._sharded else tensors

    def _directions(self) -> tuple[Tensors, Number]:
        """Return tensors, and the number that makes them the gradients of the penalty."""
        penalty, ws = self.acting, self._shards(self.tensors)
        if self._form is L2:
            return ws, 2 * _number(penalty.strength)
        directions = torch._foreach_sign(ws)
        if self._form is ElasticNet:
            torch._foreach_mul_(directions, penalty.l1_ratio)
            torch._foreach_add_(directions, ws, alpha=1 - penalty.l1_ratio)
        return directions, _number(penalty.strength)


class Batches(NamedTuple):
    """What one step updates, by coupling."""

    coupled: list[Batch]
    decoupled: list[Batch]
    proximal: list[Batch]
    projected: list[Batch]


def _soft_threshold_(ws: list[Tensor], threshold: Number) -> None:
    if not isinstance(threshold, Tensor) and threshold == 0:
        return
    if isinstance(threshold, Tensor):  # the clamps want a number
        kept = torch._foreach_abs(ws)
        torch._foreach_add_(kept, threshold, alpha=-1)
        torch._foreach_clamp_min_(kept, 0.0)
        torch._foreach_sign_(ws)
        torch._foreach_mul_(ws, kept)
    elif ws[0].is_cpu:  # where many tensors at once are a loop, one pass over memory beats three
        for w in ws:
            F.softshrink(w, threshold, out=w)  # type: ignore[call-arg]
    else:
        inner = torch._foreach_clamp_max(ws, threshold)
        torch._foreach_clamp_min_(inner, -threshold)
        torch._foreach_sub_(ws, inner)


def _number(value: Number) -> Number:
    """Return a number for a tensor that nobody has to wait for: one in main memory."""
    return value.item() if isinstance(value, Tensor) and value.is_cpu else value


def _put(w: Tensor, new: Tensor, skipped: Tensor | None = None) -> None:
    own, new = shard(w), part(new, w)
    own.copy_(new if skipped is None else torch.where(skipped, own, new))
