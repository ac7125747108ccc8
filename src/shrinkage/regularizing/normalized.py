"""Weights whose scale makes no difference, since a normalization follows and undoes it."""

from __future__ import annotations

import copy
import random
from collections import OrderedDict
from collections.abc import Iterator
from itertools import pairwise

from torch import fx, nn

from shrinkage.tensors.own_thread import own_random_numbers
from shrinkage.tensors.sharded import class_of
from shrinkage.tensors.wrapped import unwrapped

LAYERS = (nn.Linear, nn.modules.conv._ConvNd)
PER_CHANNEL = (nn.modules.batchnorm._BatchNorm, nn.modules.instancenorm._InstanceNorm)
ACROSS_CHANNELS = (nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def scale_invariant(model: nn.Module) -> dict[str, nn.Module]:
    """Return the layers whose weight can be multiplied without a change of the output, by name.

    This holds in training mode and up to the normalization's ``eps``. A layer is found if a single
    normalization is all that follows it: in the graph of ``forward`` if that can be traced, else in
    the order of an ``nn.Sequential``. Where each channel is centered by itself, the layer may have
    a bias.
    """
    model = unwrapped(model)
    modules = dict(model.named_modules())
    if not any(isinstance(module, PER_CHANNEL + ACROSS_CHANNELS) for module in modules.values()):
        return {}
    pairs = _by_graph(model) or _by_order(modules)
    return {name: modules[name] for name, after in pairs if _undoes(modules[after], modules[name])}


def _undoes(after: nn.Module, layer: nn.Module) -> bool:
    if not isinstance(layer, LAYERS):
        return False
    across = isinstance(after, ACROSS_CHANNELS) and layer.bias is None
    return isinstance(after, PER_CHANNEL) or across


def _by_order(modules: dict[str, nn.Module]) -> list[tuple[str, str]]:
    chains = [(name, m) for name, m in modules.items() if type(m) is nn.Sequential]
    return [
        (f"{name}.{one}".lstrip("."), f"{name}.{other}".lstrip("."))
        for name, chain in chains
        for one, other in pairwise(chain._modules)
    ]


def _by_graph(model: nn.Module) -> list[tuple[str, str]]:
    """Return which module feeds which alone; nothing where ``forward`` cannot be traced."""
    state = random.getstate()
    try:
        with own_random_numbers(0):
            graph = fx.Tracer().trace(_shell(model))
    except Exception:  # whatever a forward() does with what is no tensor
        return []
    finally:
        random.setstate(state)
    return list(_pairs(graph))


def _pairs(graph: fx.Graph) -> Iterator[tuple[str, str]]:
    calls = [node for node in graph.nodes if node.op == "call_module"]
    for node in calls:
        once = sum(other.target == node.target for other in calls) == 1
        if once and len(node.users) == 1 and (after := next(iter(node.users))) in calls:
            yield str(node.target), str(after.target)


def _shell(module: nn.Module) -> nn.Module:
    """Return a copy that shares its tensors, so that ``forward`` writes nothing to the model."""
    shell: nn.Module = object.__new__(class_of(module))
    for name, value in vars(module).items():
        own = copy.copy(value) if isinstance(value, list | dict | set) else value
        shell.__dict__[name] = own
    shell._forward_hooks, shell._forward_pre_hooks = OrderedDict(), OrderedDict()
    shell._modules = {name: child and _shell(child) for name, child in module._modules.items()}
    return shell
