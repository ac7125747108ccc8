"""The couplings on many tensors at once: the same numbers as ``coupling``, in few operations.

The tensors of one call share their device and type. L2 and L1 take at most five operations of a
GPU, however many tensors there are; penalties without a form here go tensor by tensor.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from shrinkage._sharded import part, shard, shards, whole
from shrinkage.constraints import Constraint
from shrinkage.coupling import coupled, decoupled, projected, proximal
from shrinkage.penalties import L1, L2, ElasticNet, Penalty

Number = float | Tensor
Tensors = list[Tensor] | tuple[Tensor, ...]


def add_gradients_(
    penalty: Penalty, ws: list[Tensor], gradients: list[Tensor], scale: Number | None = None
) -> None:
    """Add the penalty's gradients to the loss's: :func:`shrinkage.coupling.coupled`."""
    if not _together(penalty, ws):
        for w, gradient in zip(ws, gradients, strict=True):
            _put(gradient, coupled(penalty, whole(w), whole(gradient), scale))
        return
    ws, gradients = shards(ws), shards(gradients)
    directions, factor = _directions(penalty, ws)
    factor = factor if scale is None else factor * _number(scale)
    if isinstance(factor, Tensor):
        torch._foreach_add_(gradients, torch._foreach_mul(directions, factor))
    else:
        torch._foreach_add_(gradients, directions, alpha=factor)


def shrinks(penalty: Penalty, ws: list[Tensor], lr: Number) -> Tensors:
    """Return what comes off the tensors: :func:`shrinkage.coupling.decoupled`."""
    if not _together(penalty, ws):
        return [part(decoupled(penalty, whole(w), lr), w) for w in ws]
    directions, factor = _directions(penalty, shards(ws))
    return torch._foreach_mul(directions, factor * _number(lr))


def scales(penalty: Penalty) -> bool:
    """Say whether a decoupled step is a mere factor on the tensors: :func:`scale_`."""
    return type(penalty) is L2 and penalty.toward is None


def scale_(penalty: Penalty, ws: list[Tensor], lr: Number) -> None:
    """Take off in place what :func:`shrinks` would measure, in one pass over memory, as AdamW."""
    torch._foreach_mul_(shards(ws), 1 - _number(lr) * (2 * _number(penalty.strength)))


def subtract_(ws: list[Tensor], shrunk: Tensors) -> None:
    """Take off what :func:`shrinks` measured."""
    torch._foreach_sub_(shards(ws), shrunk)


def prox_(penalty: Penalty, ws: list[Tensor], lr: Number, skipped: Tensor | None = None) -> None:
    """Apply the prox: :func:`shrinkage.coupling.proximal`; not where ``skipped`` is true."""
    if not _together(penalty, ws):
        for w in ws:
            _put(w, proximal(penalty, whole(w), lr), skipped)
        return
    ws = shards(ws)
    step = lr if skipped is None else torch.where(skipped, 0.0, lr)
    threshold = _number(step) * _number(penalty.strength)
    if type(penalty) is L2:
        torch._foreach_div_(ws, 1 + 2 * threshold)
    elif type(penalty) is L1:
        _soft_threshold_(ws, threshold)
    elif type(penalty) is ElasticNet:
        _soft_threshold_(ws, threshold * penalty.l1_ratio)
        torch._foreach_div_(ws, 1 + threshold * (1 - penalty.l1_ratio))


def project_(constraint: Constraint, ws: list[Tensor], skipped: Tensor | None = None) -> None:
    """Project: :func:`shrinkage.coupling.projected`; not where ``skipped`` is true."""
    for w in ws:
        _put(w, projected(constraint, whole(w)), skipped)


def _together(penalty: Penalty, ws: list[Tensor]) -> bool:
    """Say whether there is a form for many tensors like these."""
    known = type(penalty) in (L2, L1, ElasticNet)  # not isinstance: their class is abstract, slow
    return known and penalty.toward is None and not ws[0].is_complex()


def _directions(penalty: Penalty, ws: list[Tensor]) -> tuple[Tensors, Number]:
    """Return tensors, and the number that makes them the gradients of the penalty."""
    if type(penalty) is L2:
        return ws, 2 * _number(penalty.strength)
    if type(penalty) is L1:
        return torch._foreach_sign(ws), _number(penalty.strength)
    assert type(penalty) is ElasticNet
    directions = torch._foreach_sign(ws)
    torch._foreach_mul_(directions, penalty.l1_ratio)
    torch._foreach_add_(directions, ws, alpha=1 - penalty.l1_ratio)
    return directions, _number(penalty.strength)


def _soft_threshold_(ws: list[Tensor], threshold: Number) -> None:
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
