"""Many members as one: their tensors stacked along the strength."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from shrinkage.engine.problem import Problem
from shrinkage.engine.step import Member, Tensors, trained_names
from shrinkage.engine.update import Update


def stacked_members(model: nn.Module, update: Update, members: int) -> Member:
    """Return ``members`` copies of ``model`` before their first step, axes (K, ...)."""
    stacked = {
        name: tensor.unsqueeze(0).repeat(members, *[1] * tensor.dim())
        for name, tensor in model_tensors(model).items()
    }
    params = {name: stacked.pop(name) for name in trained_names(model)}
    slots = {
        name: tuple(torch.zeros_like(p) for _ in range(update.slots)) for name, p in params.items()
    }
    dtype = next(iter(params.values())).dtype
    return Member(
        params, stacked, slots, torch.full((members,), -1), torch.zeros(members, dtype=dtype)
    )


def model_tensors(model: nn.Module) -> Tensors:
    """Return the parameters and buffers of a model by name, detached."""
    named = [*model.named_parameters(), *model.named_buffers()]
    return {name: tensor.detach() for name, tensor in named}


def member_bytes(problem: Problem, update: Update, batch_size: int) -> tuple[int, int]:
    """Estimate the bytes of a member's state, and of all that it needs while training."""
    model = problem.build(0)
    sizes = [_bytes(problem.X[:1])]
    hooks = [
        module.register_forward_hook(lambda _m, _i, out: sizes.append(_bytes(out[:1])))
        for module in model.modules()
    ]
    with torch.no_grad():
        model(problem.X[:2])
    for hook in hooks:
        hook.remove()
    tensors = sum(_bytes(tensor) for tensor in model_tensors(model).values())
    state = tensors * (1 + update.slots)
    return state, state + 2 * tensors + 3 * batch_size * sum(sizes)


def _bytes(output: object) -> int:
    return output.numel() * output.element_size() if isinstance(output, Tensor) else 0
