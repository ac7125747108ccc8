"""Pairs of layers whose neurons can be followed from the first to the second."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import fx, nn

from shrinkage.shrinking.operations import MixedError, Neurons, follow
from shrinkage.shrinking.trace import LAYERS, PER_CHANNEL, Traced, users


@dataclass(frozen=True)
class Link:
    """Two layers of which the second alone reads the neurons of the first.

    Attributes:
        first, second: Names of the layers.
        between: The operations between them, in order.
        entries: Inputs of the second per neuron of the first: more than one after a flattening.
    """

    first: str
    second: str
    between: tuple[fx.Node, ...]
    entries: int


def find_links(traced: Traced) -> tuple[list[Link], dict[str, str]]:
    """Return every link, and for each layer without one the reason why its neurons stay."""
    links, stay = [], {}
    for name, node in traced.calls.items():
        if isinstance(traced.modules[name], LAYERS):
            try:
                links.append(_link(name, node, traced))
            except MixedError as reason:
                stay[name] = str(reason)
    return links, stay


def _link(name: str, node: fx.Node, traced: Traced) -> Link:
    first = traced.modules[name]
    neurons = _neurons(first, node, traced)
    if _groups(first) > 1:
        raise MixedError("a grouped convolution")
    between: list[fx.Node] = []
    while True:
        after = users(node)
        if len(after) != 1:
            raise MixedError(f"its output is used in {len(after)} places")
        before, node = node, after[0]
        if node.op == "output":
            raise MixedError("its neurons are outputs of the model")
        module = traced.modules[str(node.target)] if node.op == "call_module" else None
        if isinstance(module, LAYERS + PER_CHANNEL) and str(node.target) in traced.left:
            raise MixedError(f"followed by {node.target}: {traced.left[str(node.target)]}")
        if module is not None and type(module) in LAYERS:
            entries = _entries(first, module, neurons)
            return Link(name, str(node.target), tuple(between), entries)
        neurons = follow(node, module, before, neurons)
        between.append(node)


def _neurons(first: nn.Module, node: fx.Node, traced: Traced) -> Neurons:
    """Return where the neurons of a layer are; without an example, in batches as torch has them."""
    axes = _axes(first)
    rank = traced.ranks.get(node, axes + 2)
    return Neurons(rank, on_axis_1=rank == axes + 2)


def _entries(first: nn.Module, second: nn.Module, neurons: Neurons) -> int:
    axes, inputs, outputs = _axes(second), sizes(second)[0], sizes(first)[1]
    if _groups(second) > 1:
        raise MixedError("followed by a grouped convolution")
    along = neurons.rank == axes + 2 if axes else neurons.rank == 2 or not neurons.on_axis_1
    if not along or (axes and not neurons.on_axis_1) or inputs % outputs:
        raise MixedError(f"followed by {type(second).__name__} along another axis")
    return inputs // outputs


def sizes(layer: Any) -> tuple[int, int]:
    """Return the number of inputs and of neurons of a layer."""
    if isinstance(layer, nn.Linear):
        return layer.in_features, layer.out_features
    return layer.in_channels, layer.out_channels


def _axes(layer: Any) -> int:
    """Return how many axes a convolution slides along; 0 for ``nn.Linear``."""
    return 0 if isinstance(layer, nn.Linear) else len(layer.kernel_size)


def _groups(layer: nn.Module) -> int:
    return int(getattr(layer, "groups", 1))
