"""Many members as one: their tensors stacked along (group, strength)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap

from shrinkage.engine.chunk import Chunk
from shrinkage.engine.problem import Problem
from shrinkage.engine.step import Member, Tensors, trained_names
from shrinkage.engine.update import Update


def stacked_members(problem: Problem, update: Update, chunk: Chunk) -> Member:
    """Return the members of a chunk before their first step, axes (G, K, ...).

    Members of one group start from the same weights, whatever their strength.
    """
    models = [problem.initial(group) for group in chunk.groups]
    k = len(chunk.strengths)
    trained = trained_names(models[0])
    stacked = {
        name: torch.stack([dict(_tensors(model))[name] for model in models])
        .unsqueeze(1)
        .repeat(1, k, *[1] * tensor.dim())
        for name, tensor in _tensors(models[0])
    }
    params = {name: stacked.pop(name) for name in trained}
    slots = {
        name: tuple(torch.zeros_like(p) for _ in range(update.slots)) for name, p in params.items()
    }
    shape, dtype = (len(models), k), next(iter(params.values())).dtype
    return Member(
        params,
        stacked,
        slots,
        torch.zeros(shape, dtype=torch.float64),
        torch.full(shape, -1),
        torch.zeros(shape, dtype=dtype),
    )


def _tensors(model: nn.Module) -> list[tuple[str, Tensor]]:
    named = [*model.named_parameters(), *model.named_buffers()]
    return [(name, tensor.detach()) for name, tensor in named]


def member_bytes(problem: Problem, update: Update, model: nn.Module, batch_size: int) -> int:
    """Return about how many bytes one member needs while it trains."""
    tensors = sum(t.numel() * t.element_size() for _, t in _tensors(model))
    sizes: list[int] = []
    hooks = [
        module.register_forward_hook(lambda _m, _i, out: sizes.append(_bytes(out)))
        for module in model.modules()
    ]
    with torch.no_grad():
        model(problem.X[:2])
    for hook in hooks:
        hook.remove()
    activations = batch_size * (sum(sizes) + _bytes(problem.X[:2])) // 2
    return tensors * (3 + update.slots) + 3 * activations


def _bytes(output: object) -> int:
    return output.numel() * output.element_size() if isinstance(output, Tensor) else 0


def stacked_outputs(model: nn.Module, tensors: Tensors, x: Tensor) -> Tensor:
    """Return the outputs of members that share the rows ``x``.

    Args:
        model: The module in evaluation mode; only its code is used.
        tensors: Stacked parameters and buffers, axes (K, ...).
        x: Rows.

    Shape:
        (K, rows, ...).
    """

    def outputs(own: Tensors) -> Tensor:
        result: Tensor = functional_call(model, own, (x,))
        return result

    with torch.no_grad():
        return vmap(outputs)(tensors)
