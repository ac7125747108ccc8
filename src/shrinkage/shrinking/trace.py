"""What a model's ``forward`` does, as a graph, and which of its modules may be changed."""

from __future__ import annotations

import operator
from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
PER_CHANNEL = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.PReLU)


@dataclass(frozen=True)
class Traced:
    """A model and the graph of its ``forward`` in evaluation.

    Attributes:
        modules: Every module by its name.
        calls: The one node that calls a module, for each module that may be changed.
        ranks: Axes of each node's tensor, as seen on the example; empty without one.
        left: Why a module with parameters may not be changed.
    """

    modules: dict[str, nn.Module]
    calls: dict[str, fx.Node]
    ranks: dict[fx.Node, int]
    left: dict[str, str]


def trace(model: nn.Module, example: tuple[Any, ...] | None) -> Traced:
    """Trace ``model``, which is in evaluation mode; nothing is computed without an example."""
    modules = dict(model.named_modules())
    owners = [name for name, module in modules.items() if module._parameters]
    try:
        graph = _Tracer().trace(model)
    except Exception as error:  # whatever a forward() does with what is no tensor
        cause = (str(error) or type(error).__name__).strip("'").splitlines()[0]
        return Traced(
            modules, {}, {}, dict.fromkeys(owners, f"forward() cannot be traced: {cause}")
        )
    ranks = _Ranks(model, graph).of(example) if example is not None else {}
    calls = {str(node.target): node for node in graph.nodes if node.op == "call_module"}
    times = Counter(str(node.target) for node in graph.nodes if node.op == "call_module")
    read = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    shared = _shared(model)
    left = {}
    for name in owners:
        if why := _why_left(name, modules, times, read, shared):
            left[name] = why
    return Traced(modules, {n: c for n, c in calls.items() if n not in left}, ranks, left)


def users(node: fx.Node) -> list[fx.Node]:
    """Return the nodes that use the values of ``node``, not only the size of its batch."""
    return [user for user in node.users if not _reads_batch_size(user)]


def is_batch_size(value: Any, node: fx.Node) -> bool:
    """Return whether ``value`` is the length of the first axis of ``node``."""
    if not isinstance(value, fx.Node):
        return False
    if value.target is operator.getitem and value.args[1] == 0:
        value = value.args[0]
    return isinstance(value, fx.Node) and _reads_batch_size(value) and value.args[0] is node


def _reads_batch_size(node: fx.Node) -> bool:
    if node.op == "call_method" and node.target == "size":
        return node.args[1:] == (0,)
    shape = node.op == "call_function" and node.target is getattr and node.args[1] == "shape"
    return shape and all(u.target is operator.getitem and u.args[1] == 0 for u in node.users)


class _Tracer(fx.Tracer):
    """Takes modules that it cannot look into as a whole."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if super().is_leaf_module(m, module_qualified_name) or _has_hooks(m):
            return True
        try:
            fx.Tracer().trace(m)
        except Exception:
            return True
        return False


class _Ranks(fx.Interpreter):
    """Runs a graph and remembers how many axes each tensor has."""

    def __init__(self, model: nn.Module, graph: fx.Graph) -> None:
        super().__init__(fx.GraphModule(model, graph))
        self.ranks: dict[fx.Node, int] = {}

    def of(self, example: tuple[Any, ...]) -> dict[fx.Node, int]:
        with torch.no_grad():
            self.run(*example)
        return self.ranks

    def run_node(self, n: fx.Node) -> Any:
        result = super().run_node(n)
        if isinstance(result, Tensor):
            self.ranks[n] = result.dim()
        return result


def _why_left(
    name: str,
    modules: dict[str, nn.Module],
    times: Counter[str],
    read: set[str],
    shared: dict[str, str],
) -> str:
    module = modules[name]
    kind = type(module).__name__
    inside = [part for part in times if name.startswith(f"{part}.")]
    tensors = [f"{name}.{local}" if name else local for local in module._parameters]
    if used := [tensor for tensor in tensors if tensor in read]:
        return f"forward() reads {used[0]} itself"
    if inside:
        return f"inside {type(modules[inside[0]]).__name__}, which is left as it is"
    if times[name] != 1:
        return (
            f"forward() calls it {times[name]} times" if times[name] else "forward() never calls it"
        )
    if type(module) not in LAYERS + PER_CHANNEL:
        return f"{kind} is not a layer that can be shrunk"
    if _has_hooks(module):
        return "has hooks, which may depend on its size"
    if tied := [shared[tensor] for tensor in tensors if tensor in shared]:
        return f"shares a tensor with {tied[0]}"
    if any(p is not None and not p.is_floating_point() for p in module._parameters.values()):
        return "its numbers are not floating-point"
    return ""


def _has_hooks(module: nn.Module) -> bool:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, kind, None) for kind in hooks)


def _shared(model: nn.Module) -> dict[str, str]:
    """Return the other name of each parameter that has two, or whose memory another uses."""
    names: dict[int, list[str]] = {}
    for prefix, module in model.named_modules():
        for name, tensor in module._parameters.items():
            if tensor is not None:
                place = tensor.untyped_storage().data_ptr() or id(tensor)
                names.setdefault(place, []).append(f"{prefix}.{name}" if prefix else name)
    return {
        name: next(other for other in group if other != name)
        for group in names.values()
        if len(group) > 1
        for name in group
    }
