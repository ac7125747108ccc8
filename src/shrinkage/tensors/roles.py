"""What a tensor is to the modules that hold it: a weight, a bias, an embedding, a part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]

from shrinkage.tensors.sharded import class_of

WEIGHTED_MODULES = (
    nn.Linear,
    nn.modules.conv._ConvNd,
    nn.RNNBase,
    nn.RNNCellBase,
    nn.MultiheadAttention,
    nn.Bilinear,
)
EMBEDDINGS = (nn.Embedding, nn.EmbeddingBag)
NORMALIZATIONS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


class Use(NamedTuple):
    """One place of a tensor in a model."""

    name: str
    module: nn.Module
    local_name: str


class Role(NamedTuple):
    """What a tensor is, and how a reader is told."""

    name: Literal["weight", "bias", "embedding", "normalization", "part", "marked", "other"]
    reason: str


def role_of(tensor: Tensor, uses: Sequence[Use]) -> Role:
    """Return the role of a tensor, by the modules that use it.

    It is an embedding if any of them is one, so also where an output layer is tied to it. It is a
    weight in torch's modules that multiply by a matrix; in others, of any library, if it is called
    ``weight`` or ``..._weight``, has two or more axes, and the module is no normalization.
    """
    if part := _part(uses):
        return Role("part", part)
    if getattr(tensor, "_no_weight_decay", False):
        return Role("marked", "marked _no_weight_decay")
    for _, module, local_name in uses:
        if "bias" not in local_name and _is_embedding(module):
            reason = f"{local_name} of {kind(module)}: an embedding; select it by name"
            return Role("embedding", reason)
    for _, module, local_name in uses:
        if "bias" not in local_name and _has_weight(module, local_name, tensor):
            return Role("weight", f"weight of {kind(module)}")
    _, module, local_name = uses[0]
    if "bias" in local_name:
        return Role("bias", f"bias of {kind(module)}")
    reason = f"{local_name} of {kind(module)}: not a weight by role; select it by name"
    return Role("normalization" if _is_normalization(module) else "other", reason)


def kind(module: nn.Module) -> str:
    """Return the name of a module's class, with its package if that is not torch."""
    package = class_of(module).__module__.partition(".")[0]
    name = _class_name(module)
    return name if package in ("torch", "__main__") else f"{package}.{name}"


def is_lazy(tensor: Tensor) -> bool:
    """Return whether a tensor has no size yet; unlike torch's function, also in compiled code."""
    return isinstance(tensor, UninitializedTensorMixin)


def _class_name(module: nn.Module) -> str:
    if isinstance(module, torch.jit.ScriptModule):
        return str(module.original_name)
    name = class_of(module).__name__
    return "Linear" if name == "NonDynamicallyQuantizableLinear" else name  # that of attention


def _part(uses: Sequence[Use]) -> str:
    """Say which effective tensor this one is a part of, as under ``weight_norm``, if any."""
    for name, module, local_name in uses:
        effective = ""
        if isinstance(module, nn.utils.parametrize.ParametrizationList):
            effective = name.replace(".parametrizations.", ".", 1).removesuffix(f".{local_name}")
            effective = effective.removeprefix("parametrizations.")
        elif computed := _computed_from(module, local_name):
            effective = name.removesuffix(local_name) + computed
        if effective:
            return (
                f"parametrized: only a part of the effective weight {effective}, which every "
                "forward pass computes anew; add penalty.value of that one to the loss"
            )
    return ""


def _has_weight(module: nn.Module, local_name: str, tensor: Tensor) -> bool:
    if isinstance(module, WEIGHTED_MODULES):
        return True
    named = local_name == "weight" or local_name.endswith("_weight")
    return named and not _is_normalization(module) and (is_lazy(tensor) or tensor.dim() >= 2)


def _is_embedding(module: nn.Module) -> bool:
    named = "Embedding" in _class_name(module) and not isinstance(module, WEIGHTED_MODULES)
    return named or isinstance(module, EMBEDDINGS)


def _is_normalization(module: nn.Module) -> bool:
    return "Norm" in _class_name(module) or isinstance(module, NORMALIZATIONS)


def _computed_from(module: nn.Module, local_name: str) -> str:
    """Return the attribute that a module computes from its parameter ``NAME_...``: ``NAME``.

    So do ``weight_norm``, ``spectral_norm`` and ``prune`` of ``torch.nn.utils``.
    """
    name, _, suffix = local_name.rpartition("_")
    if not name or suffix == "reverse":  # the other direction of a recurrent layer
        return ""
    computed = isinstance(module.__dict__.get(name), Tensor)
    computed |= isinstance(getattr(type(module), name, None), property)
    return name if computed else _computed_from(module, name)
