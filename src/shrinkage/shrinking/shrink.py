"""A sparse model becomes a small dense one with the same outputs."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from shrinkage.errors import ShrinkageError
from shrinkage.parameters import FLAT
from shrinkage.shrinking.chains import Link, find_links, sizes
from shrinkage.shrinking.remove import remove_neurons, split
from shrinkage.shrinking.shrunk import Shrunk, describe, size
from shrinkage.shrinking.trace import trace
from shrinkage.tensors.norms import is_number
from shrinkage.tensors.sharded import is_sharded
from shrinkage.tensors.wrapped import unwrapped

ROUNDINGS = 1000
WORDS = {"unused": "unused", "constant": "constant", "merged": "merged into one constant"}


def shrink(
    model: nn.Module,
    example: Tensor | tuple[Any, ...] | None = None,
    *,
    tolerance: float | None = None,
) -> Shrunk:
    r"""Return a smaller dense copy of a sparse model, with the same outputs in evaluation.

    Neurons and filters that nobody reads, or that never vary because their incoming weights are
    zero, are removed; what a constant adds is folded into the bias of the next layer. Linear
    layers of low rank are split into two factors where that is smaller. Both are found in the
    graph of ``forward``, traced by ``torch.fx``: chains of linear layers, convolutions, batch
    normalization, activations, pooling, dropout and flattening, also between branches. All else
    stays as it is, and the table says why.

    A singular value :math:`s_i` of a weight counts as zero if
    :math:`s_i \le \text{tolerance} \cdot s_1`.

    Args:
        model: A trained model; it is not changed. Of one in DDP or ``torch.compile``, the inner.
        example: A batch of inputs, or a tuple of all arguments. With it the shapes are known and
            the outputs are compared. Without it, inputs are taken to be batches: a linear layer
            sees (N, features), a convolution (N, channels, ...).
        tolerance: What counts as zero among singular values. Default: rounding only.

    Returns:
        The model, what became of every layer, and the largest difference of outputs; ``print`` it.

    Raises:
        ShrinkageError: The model is sharded, or does not run on the example, or its outputs change
            by more than rounding though no ``tolerance`` was asked for.

    Example:
        >>> net = nn.Sequential(nn.Linear(4, 9), nn.ReLU(), nn.Linear(9, 2))
        >>> with torch.no_grad():
        ...     net[0].weight[:5] = 0  # as GroupLasso leaves it
        ...     net[2].weight[:, 5] = 0
        >>> print(shrink(net))
        65 -> 23 parameters (35.4%), outputs not compared: pass example=
        <BLANKLINE>
        layer  before        after         numbers   why
        0      Linear(4, 9)  Linear(4, 3)  45 -> 15  6 of 9 neurons removed: 1 unused, 5 constant
        2      Linear(9, 2)  Linear(3, 2)  20 -> 8   its neurons are outputs of the model
    """
    model = _whole(model)
    if tolerance is not None and not (is_number(tolerance) and 0 <= tolerance < 1):
        raise ShrinkageError(
            f"tolerance={tolerance!r} is not a fraction; give one from 0 to below 1."
        )
    inputs = example if isinstance(example, tuple) or example is None else (example,)
    reference, small = copy.deepcopy(model).eval(), copy.deepcopy(model)
    expected = [] if inputs is None else _outputs(reference, inputs)
    traced = trace(reference, inputs)
    links, notes = find_links(traced)
    notes |= _remove(links, dict(small.named_modules()))
    for name, rank in _split(small, traced.calls, tolerance).items():
        notes[name] = "; ".join(filter(None, [notes.get(name), f"rank {rank}: two factors"]))
    rows = _rows(reference, small, notes | traced.left)
    difference = None if inputs is None else _difference(expected, small, inputs, tolerance)
    return Shrunk(small, rows, difference)


def _whole(model: nn.Module) -> nn.Module:
    """Return the model inside wrappers; refuse one whose layers are not whole in this process."""
    if not isinstance(model, nn.Module):
        raise ShrinkageError(f"{type(model).__name__} is not a model; give a torch.nn.Module.")
    if any(map(is_lazy, model.parameters())):
        raise ShrinkageError(
            "the model has lazy layers; call it once so that they get their sizes."
        )
    for name, w in model.named_parameters():
        if is_sharded(w) or any(hasattr(w, mark) for mark in FLAT):
            raise ShrinkageError(
                f"{name} is sharded over processes, and only a whole model can be shrunk; load its "
                "full state dict into one that is not sharded, and shrink that: torch.distributed."
                "checkpoint.state_dict.get_model_state_dict(model, options="
                "StateDictOptions(full_state_dict=True))."
            )
    return unwrapped(model)


def _remove(links: list[Link], modules: dict[str, Any]) -> dict[str, str]:
    """Remove neurons until none is left to remove; return what was removed from each layer."""
    before = {link.first: sizes(modules[link.first])[1] for link in links}
    removed = {link.first: Counter[str]() for link in links}
    again = True
    while again:
        counts = {link.first: remove_neurons(link, modules) for link in links}
        for name, count in counts.items():
            removed[name] += count
        again = any(counts.values())
    return {name: _removal(count, before[name]) for name, count in removed.items()}


def _removal(count: Counter[str], of: int) -> str:
    if not count:
        return "no neuron is zero"
    reasons = ", ".join(f"{number} {WORDS[why]}" for why, number in count.items())
    return f"{count.total()} of {of} neurons removed: {reasons}"


def _split(small: nn.Module, names: Iterable[str], tolerance: float | None) -> dict[str, int]:
    """Split the linear layers that get smaller by it; return their ranks."""
    ranks = {}
    for name in names:
        layer = small.get_submodule(name)
        if isinstance(layer, nn.Linear) and (factors := split(layer, tolerance)):
            aliases = [n for n, m in small.named_modules(remove_duplicate=False) if m is layer]
            for alias in aliases:
                small.set_submodule(alias, factors)
            ranks[name] = sizes(factors[0])[1]
    return ranks


def _rows(reference: nn.Module, small: nn.Module, notes: dict[str, str]) -> list[dict[str, Any]]:
    after = dict(small.named_modules())
    return [
        {
            "name": name,
            "before": describe(module),
            "after": describe(after[name]),
            "numel_before": size(module),
            "numel_after": size(after[name]),
            "why": notes.get(name, ""),
        }
        for name, module in reference.named_modules()
        if module._parameters
    ]


def _outputs(reference: nn.Module, inputs: tuple[Any, ...]) -> list[Tensor]:
    """Return what the model gives for the example, in evaluation."""
    try:
        with torch.no_grad():
            return _tensors(reference(*inputs))
    except Exception as error:  # whatever a forward() does with what it cannot take
        given = ", ".join(_shape(part) for part in inputs)
        raise ShrinkageError(
            f"the model does not run on the example, {given}: {str(error).splitlines()[0]}. Give a "
            "batch of inputs, or a tuple of all that forward() takes; no targets, no loader."
        ) from error


def _shape(part: object) -> str:
    kind = type(part).__name__
    return f"{kind} {tuple(part.shape)}" if isinstance(part, Tensor) else kind


def _difference(
    expected: list[Tensor], small: nn.Module, inputs: tuple[Any, ...], tolerance: float | None
) -> float:
    with torch.no_grad():
        given = _tensors(copy.deepcopy(small).eval()(*inputs))
    difference = 0.0
    for wanted, got in zip(expected, given, strict=True):
        same = (wanted == got) | (wanted.isnan() & got.isnan())
        apart = float(torch.where(same, 0, wanted - got).abs().max())
        scale = float(wanted.nan_to_num().abs().max())
        allowed = ROUNDINGS * torch.finfo(wanted.dtype).eps * scale
        if tolerance is None and not apart <= allowed:
            raise ShrinkageError(
                f"the outputs of the shrunk model differ by {apart:.3g} on the example, more than "
                "rounding explains: forward() depends on the sizes of its layers in a way that "
                "tracing does not show. The model cannot be shrunk as it is."
            )
        difference = max(difference, apart)
    return difference


def _tensors(output: Any) -> list[Tensor]:
    """Return the floating-point tensors of an output, however it is packed."""
    if isinstance(output, Tensor):
        return [output] if output.is_floating_point() and output.numel() else []
    parts = output.values() if isinstance(output, Mapping) else output
    if isinstance(parts, (str, bytes)) or not isinstance(parts, Iterable):
        return []
    return [tensor for part in parts for tensor in _tensors(part)]
