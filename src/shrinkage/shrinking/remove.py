"""Neurons that nobody reads or that never vary are taken out of two linked layers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from math import prod
from typing import Any

import torch
from torch import Tensor, nn

from shrinkage.shrinking.chains import Link, sizes
from shrinkage.shrinking.operations import through
from shrinkage.shrinking.trace import PER_CHANNEL


def remove_neurons(link: Link, modules: Mapping[str, Any]) -> Counter[str]:
    """Remove dead neurons from ``link``, in place; return how many, by reason.

    A neuron is ``unused`` if all its outgoing weights are zero, and ``constant`` if its incoming
    weights are, or a batch normalization multiplies it by zero. What a constant adds to the next
    layer goes into that layer's bias. Before a zero-padded convolution that amount differs between
    the border and the inside, so there all ``constant`` neurons are ``merged`` into one of them.
    """
    first, second = modules[link.first], modules[link.second]
    outgoing = _outgoing(link, modules)
    constants = _constants(link, modules)
    value = constants.nan_to_num()
    unused = (outgoing == 0).all(2).all(0)
    constant = ~constants.isnan().any(1) & ~unused
    reasons = {"unused": unused, "constant": constant}
    padded = _pads_with_zeros(second)
    if padded:
        varying = constant & (value != 0).any(1)
        carrier = torch.where(varying, value.abs().sum(1), -1).argmax()
        reasons = {"unused": unused, "constant": constant & ~varying, "merged": varying}
        reasons["merged"][carrier] = False
    removed = torch.stack(list(reasons.values())).any(0)
    if removed.all():
        removed[0] = False  # a layer cannot be empty
    counts = Counter({why: int((removed & which).sum()) for why, which in reasons.items()})
    if not removed.any():
        return +counts
    folded = removed & ~unused
    if padded and counts["merged"]:
        share = value[folded] / value[carrier]
        outgoing[:, carrier] += (outgoing[:, folded] * share).sum(1)
    elif not padded and folded.any():
        _add_to_bias(second, (outgoing[:, folded] * value[folded]).sum((1, 2)))
    kept = ~removed
    _keep_neurons(first, kept)
    for node in link.between:
        _keep_channels(modules.get(str(node.target)), kept)
    _set_weight(second, outgoing[:, kept])
    return +counts


def _outgoing(link: Link, modules: Mapping[str, Any]) -> Tensor:
    """Return the next layer's weight as (outputs, neurons, entries), in float64."""
    layer = modules[link.second]
    weight: Tensor = layer.weight.detach().to("cpu", torch.float64, copy=True)
    return weight.reshape(len(weight), sizes(modules[link.first])[1], -1)


def _constants(link: Link, modules: Mapping[str, Any]) -> Tensor:
    """Return what arrives at the next layer, (neurons, entries): NaN where it varies."""
    first = modules[link.first]
    fixed = (first.weight.detach().flatten(1) == 0).all(1).cpu()
    bias = torch.zeros(len(fixed)) if first.bias is None else first.bias.detach().cpu()
    constants = torch.where(fixed, bias.double(), torch.nan)[:, None]
    for node in link.between:
        module = modules[str(node.target)] if node.op == "call_module" else None
        constants = through(node, module, constants, link.entries)
    return constants


def _pads_with_zeros(layer: Any) -> bool:
    if isinstance(layer, nn.Linear) or layer.padding_mode != "zeros":
        return False
    if isinstance(layer.padding, str):
        return layer.padding == "same" and prod(layer.kernel_size) > 1
    return any(layer.padding)


def _keep_neurons(layer: Any, kept: Tensor) -> None:
    layer.weight = _parameter(layer.weight, layer.weight.detach().cpu()[kept])
    if layer.bias is not None:
        layer.bias = _parameter(layer.bias, layer.bias.detach().cpu()[kept])
    _record(layer, len(layer.weight), "out_features", "out_channels")


def _keep_channels(module: nn.Module | None, kept: Tensor) -> None:
    """Keep what a batch normalization or a PReLU holds for the kept neurons."""
    if not isinstance(module, PER_CHANNEL) or getattr(module, "num_parameters", 0) == 1:
        return
    for name, tensor in (*module._parameters.items(), *module._buffers.items()):
        if tensor is not None and tensor.dim():
            entries = kept.repeat_interleave(len(tensor) // len(kept))
            part = tensor.detach().cpu()[entries].to(tensor.device)
            setattr(module, name, _parameter(tensor, part) if name in module._parameters else part)
            _record(module, len(part), "num_features", "num_parameters")


def _set_weight(layer: Any, outgoing: Tensor) -> None:
    values = outgoing.reshape(len(outgoing), -1, *layer.weight.shape[2:])
    layer.weight = _parameter(layer.weight, values)
    _record(layer, values.shape[1], "in_features", "in_channels")


def _add_to_bias(layer: Any, shift: Tensor) -> None:
    if layer.bias is None:
        layer.bias = _parameter(layer.weight, shift)
    else:
        layer.bias = _parameter(layer.bias, layer.bias.detach().to(shift) + shift)


def _parameter(like: Tensor, values: Tensor) -> nn.Parameter:
    return nn.Parameter(values.to(like).clone(), requires_grad=like.requires_grad)


def _record(module: nn.Module, size: int, *names: str) -> None:
    """Write the new size where the module keeps it."""
    for name in names:
        if hasattr(module, name):
            setattr(module, name, size)


def split(layer: nn.Linear, tolerance: float | None) -> nn.Sequential | None:
    r"""Return two layers that multiply to ``layer``, or None if they would not be smaller.

    The rank is the number of singular values above ``tolerance`` times the largest; None stands
    for rounding, :math:`\max(m, n)` times the machine precision of the weight.
    """
    weight = layer.weight.detach().to("cpu", torch.float64)
    if not weight.isfinite().all():
        return None
    u, s, vh = torch.linalg.svd(weight, full_matrices=False)
    relative = max(weight.shape) * torch.finfo(layer.weight.dtype).eps
    rank = max(1, int((s > s[0] * (relative if tolerance is None else tolerance)).sum()))
    if rank * sum(weight.shape) >= weight.numel():
        return None
    root = s[:rank].sqrt()
    narrow = _linear(layer, root[:, None] * vh[:rank], None)
    wide = _linear(layer, u[:, :rank] * root, layer.bias)
    return nn.Sequential(narrow, wide).train(layer.training)


def _linear(like: nn.Linear, weight: Tensor, bias: Tensor | None) -> nn.Linear:
    outputs, inputs = weight.shape
    layer = nn.Linear(inputs, outputs, bias=bias is not None, device="meta")
    trainable = like.weight.requires_grad
    layer.weight = nn.Parameter(weight.to(like.weight).contiguous(), requires_grad=trainable)
    if bias is not None:
        layer.bias = nn.Parameter(bias.detach().clone(), requires_grad=bias.requires_grad)
    return layer
