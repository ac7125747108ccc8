"""Which tensors of a model are penalized, and the table that explains why."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import NamedTuple, TypeAlias

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from shrinkage.errors import ShrinkageError, some_of
from shrinkage.tensors.sharded import class_of
from shrinkage.tensors.wrapped import named_modules

Selection: TypeAlias = str | re.Pattern[str] | type[nn.Module] | Callable[[str, Tensor], bool]

WEIGHTED_MODULES = (
    nn.Linear,
    nn.modules.conv._ConvNd,
    nn.RNNBase,
    nn.RNNCellBase,
    nn.MultiheadAttention,
    nn.Bilinear,
)

FLAT = {
    "_fsdp_flattened": "FullyShardedDataParallel (FSDP1, with use_orig_params=True too)",
    "ds_id": "DeepSpeed's ZeRO-3",
}
"""Attributes that mark a parameter as a flat piece of a shard, and what sets them."""


@dataclass(frozen=True, eq=False)
class Row:
    """One tensor of a model: is it penalized, and why.

    Attributes:
        name: The first name the model gives the tensor.
        tensor: The parameter itself.
        selected: Whether the penalty acts on it.
        reason: Why, in a few words.
        shared: Further names of the same tensor (tied weights).
        waiting: Whether it is selected as soon as it has a size, in a lazy module.
        parametrized: Whether the reason has to do with its being a part of an effective weight.
    """

    name: str
    tensor: Tensor
    selected: bool
    reason: str
    shared: tuple[str, ...] = ()
    waiting: bool = False
    parametrized: bool = False


class _Use(NamedTuple):
    name: str
    module: nn.Module
    local_name: str


@dataclass
class _Place:
    tensor: Tensor
    uses: list[_Use]

    @property
    def names(self) -> list[str]:
        return [use.name for use in self.uses]


def weights(name: str, tensor: Tensor) -> bool:
    """Select the weights of linear, convolution, recurrent, attention and bilinear modules.

    The default selection. It looks at module types, not at names: biases, parameters of
    normalization modules and embeddings are left alone.
    """
    raise ShrinkageError("weights is a selection of a whole model; pass it as select=weights.")


def everything(name: str, tensor: Tensor) -> bool:
    """Select every floating-point parameter, biases included, as the common tutorial does."""
    return True


def explain_selection(model: nn.Module, select: Selection = weights) -> list[Row]:
    """List every parameter of ``model`` with the decision of ``select`` and its reason.

    Args:
        model: Any module. A tied tensor is listed once, under its first name.
        select: ``weights``, ``everything``, a glob (``"features.*"``), a compiled regular
            expression (searched in the name), a module type, or ``(name, tensor) -> bool``. Names
            are those of the model inside of ``torch.compile`` and DDP.

    Raises:
        ShrinkageError: ``select`` selects nothing (the nearest names are given) or is not a
            selection; or the model is sharded into flat pieces (FSDP1, DeepSpeed ZeRO-3).

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> [row.name for row in explain_selection(net) if row.selected]
        ['0.weight', '2.weight']
    """
    check_module(model)
    _check_kind(select, model)
    places = _places(model)
    for place in places:
        _check_whole(place)
    rows = [_decide(place, select) for place in places]
    if not any(row.selected or row.waiting for row in rows):
        raise ShrinkageError(_nothing_selected(select, places, rows))
    return rows


def selected_parameters(model: nn.Module, select: Selection = weights) -> dict[str, Tensor]:
    """Return the penalized tensors by name, each tensor once; see :func:`explain_selection`."""
    return {row.name: row.tensor for row in explain_selection(model, select) if row.selected}


def check_module(model: object) -> None:
    """Refuse what is no model, such as its parameters."""
    if not isinstance(model, nn.Module):
        raise ShrinkageError(
            f"{type(model).__name__} is not a module; give the model itself, or use "
            "penalty.value(w) of one tensor."
        )


def _check_kind(select: Selection, model: nn.Module) -> None:
    """Refuse what is no selection, and say what selects the same."""
    if isinstance(select, nn.Module):
        named = (name for name, module in named_modules(model) if module is select)
        names = f"its tensors by name, {next(named, 'name')}.*, or " if select is not model else ""
        raise ShrinkageError(
            f"select is a module, a {_kind(select)}; select {names}all modules of a "
            "type by the type."
        )
    check_selection(select)


def check_selection(select: Selection) -> None:
    """Refuse what selects from no model."""
    if isinstance(select, str | re.Pattern):
        return
    if isinstance(select, list | tuple | set):
        raise ShrinkageError(
            f"select={select!r} is not a selection, but several; give re.compile('one|other'), or "
            "in place of the penalty a rule for each: {'one.*': L2(1e-4), 'other.*': L2(1e-4)}."
        )
    if not callable(select) or (isinstance(select, type) and not issubclass(select, nn.Module)):
        raise ShrinkageError(
            f"select={select!r} is not a selection; give weights, everything, a glob, "
            "re.compile(...), a module type or a function (name, tensor) -> bool."
        )


def _check_whole(place: _Place) -> None:
    """Refuse a tensor of which this process holds only a flat piece, or nothing."""
    for mark, kind in FLAT.items():
        if hasattr(place.tensor, mark):
            raise ShrinkageError(
                f"{place.names[0]} is sharded by {kind}: this process holds a flat piece of it, or "
                "nothing, and a penalty would act on that piece. Shard the model with "
                "torch.distributed.fsdp.fully_shard, or train with DDP."
            )


def label(select: Selection) -> str:
    """Return a selection as a reader would write it."""
    if isinstance(select, re.Pattern):
        return f"re.compile({select.pattern!r})"
    return repr(select) if isinstance(select, str) else getattr(select, "__name__", repr(select))


def _places(model: nn.Module) -> list[_Place]:
    places: dict[int, _Place] = {}
    for prefix, module in named_modules(model):
        for local_name, tensor in module._parameters.items():
            if tensor is not None:
                name = f"{prefix}.{local_name}" if prefix else local_name
                place = places.setdefault(id(tensor), _Place(tensor, []))
                place.uses.append(_Use(name, module, local_name))
    return list(places.values())


def _decide(place: _Place, select: Selection) -> Row:
    name, *shared = place.names
    selected, reason = _judge(place, select)
    part = _parametrized(place)
    parametrized = bool(part) and (selected or reason == part)
    if selected and parametrized:
        reason = f"{reason}; {part}"
    waiting = selected and is_lazy(place.tensor)
    if waiting:
        selected, reason = False, f"not initialized yet: {reason}"
    return Row(name, place.tensor, selected, reason, tuple(shared), waiting, parametrized)


def _judge(place: _Place, select: Selection) -> tuple[bool, str]:
    tensor, lazy = place.tensor, is_lazy(place.tensor)
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return False, f"not a floating-point tensor ({tensor.dtype})"
    if not lazy and tensor.numel() == 0:
        return False, "empty"
    if select is weights:
        return _judge_by_role(place)
    if isinstance(select, str):
        return any(fnmatchcase(name, select) for name in place.names), f"glob {select!r}"
    if isinstance(select, re.Pattern):
        return any(map(select.search, place.names)), f"regular expression {select.pattern!r}"
    if isinstance(select, type):
        if parametrized := _parametrized(place):
            return False, parametrized
        users = (use.module for use in place.uses if "bias" not in use.local_name)
        return any(isinstance(user, select) for user in users), f"weights of {select.__name__}"
    kind = getattr(select, "__name__", type(select).__name__)
    return lazy or any(bool(select(name, tensor)) for name in place.names), kind


def _judge_by_role(place: _Place) -> tuple[bool, str]:
    if getattr(place.tensor, "_no_weight_decay", False):
        return False, "marked _no_weight_decay"
    if parametrized := _parametrized(place):
        return False, parametrized
    for use in place.uses:
        if isinstance(use.module, WEIGHTED_MODULES) and "bias" not in use.local_name:
            return True, f"weight of {_kind(use.module)}"
    _, module, local_name = place.uses[0]
    kind = _kind(module)
    if "bias" in local_name:
        return False, f"bias of {kind}"
    return False, f"{local_name} of {kind}: not a weight by role; select it by name"


def _kind(module: nn.Module) -> str:
    name = class_of(module).__name__
    return "Linear" if name == "NonDynamicallyQuantizableLinear" else name  # that of attention


def _parametrized(place: _Place) -> str:
    """Say which effective tensor this one is a part of, as under ``weight_norm``, if any."""
    for name, module, local_name in place.uses:
        effective = ""
        if isinstance(module, nn.utils.parametrize.ParametrizationList):
            effective = name.replace(".parametrizations.", ".", 1).removesuffix(f".{local_name}")
            effective = effective.removeprefix("parametrizations.")
        for hook in module._forward_pre_hooks.values():
            if type(hook).__name__ in ("WeightNorm", "SpectralNorm"):
                whole: str = hook.name  # type: ignore[attr-defined]
                if local_name in (f"{whole}_g", f"{whole}_v", f"{whole}_orig"):
                    effective = name.removesuffix(local_name) + whole
        if effective:
            return (
                f"parametrized: only a part of the effective weight {effective}, which every "
                "forward pass computes anew; add penalty.value of that one to the loss"
            )
    return ""


def _nothing_selected(select: Selection, places: list[_Place], rows: list[Row]) -> str:
    names = [row.name for row in rows]
    what = label(select)
    why = [f"{r.name} is {r.reason}." for r in rows if r.parametrized][:1]
    if not names:
        hint = "the model has no parameters"
    elif isinstance(select, str) and any(fnmatchcase(name, f"{select}.*") for name in names):
        hint = f"these are modules, and globs go by the names of tensors: {select + '.*'!r}"
    elif isinstance(select, type):
        kinds = dict.fromkeys(_kind(use.module) for place in places for use in place.uses)
        hint = f"the model has parameters of {some_of(kinds)}"
    elif select is weights:
        roles = (f"{row.name} ({row.reason.partition(':')[0]})" for row in rows)
        hint = f"the model has {some_of(roles)}; select some by name, or everything"
    else:
        near = get_close_matches(what, names, n=3, cutoff=0.3) or names[:5]
        hint = f"nearest names: {', '.join(near)}"
    return " ".join([f"select={what} matches no parameter that can be penalized; {hint}.", *why])
