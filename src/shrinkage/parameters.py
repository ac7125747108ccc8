"""Which tensors of a model are penalized, and the table that explains why."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TypeAlias

from torch import Tensor, nn

from shrinkage.errors import ShrinkageError, some_of
from shrinkage.tensors.roles import Role, Use, is_lazy, kind, role_of
from shrinkage.tensors.wrapped import named_modules

Selection: TypeAlias = str | re.Pattern[str] | type[nn.Module] | Callable[[str, Tensor], bool]

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
        role: What it is to its module: ``"weight"``, ``"bias"``, ``"embedding"``,
            ``"normalization"``, ``"part"`` (of an effective weight), ``"marked"`` or ``"other"``.
    """

    name: str
    tensor: Tensor
    selected: bool
    reason: str
    shared: tuple[str, ...] = ()
    waiting: bool = False
    parametrized: bool = False
    role: str = ""


@dataclass
class _Place:
    tensor: Tensor
    uses: list[Use]

    @property
    def names(self) -> list[str]:
        return [use.name for use in self.uses]


def weights(name: str, tensor: Tensor) -> bool:
    """Select the weights: what a module multiplies its input by.

    The default selection. It goes by modules, not by names of layers. It takes the weights of
    torch's linear, convolution, recurrent, attention and bilinear modules, and of any other module
    the parameters ``weight`` and ``..._weight`` with two or more axes. Biases and parameters of
    normalizations are left alone. So are embeddings: a tensor that any module uses as one is one,
    also if an output layer is tied to it.
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
            f"select is a module, a {kind(select)}; select {names}all modules of a "
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
    for mark, by in FLAT.items():
        if hasattr(place.tensor, mark):
            raise ShrinkageError(
                f"{place.names[0]} is sharded by {by}: this process holds a flat piece of it, or "
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
                place.uses.append(Use(name, module, local_name))
    return list(places.values())


def _decide(place: _Place, select: Selection) -> Row:
    name, *shared = place.names
    role = role_of(place.tensor, place.uses)
    selected, reason = _judge(place, select, role)
    parametrized = role.name == "part" and (selected or reason == role.reason)
    if selected and parametrized:
        reason = f"{reason}; {role.reason}"
    waiting = selected and is_lazy(place.tensor)
    if waiting:
        selected, reason = False, f"not initialized yet: {reason}"
    return Row(
        name, place.tensor, selected, reason, tuple(shared), waiting, parametrized, role.name
    )


def _judge(place: _Place, select: Selection, role: Role) -> tuple[bool, str]:
    tensor, lazy = place.tensor, is_lazy(place.tensor)
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return False, f"not a floating-point tensor ({tensor.dtype})"
    if not lazy and tensor.numel() == 0:
        return False, "empty"
    if select is weights:
        return role.name == "weight", role.reason
    if isinstance(select, str):
        return any(fnmatchcase(name, select) for name in place.names), f"glob {select!r}"
    if isinstance(select, re.Pattern):
        return any(map(select.search, place.names)), f"regular expression {select.pattern!r}"
    if isinstance(select, type):
        if role.name == "part":
            return False, role.reason
        users = (use.module for use in place.uses if "bias" not in use.local_name)
        return any(isinstance(user, select) for user in users), f"weights of {select.__name__}"
    called = getattr(select, "__name__", type(select).__name__)
    return lazy or any(bool(select(name, tensor)) for name in place.names), called


def _nothing_selected(select: Selection, places: list[_Place], rows: list[Row]) -> str:
    names = [row.name for row in rows]
    what = label(select)
    why = [f"{r.name} is {r.reason}." for r in rows if r.parametrized][:1]
    if not names:
        hint = "the model has no parameters"
    elif isinstance(select, str) and any(fnmatchcase(name, f"{select}.*") for name in names):
        hint = f"these are modules, and globs go by the names of tensors: {select + '.*'!r}"
    elif isinstance(select, type):
        kinds = dict.fromkeys(kind(use.module) for place in places for use in place.uses)
        hint = f"the model has parameters of {some_of(kinds)}"
    elif select is weights:
        roles = (f"{row.name} ({row.reason.partition(':')[0]})" for row in rows)
        hint = f"the model has {some_of(roles)}; select some by name, or everything"
    else:
        near = get_close_matches(what, names, n=3, cutoff=0.3) or names[:5]
        hint = f"nearest names: {', '.join(near)}"
    return " ".join([f"select={what} matches no parameter that can be penalized; {hint}.", *why])
