"""Which tensors of a model are penalized, and the table that explains why."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TypeAlias

from torch import Tensor, nn

from shrinkage.errors import ShrinkageError

Selection: TypeAlias = str | re.Pattern[str] | type[nn.Module] | Callable[[str, Tensor], bool]

WEIGHTED_MODULES = (
    nn.Linear,
    nn.modules.conv._ConvNd,
    nn.RNNBase,
    nn.RNNCellBase,
    nn.MultiheadAttention,
    nn.Bilinear,
)


@dataclass(frozen=True, eq=False)
class Row:
    """One tensor of a model: is it penalized, and why.

    Attributes:
        name: The first name the model gives the tensor.
        tensor: The parameter itself.
        selected: Whether the penalty acts on it.
        reason: Why, in a few words.
        shared: Further names of the same tensor (tied weights).
    """

    name: str
    tensor: Tensor
    selected: bool
    reason: str
    shared: tuple[str, ...] = ()


@dataclass
class _Place:
    names: list[str]
    module: nn.Module
    local_name: str
    tensor: Tensor


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
            expression (searched in the name), a module type, or ``(name, tensor) -> bool``.

    Raises:
        ShrinkageError: ``select`` selects nothing (the nearest names are given), selects a
            complex tensor, or is of no known kind.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
        >>> [row.name for row in explain_selection(net) if row.selected]
        ['0.weight', '2.weight']
    """
    rows = [_decide(place, select) for place in _places(model)]
    if not any(row.selected for row in rows):
        raise ShrinkageError(_nothing_selected(select, rows))
    for row in rows:
        if row.selected and row.tensor.is_complex():
            raise ShrinkageError(
                f"{row.name} is complex; penalties act on real tensors. Leave it out with select=."
            )
    return rows


def selected_parameters(model: nn.Module, select: Selection = weights) -> dict[str, Tensor]:
    """Return the penalized tensors by name, each tensor once; see :func:`explain_selection`."""
    return {row.name: row.tensor for row in explain_selection(model, select) if row.selected}


def _places(model: nn.Module) -> list[_Place]:
    places: dict[int, _Place] = {}
    for name, module, local_name, tensor in _walk(model):
        place = places.setdefault(id(tensor), _Place([], module, local_name, tensor))
        place.names.append(name)
        if _is_weight(module, local_name) and not _is_weight(place.module, place.local_name):
            place.module, place.local_name = module, local_name
    return list(places.values())


def _walk(model: nn.Module) -> Iterator[tuple[str, nn.Module, str, Tensor]]:
    for prefix, module in model.named_modules(remove_duplicate=False):
        for local_name, tensor in module._parameters.items():
            if tensor is not None:
                yield f"{prefix}.{local_name}" if prefix else local_name, module, local_name, tensor


def _decide(place: _Place, select: Selection) -> Row:
    selected, reason = _judge(place, select)
    return Row(place.names[0], place.tensor, selected, reason, tuple(place.names[1:]))


def _judge(place: _Place, select: Selection) -> tuple[bool, str]:
    tensor = place.tensor
    if isinstance(tensor, nn.parameter.UninitializedTensorMixin):
        return False, "not initialized yet (lazy module)"
    if not (tensor.is_floating_point() or tensor.is_complex()):
        return False, f"not a floating-point tensor ({tensor.dtype})"
    if tensor.numel() == 0:
        return False, "empty"
    if select is weights:
        return _judge_by_role(place)
    if isinstance(select, str):
        return any(fnmatchcase(name, select) for name in place.names), f"glob {select!r}"
    if isinstance(select, re.Pattern):
        return any(map(select.search, place.names)), f"regular expression {select.pattern!r}"
    if isinstance(select, type) and issubclass(select, nn.Module):
        chosen = isinstance(place.module, select) and "bias" not in place.local_name
        return chosen, f"weights of {select.__name__}"
    if callable(select):
        label = getattr(select, "__name__", type(select).__name__)
        return any(bool(select(name, tensor)) for name in place.names), label
    raise ShrinkageError(
        f"select={select!r} is not a selection; give weights, everything, a glob, "
        "re.compile(...), a module type or a function (name, tensor) -> bool."
    )


def _judge_by_role(place: _Place) -> tuple[bool, str]:
    kind = type(place.module).__name__
    if getattr(place.tensor, "_no_weight_decay", False):
        return False, "marked _no_weight_decay"
    if _is_weight(place.module, place.local_name):
        return True, f"weight of {kind}"
    if isinstance(place.module, nn.utils.parametrize.ParametrizationList):
        return False, "parametrized: the effective weight is another tensor; select it by name"
    if "bias" in place.local_name:
        return False, f"bias of {kind}"
    return False, f"{place.local_name} of {kind}: not a weight by role; select it by name"


def _is_weight(module: nn.Module, local_name: str) -> bool:
    return isinstance(module, WEIGHTED_MODULES) and "bias" not in local_name


def _nothing_selected(select: Selection, rows: list[Row]) -> str:
    names = [row.name for row in rows]
    what = select if isinstance(select, str) else getattr(select, "__name__", select)
    near = get_close_matches(str(what), names, n=3, cutoff=0.3) or names[:5]
    return (
        f"select={what!r} matches no parameter that can be penalized; "
        f"nearest names: {', '.join(near) or 'none, the model has no parameters'}."
    )
