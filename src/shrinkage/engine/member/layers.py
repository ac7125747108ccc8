"""torch's functions rewritten for the step: dropout, batch normalization, narrow linear layers.

Every layer of torch calls ``torch.nn.functional``, so the few functions that draw random numbers
or mix rows are replaced there while a training step runs. Dropout then reads numbers that all
members of a group share, at a rate that may be a tensor; batch normalization leaves padding out.
"""

from __future__ import annotations

import functools
import inspect
import itertools
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor

from shrinkage.rows.groups import Group, generator
from shrinkage.tensors import own_thread
from shrinkage.tensors.own_thread import Functions, current

Numbers: TypeAlias = Callable[[int, int], Tensor]
"""``(call, count) -> (count,)`` numbers, uniform in [0, 1), for one call of dropout in a step."""

FEW_UNITS = 16


replaced = functools.partial(own_thread.replaced, F)
"""Replaces functions of ``torch.nn.functional`` for the calling thread, while a block runs."""


def drawn(group: Group, step: int) -> Numbers:
    """Return the numbers of one step: they depend on fold, seed, step and call alone.

    A shorter call gets the first numbers of a longer one, so short batches need no padding.
    """

    def numbers(call: int, count: int) -> Tensor:
        return torch.rand(count, generator=generator("dropout", group, step, call))

    return numbers


def cut(uniform: Tensor, sizes: tuple[int, ...]) -> Numbers:
    """Return the numbers of one step that were drawn before, call after call in one tensor."""
    blocks = torch.split(uniform, list(sizes))

    def numbers(call: int, count: int) -> Tensor:
        if call >= len(blocks) or count > len(blocks[call]):
            raise RuntimeError("dropout is not called as on the first batch")
        return blocks[call][:count]

    return numbers


