"""Tensors of which each process holds a shard, as ``fully_shard`` and tensor parallelism do.

The one rule: where every entry of a tensor is treated alike, each process works on its shard, a
tensor like any other. Everything else sees the whole tensor, gathered for the moment, and each
process keeps its part of the outcome. To gather is to meet: all processes have to do it together.
"""

from __future__ import annotations

import sys

from torch import Tensor, nn


def whole(w: Tensor) -> Tensor:
    """Return ``w``, gathered if it is sharded; derivatives pass through."""
    full: Tensor = w.full_tensor() if is_sharded(w) else w  # type: ignore[attr-defined]
    return full


def shard(w: Tensor) -> Tensor:
    """Return the shard of ``w`` that this process holds, in the same memory; else ``w``."""
    own: Tensor = w.to_local() if is_sharded(w) else w  # type: ignore[attr-defined]
    return own


def part(outcome: Tensor, w: Tensor) -> Tensor:
    """Return what of ``outcome``, a whole tensor, belongs to the shard of ``w``."""
    if not is_sharded(w):
        return outcome
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(w, DTensor)
    return distribute_tensor(outcome, w.device_mesh, w.placements, src_data_rank=None).to_local()


def split_alike(w: Tensor, gradient: Tensor) -> bool:
    """Say whether a gradient is sharded as its tensor is, and is not a partial sum."""
    return getattr(w, "placements", None) == getattr(gradient, "placements", None)


def version(w: Tensor) -> int:
    """Return a count that grows with every in-place change of the tensor or of its shard."""
    return w._version + shard(w)._version if is_sharded(w) else w._version


def reshard(model: nn.Module) -> None:
    """Make modules hold their shards again: after a forward pass they may hold gathered copies."""
    for module in model.modules():
        if _is_fully_sharded(module):
            module.reshard()  # type: ignore[operator]


def class_of(module: nn.Module) -> type[nn.Module]:
    """Return the class of a module, not the one that ``fully_shard`` derives from it."""
    return type(module).__bases__[1] if _is_fully_sharded(module) else type(module)


def is_sharded(w: Tensor) -> bool:
    """Say whether each process holds a shard of ``w``, or a copy as tensor parallelism does."""
    if type(w) in (nn.Parameter, Tensor):  # most are, and this is the fastest test
        return False
    return hasattr(w, "full_tensor")  # a DTensor; importing its module takes long


def _is_fully_sharded(module: nn.Module) -> bool:
    fsdp = sys.modules.get("torch.distributed.fsdp")  # None: not loaded, so no such modules
    return fsdp is not None and isinstance(module, fsdp.FSDPModule)
