"""Operations between two layers: which keep neurons apart, and what they do to constants.

The constants of a layer's neurons are a (neurons, entries) matrix: NaN where a neuron varies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

from shrinkage.shrinking.trace import is_batch_size

ELEMENTWISE: tuple[Any, ...] = (
    nn.CELU, nn.ELU, nn.GELU, nn.Hardshrink, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.Identity,
    nn.LeakyReLU, nn.LogSigmoid, nn.Mish, nn.ReLU, nn.ReLU6, nn.SELU, nn.Sigmoid, nn.SiLU,
    nn.Softplus, nn.Softshrink, nn.Softsign, nn.Tanh, nn.Tanhshrink, nn.Threshold,
    F.celu, F.elu, F.gelu, F.hardtanh, F.leaky_relu, F.mish, F.relu, F.relu6, F.selu, F.sigmoid,
    F.silu, F.softplus, F.tanh, torch.relu, torch.sigmoid, torch.tanh, "relu", "sigmoid", "tanh",
)  # fmt: skip
DROPOUT: tuple[Any, ...] = (
    nn.AlphaDropout, nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.FeatureAlphaDropout,
    F.alpha_dropout, F.dropout, F.dropout1d, F.dropout2d, F.dropout3d, F.feature_alpha_dropout,
)  # fmt: skip
AVERAGE: dict[Any, int] = {
    nn.AvgPool1d: 1, nn.AvgPool2d: 2, nn.AvgPool3d: 3,
    F.avg_pool1d: 1, F.avg_pool2d: 2, F.avg_pool3d: 3,
}  # fmt: skip
POOLS: dict[Any, int] = AVERAGE | {
    nn.MaxPool1d: 1, nn.MaxPool2d: 2, nn.MaxPool3d: 3,
    nn.AdaptiveAvgPool1d: 1, nn.AdaptiveAvgPool2d: 2, nn.AdaptiveAvgPool3d: 3,
    nn.AdaptiveMaxPool1d: 1, nn.AdaptiveMaxPool2d: 2, nn.AdaptiveMaxPool3d: 3,
    F.max_pool1d: 1, F.max_pool2d: 2, F.max_pool3d: 3,
    F.adaptive_avg_pool1d: 1, F.adaptive_avg_pool2d: 2, F.adaptive_avg_pool3d: 3,
}  # fmt: skip
BATCH_NORM = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)


@dataclass(frozen=True)
class Neurons:
    """Where the neurons of a layer are in the tensor at hand.

    Attributes:
        rank: Axes of the tensor.
        on_axis_1: They lie along axis 1, after the rows; else along the last axis.
    """

    rank: int
    on_axis_1: bool


class MixedError(Exception):
    """An operation that cannot be proved to keep neurons apart; says why."""


def follow(node: fx.Node, module: nn.Module | None, before: fx.Node, neurons: Neurons) -> Neurons:
    """Return where the neurons are in the output of ``node``.

    Raises:
        MixedError: The operation may mix them.
    """
    kind, label = operation(node, module)
    if _flattens(node, module, before):
        if not neurons.on_axis_1:
            raise MixedError("followed by a flattening that interleaves its neurons")
        return replace(neurons, rank=2)
    if node.all_input_nodes != [before]:
        raise MixedError(f"followed by {label}, which brings branches together or is not known")
    if kind in DROPOUT:
        if module is None and node.kwargs.get("training", True):
            raise MixedError("followed by a dropout that is on even in evaluation")
        return neurons
    if kind in ELEMENTWISE or (isinstance(module, nn.PReLU) and module.num_parameters == 1):
        return neurons
    if kind in BATCH_NORM or kind is nn.PReLU:
        if not neurons.on_axis_1:
            raise MixedError(f"followed by {label} along another axis")
        return neurons
    if kind in POOLS:
        if not (neurons.on_axis_1 and neurons.rank == POOLS[kind] + 2):
            raise MixedError(f"followed by {label} along its neurons")
        return neurons
    raise MixedError(f"followed by {label}, which may mix its neurons")


def through(node: fx.Node, module: nn.Module | None, constants: Tensor, entries: int) -> Tensor:
    """Return what constants are in the output of ``node``.

    Args:
        node: An operation that `follow` accepts.
        module: What it calls, if a module.
        constants: (neurons, 1), or (neurons, entries) after a flattening.
        entries: Numbers per neuron that the next layer reads from a row.
    """
    kind, _ = operation(node, module)
    if kind in DROPOUT:
        return constants
    if isinstance(module, BATCH_NORM):
        after = _normalized(module, constants)
    elif isinstance(module, nn.PReLU):
        slope = _rows(module.weight, constants)
        after = torch.where(constants > 0, constants, slope * constants)
    elif kind in POOLS:
        after = (
            constants
            if _keeps_constants(node, module)
            else constants.where(constants == 0, torch.nan)
        )
    elif kind in ELEMENTWISE:
        after = _apply(node, module, constants.clone())
    else:
        return constants.expand(-1, entries)
    return after.where(after.isfinite(), torch.nan)


def operation(node: fx.Node, module: nn.Module | None) -> tuple[Any, str]:
    """Return what kind of operation a node is, and its name for people."""
    if module is not None:
        return type(module), type(module).__name__
    if node.op == "output":
        return None, "the output"
    return node.target, str(getattr(node.target, "__name__", node.target))


def _flattens(node: fx.Node, module: nn.Module | None, before: fx.Node) -> bool:
    """Return whether all axes after the first become one."""
    if isinstance(module, nn.Flatten):
        return (module.start_dim, module.end_dim) == (1, -1)
    if node.target in ("view", "reshape") and len(node.args) == 3:
        return is_batch_size(node.args[1], before) and bool(node.args[2] == -1)
    if node.target is torch.flatten or (node.op == "call_method" and node.target == "flatten"):
        given = dict(zip(("start_dim", "end_dim"), node.args[1:], strict=False)) | node.kwargs
        return bool(given.get("start_dim") == 1 and given.get("end_dim", -1) == -1)
    return False


def _apply(node: fx.Node, module: nn.Module | None, constants: Tensor) -> Tensor:
    call: Any = module or node.target
    if node.op == "call_method":
        call = getattr(Tensor, str(node.target))
    rest: tuple[Any, ...] = () if module else node.args[1:]
    options: dict[str, Any] = {} if module else dict(node.kwargs)
    result: Tensor = call(constants, *rest, **options)
    return result


def _normalized(module: nn.Module, constants: Tensor) -> Tensor:
    mean, variance, weight, bias = (
        _rows(tensor, constants)
        for tensor in (module.running_mean, module.running_var, module.weight, module.bias)
    )
    if module.running_mean is None:
        return torch.full_like(constants, torch.nan)
    scale = torch.ones(()) if weight is None else weight
    shift = torch.zeros(()) if bias is None else bias
    normal = (constants - mean) / (variance + module.eps).sqrt()
    return torch.where(scale == 0, shift, normal * scale + shift)


def _rows(values: Any, constants: Tensor) -> Any:
    """Return one value per entry of ``constants``, in their order and type."""
    if values is None:
        return None
    return (
        values.detach()
        .to("cpu", torch.float64)
        .reshape(-1, constants.shape[1] if values.numel() > 1 else 1)
    )


def _keeps_constants(node: fx.Node, module: nn.Module | None) -> bool:
    """Return whether a constant image stays constant: an average over padding does not."""
    kind, _ = operation(node, module)
    if kind not in AVERAGE:
        return True
    if module is None:
        return len(node.args) <= 3 and not {"padding", "divisor_override"} & set(node.kwargs)
    padding: Any = module.padding
    padded = any(padding) if isinstance(padding, tuple) else padding > 0
    plain = getattr(module, "divisor_override", None) is None
    return plain and not (padded and module.count_include_pad)
