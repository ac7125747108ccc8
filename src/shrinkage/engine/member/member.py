"""A member: its tensors by name and as one list, alone or stacked along the strength."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import torch
from torch import Tensor, nn

from shrinkage.engine.member.problem import Problem
from shrinkage.engine.member.update import State, Update

Tensors: TypeAlias = dict[str, Tensor]


class Member(NamedTuple):
    """Everything that a step changes.

    Attributes:
        params: Trained tensors by name.
        fixed: Buffers and frozen parameters by name.
        slots: The optimizer's state of each trained tensor.
        diverged: 0-d int64, the step whose loss was not finite, or -1.
        total: 0-d, weighted sum of the row losses seen since it was last set to zero.
    """

    params: Tensors
    fixed: Tensors
    slots: dict[str, State]
    diverged: Tensor
    total: Tensor


def trained_names(model: nn.Module) -> tuple[str, ...]:
    """Return the names of the parameters that training changes."""
    return tuple(name for name, p in model.named_parameters() if p.requires_grad)


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


class MemberBytes(NamedTuple):
    """What one member needs: its parameters and optimizer state, and all of it while it trains."""

    state: int
    training: int


def member_bytes(problem: Problem, update: Update, batch_size: int) -> MemberBytes:
    """Estimate the bytes that a member needs."""
    model = problem.build(0)
    sizes = [_bytes(problem.X[:1])]
    hooks = [
        module.register_forward_hook(lambda _m, _i, out: sizes.append(_bytes(out[:1])))
        for module in model.modules()
    ]
    with torch.no_grad():
        model(problem.first_rows(2))
    for hook in hooks:
        hook.remove()
    tensors = sum(_bytes(tensor) for tensor in model_tensors(model).values())
    state = tensors * (1 + update.slots)
    return MemberBytes(state, state + 2 * tensors + 3 * batch_size * sum(sizes))


def _bytes(output: object) -> int:
    return output.numel() * output.element_size() if isinstance(output, Tensor) else 0


def leaves(member: Member) -> list[Tensor]:
    """Return the tensors of a member as a list."""
    return list(named_tensors(member).values())


def rebuilt(like: Member, flat: list[Tensor]) -> Member:
    """Return the member whose :func:`leaves` are ``flat``, with the names of ``like``."""
    rest = iter(flat)
    params = {name: next(rest) for name in like.params}
    fixed = {name: next(rest) for name in like.fixed}
    slots = {name: tuple(next(rest) for _ in state) for name, state in like.slots.items()}
    return Member(params, fixed, slots, next(rest), next(rest))


def named_tensors(members: Member) -> Tensors:
    """Return all tensors of a member by name, always in the same order."""
    named = {f"params.{name}": t for name, t in members.params.items()}
    named |= {f"fixed.{name}": t for name, t in members.fixed.items()}
    for name, state in members.slots.items():
        named |= {f"slots.{i}.{name}": t for i, t in enumerate(state)}
    return {**named, "diverged": members.diverged, "total": members.total}
