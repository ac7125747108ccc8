"""A penalty around a reference instead of zero, for every penalty in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import wraps
from typing import Any

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from shrinkage.errors import ShrinkageError
from shrinkage.tensors.norms import accumulated, check_real
from shrinkage.tensors.sharded import whole
from shrinkage.tensors.wrapped import plain_name

BOUND = ""


class Snapshot(dict[str, Tensor]):
    """Copies of tensors by name, which later training does not move.

    The one tensor of a penalty that is bound to it has the name ``BOUND``.
    """

    def __repr__(self) -> str:
        return f"<{len(self)} tensors>"


def snapshot(toward: Tensor | Mapping[str, Tensor], owner: str) -> Snapshot:
    """Return detached copies of the floating-point tensors in ``toward``.

    Raises:
        ShrinkageError: There are none, or one is not finite or not initialized yet.
    """
    named = {BOUND: toward} if isinstance(toward, Tensor) else toward
    if not isinstance(named, Mapping):
        raise ShrinkageError(
            f"{owner}: toward={type(named).__name__} is not a reference; give model.state_dict(), "
            "or a tensor for a penalty of one tensor."
        )
    if lazy := [name for name, w in named.items() if is_lazy(w)]:
        raise ShrinkageError(
            f"{owner}: toward= has no size yet at {lazy[0]}; run one batch through the model first."
        )
    copies = Snapshot(
        (plain_name(name), w.detach().clone())
        for name, w in named.items()
        if isinstance(w, Tensor) and w.is_floating_point()
    )
    if not copies:
        raise ShrinkageError(f"{owner}: toward= holds no floating-point tensor.")
    for name, w in copies.items():
        if not whole(w.isfinite().all()):
            raise ShrinkageError(f"{owner}: toward= is not finite at {name or 'its tensor'}.")
    return copies


def bound(toward: Mapping[str, Tensor], name: str, w: Tensor, owner: str) -> Snapshot:
    """Return the reference of the one tensor ``w``, on its device.

    Raises:
        ShrinkageError: ``toward`` has no such name, or its tensor another shape.
    """
    found = toward.get(BOUND, toward.get(plain_name(name)))
    if found is None:
        near = get_close_matches(name, toward, n=3, cutoff=0.3) or list(toward)[:5]
        raise ShrinkageError(
            f"{owner}: toward= has no {name!r}; nearest names: {', '.join(near)}. Take the "
            "state_dict() of the same model, or leave the tensor out with select=."
        )
    _check_shape(found, w, f"{owner}: {name}")
    return Snapshot({BOUND: found.to(w.device)})


def around_reference(name: str, operation: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Return ``operation`` as a function of the difference to the penalty's reference.

    It is computed in at least float32. If the penalty is a function of absolute values alone,
    ``operation`` sees those of complex weights, whose phases are put back afterwards. Where the
    prox moves nothing, the weights stay as they are, bit for bit.

    Args:
        name: ``"value"``, ``"gradient"``, ``"prox"`` or ``"strength_max"``, which is no function of
            the weights and only computed in the wider type.
        operation: That of a penalty that pulls to zero.
    """

    @wraps(operation)
    def shifted(penalty: Any, w: Tensor, *step: Any, **named: Any) -> Tensor:
        owner, gives_number = type(penalty).__name__, name in {"value", "strength_max"}
        if not isinstance(w, Tensor):
            raise ShrinkageError(
                f"{owner}.{name} takes one tensor, not a {type(w).__name__}; for a whole model, "
                "penalty(model) is the value."
            )
        if w.is_complex() and penalty.absolute and penalty.toward is None:
            size = accumulated(w.abs())
            result = operation(penalty, size, *step, **named)
            if gives_number:
                return result
            turned = (result * w.sgn()).to(w.dtype)
            return torch.where(result == size, w, turned) if name == "prox" else turned
        check_real(w, owner)
        wide = accumulated(w)
        if penalty.toward is None:
            result = operation(penalty, wide, *step, **named)
        elif name == "strength_max":
            result = operation(penalty.around_zero(), wide)
        else:
            center = reference(penalty.toward, wide, owner)
            difference = wide - center
            result = operation(penalty.around_zero(), difference, *step, **named)
            if name == "prox":
                result = torch.where(result == difference, wide, center + result)
        return result if wide is w or gives_number else result.to(w.dtype)

    return shifted


def reference(toward: Tensor | Mapping[str, Tensor], w: Tensor, owner: str) -> Tensor:
    """Return the one tensor in ``toward``, in the type of ``w``."""
    if not isinstance(toward, Snapshot) or BOUND not in toward:
        raise ShrinkageError(
            f"{owner}: toward= holds tensors by name, but this tensor has no name; use "
            "penalty.for_tensor(name, w)."
        )
    _check_shape(toward[BOUND], w, owner)
    return whole(toward[BOUND]).to(w)


def _check_shape(given: Tensor, w: Tensor, owner: str) -> None:
    if given.shape != w.shape:
        raise ShrinkageError(
            f"{owner}: toward= has shape {tuple(given.shape)}, the tensor {tuple(w.shape)}; "
            "take the state_dict() of the same model."
        )