def dropout(numbers: Numbers, rate: float | Tensor | None = None) -> Functions:
    """Return torch's dropout functions, reading ``numbers`` instead of drawing.

    Args:
        numbers: Where the masks come from.
        rate: What replaces the rate of every layer, or None.
    """
    calls = itertools.count()

    def masked(x: Tensor, p: float, shape: tuple[int, ...]) -> Tensor:
        if rate is None and p in (0, 1):
            return x * (1 - p)
        own = p if rate is None else rate
        keep = numbers(next(calls), math.prod(shape)).view(shape) >= own
        return torch.where(keep, x / (1 - own), 0)

    def each(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return masked(input, p, tuple(input.shape)) if training else input

    def channels(
        input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Tensor:
        shape = (*input.shape[:2], *[1] * (input.dim() - 2))
        return masked(input, p, shape) if training else input

    def attention(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        *,
        scale: float | None = None,
        enable_gqa: bool = False,
    ) -> Tensor:
        if dropout_p == 0 or enable_gqa:
            own: dict[str, Any] = {"scale": scale, "enable_gqa": enable_gqa}
            return in_plain_operations(query, key, value, attn_mask, dropout_p, is_causal, **own)
        scale = query.shape[-1] ** -0.5 if scale is None else scale
        scores = query @ key.transpose(-2, -1) * scale
        if is_causal:
            attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool).tril()
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            scores = scores.masked_fill(~attn_mask, -torch.inf)
        elif attn_mask is not None:
            scores = scores + attn_mask
        return each(scores.softmax(-1), dropout_p) @ value

    return {
        "dropout": each,
        "dropout1d": channels,
        "dropout2d": channels,
        "dropout3d": channels,
        "scaled_dot_product_attention": attention,
    }


def in_plain_operations(*given: Any, **named: Any) -> Tensor:
    """Return torch's attention without its fused kernels, which cannot be mapped."""
    math_alone = torch.ops.aten._scaled_dot_product_attention_math
    return math_alone(*given, **named)[0]  # type: ignore[no-any-return]


@contextmanager
def mappable_attention() -> Iterator[None]:
    """Keep attention to operations that can be mapped, in evaluation too."""
    slow = {"get_fastpath_enabled": lambda: False}
    plain = {"scaled_dot_product_attention": in_plain_operations}
    with own_thread.replaced(torch.backends.mha, slow), replaced(plain):
        yield


def narrow_linear() -> Functions:
    """Return torch's linear layer, computed as ``weight @ input.T`` where there are few units.

    Matrix libraries multiply into many rows of 10 numbers half as fast as into 10 rows of many. For
    a single unit they also round differently by the number of members. Transposed, they would do
    so for weights that do not all begin at a multiple of 16 bytes, so those are left as they are.
    """
    usual: Callable[..., Tensor] = current(F, "linear")

    def by_units(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        aligned = weight.numel() * weight.element_size() % 16 == 0
        if input.dim() != 2 or len(weight) >= FEW_UNITS or not aligned:
            return usual(input, weight, bias)
        if input.requires_grad:  # its gradient then has its own layout
            output = weight @ input.T
        else:  # rows that all members share, whose products may not be folded into one
            output = torch.bmm(weight.unsqueeze(0), input.T.unsqueeze(0)).squeeze(0)
        return (output if bias is None else output + bias.unsqueeze(1)).T

    return {"linear": by_units}


def normalization(real: Tensor) -> Functions:
    """Return torch's batch normalization over the real rows of a padded batch.

    The running statistics of instance normalization leave the padding out, too.

    Args:
        real: (B,) 1 for a row, 0 for padding.
    """
    usual: Callable[..., Tensor] = current(F, "batch_norm")
    of_instances: Callable[..., Tensor] = current(F, "instance_norm")

    def over_rows(
        input: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        training: bool = False,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        if not training or len(input) != len(real):
            return usual(input, running_mean, running_var, weight, bias, training, momentum, eps)
        tail = [1] * (input.dim() - 2)
        axes, by_channel = [0, *range(2, input.dim())], [1, -1, *tail]
        share = real.view(-1, 1, *tail).to(input.dtype)
        count = share.sum() * math.prod(input.shape[2:])
        mean = (input * share).sum(axes) / count
        centered = input - mean.view(by_channel)
        variance = (centered.square() * share).sum(axes) / count
        if running_mean is not None and running_var is not None:
            unbiased = variance.detach() * (count / (count - 1))
            running_mean.copy_(running_mean.lerp(mean.detach(), momentum))
            running_var.copy_(running_var.lerp(unbiased, momentum))
        output = centered * (variance + eps).rsqrt().view(by_channel)
        output = output if weight is None else output * weight.view(by_channel)
        return output if bias is None else output + bias.view(by_channel)

    def by_instance(
        input: Tensor,
        running_mean: Tensor | None = None,
        running_var: Tensor | None = None,
        weight: Tensor | None = None,
        bias: Tensor | None = None,
        use_input_stats: bool = True,
        momentum: float = 0.1,
        eps: float = 1e-5,
    ) -> Tensor:
        own = use_input_stats and len(input) == len(real)
        if own and running_mean is not None and running_var is not None:
            share = (real / real.sum()).to(input.dtype)
            rows = input.detach().flatten(2)
            running_mean.copy_(running_mean.lerp(share @ rows.mean(2), momentum))
            running_var.copy_(running_var.lerp(share @ rows.var(2), momentum))
            running_mean = running_var = None
        given = (input, running_mean, running_var, weight, bias, use_input_stats, momentum, eps)
        return of_instances(*given)

    return {"batch_norm": over_rows, "instance_norm": by_instance}


def without_memory() -> Functions:
    """Return torch's normalization functions, by the rows at hand even in evaluation."""

    def by_rows(usual: Callable[..., Tensor], mode: str) -> Callable[..., Tensor]:
        signature = inspect.signature(usual)

        def normalized(*given: Any, **named: Any) -> Tensor:
            call = signature.bind(*given, **named)
            call.arguments |= {"running_mean": None, "running_var": None, mode: True}
            return usual(*call.args, **call.kwargs)

        return normalized

    return {
        "batch_norm": by_rows(current(F, "batch_norm"), "training"),
        "instance_norm": by_rows(current(F, "instance_norm"), "use_input_stats"),
    }


def inspected(forward: Callable[[], Tensor], *, any_rate: bool) -> tuple[tuple[int, ...], bool]:
    """Run a forward pass; return how many numbers each call of dropout reads, and if rows mix.

    Args:
        forward: The pass, in training mode.
        any_rate: Whether calls at rate 0 count too.
    """
    sizes: list[int] = []
    normalizes: list[bool] = []

    def numbers(call: int, count: int) -> Tensor:
        sizes.append(count)
        return torch.rand(count)

    def noting(usual: Callable[..., Tensor]) -> Callable[..., Tensor]:
        @functools.wraps(usual)
        def noted(*given: Any, **named: Any) -> Tensor:
            normalizes.append(True)
            return usual(*given, **named)

        return noted

    norms = {name: noting(current(F, name)) for name in ("batch_norm", "instance_norm")}
    with replaced({**dropout(numbers, 0.0 if any_rate else None), **norms}):
        forward()
    return tuple(sizes), bool(normalizes)
