"""In which type forward passes compute: the model's own, or bfloat16 by torch's autocast."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from shrinkage.engine.member.layers import replaced
from shrinkage.errors import ShrinkageError
from shrinkage.tensors.norms import accumulated
from shrinkage.tensors.own_thread import Functions, current

Autocast: TypeAlias = torch.dtype | None

WIDE_INSIDE = ("batch_norm", "layer_norm", "instance_norm", "scaled_dot_product_attention")
"""Functions that torch computes in float32 inside; mapped, its own mix types and fail."""

NARROW_WHOLE = ("linear", "conv1d", "conv2d", "conv3d")
"""Functions that add a bias; mapped, torch's own would add it in float32."""


def check_type(autocast: Autocast) -> None:
    """Refuse a type other than bfloat16.

    Raises:
        ShrinkageError: The message says what is allowed.
    """
    if autocast not in (None, torch.bfloat16):
        raise ShrinkageError(
            f"autocast={autocast!r}: give torch.bfloat16, or None to compute in the model's own "
            "type. (float16 would need its losses scaled.)"
        )


def check_autocast(autocast: Autocast, model: nn.Module) -> None:
    """Refuse a type other than bfloat16, or a model that autocast would leave alone.

    Raises:
        ShrinkageError: The message says what is allowed.
    """
    check_type(autocast)
    if autocast is None:
        return
    stray = {p.dtype for p in model.parameters() if p.is_floating_point()} - {torch.float32}
    if stray:
        raise ShrinkageError(
            f"autocast=torch.bfloat16 is for float32 models, but this one holds "
            f"{', '.join(sorted(map(str, stray)))}; convert it by .float(), or leave autocast out."
        )


def forward(
    model: nn.Module, x: Tensor, autocast: Autocast, tensors: dict[str, Tensor] | None = None
) -> Tensor:
    """Return a model's outputs; under autocast in float32, for losses to be taken in float32.

    Args:
        model: The module.
        x: Rows.
        autocast: The type that matrix products and the like compute in, or None.
        tensors: What to use instead of the module's own parameters and buffers.
    """
    outputs: Tensor
    if autocast is None:
        outputs = model(x) if tensors is None else functional_call(model, tensors, (x,))
        return outputs
    casting = torch.autocast(x.device.type, autocast, cache_enabled=False)
    with casting, replaced(_as_unmapped(x.device.type, autocast)):
        outputs = model(x) if tensors is None else functional_call(model, tensors, (x,))
    return outputs.float() if isinstance(outputs, Tensor) else outputs


def _as_unmapped(device: str, autocast: torch.dtype) -> Functions:
    """Return functions that cast under ``vmap`` what autocast casts without it."""

    def wide(usual: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def computed(*given: Any, **named: Any) -> Tensor:
            first: Tensor = given[0] if given else named["input" if "input" in named else "query"]
            with torch.autocast(device, enabled=False):
                return _converted(usual, accumulated, given, named).to(first.dtype)

        return computed

    def narrow(usual: Callable[..., Tensor]) -> Callable[..., Tensor]:
        def computed(*given: Any, **named: Any) -> Tensor:
            return _converted(usual, lambda x: x.to(autocast), given, named)

        return computed

    wides = {name: wide(current(F, name)) for name in WIDE_INSIDE}
    return wides | {name: narrow(current(F, name)) for name in NARROW_WHOLE}


def _converted(
    function: Callable[..., Tensor],
    convert: Callable[[Tensor], Tensor],
    given: tuple[Any, ...],
    named: dict[str, Any],
) -> Tensor:
    """Call a function with its tensors converted, whether they have names or not."""
    own = [convert(x) if isinstance(x, Tensor) else x for x in given]
    others = {name: convert(x) if isinstance(x, Tensor) else x for name, x in named.items()}
    return function(*own, **others)
