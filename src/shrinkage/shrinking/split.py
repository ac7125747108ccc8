"""A linear layer of low rank becomes two thin ones."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
