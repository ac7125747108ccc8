"""A penalty on the outputs of modules, through forward hooks, for the loss."""

from __future__ import annotations

from collections.abc import Callable
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from shrinkage.errors import ShrinkageError, is_whole, shown
from shrinkage.penalties import Penalty
from shrinkage.tensors.wrapped import named_modules

TRANSFORMERS = (
    nn.TransformerEncoderLayer,
    nn.TransformerDecoderLayer,
    nn.TransformerEncoder,
    nn.TransformerDecoder,
    nn.Transformer,
)

Modules: TypeAlias = str | type[nn.Module] | Callable[[str, nn.Module], bool]


def activity(
    model: nn.Module, penalty: Penalty, select: Modules, *, batch_dim: int | None = None
) -> Activity:
    r"""Penalize the outputs of selected modules, such as ReLUs, to make them sparse or small.

    .. math:: \sum_o \frac{P(o)}{B}

    The sum is over the outputs of the selected modules in the last call of ``model``, once for
    each time a module was called, and :math:`B` is the number of rows in the batch: for L1 and L2
    the mean over the batch of what one row gives. That is Keras' ``activity_regularizer``. Where a
    loss needs several calls of the model, ask for the value after each and add them up.

    Args:
        model: The model, not compiled yet; ``torch.compile`` comes after this.
        penalty: The penalty, for example ``L1(1e-4)``.
        select: Which modules: a glob on their names (``"relu*"``, ``"encoder.*"``), a module type
            (``nn.ReLU``), or ``(name, module) -> bool``.
        batch_dim: The axis of the outputs that is the batch. By default the first, but the second
            one of torch's recurrent, attention and transformer modules with ``batch_first=False``.
            Other modules of a model that has the sequence first, such as its ReLUs, need 1.

    Returns:
        A handle with ``value()``, to be added to the loss, and ``remove()``. In a ``with``
        statement it removes itself at the end. Copies and pickles of the model do not have it.

    Shape:
        Outputs: with the axis ``batch_dim``. Of a tuple, such as that of ``nn.LSTM``, the first
        tensor counts.

    Raises:
        ShrinkageError: Nothing is selected, the model is compiled, or the penalty has ``toward``.

    Example:
        >>> from shrinkage.penalties import L1
        >>> net = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 1))
        >>> with activity(net, L1(1e-4), select=nn.ReLU) as extra:
        ...     loss = net(torch.ones(2, 4)).square().mean() + extra.value()
    """
    if not isinstance(penalty, Penalty):
        raise ShrinkageError(
            f"penalty={shown(penalty)} is not a penalty; give one such as L1(1e-4)."
        )
    if any(part.toward is not None for _, part in penalty.parts()):
        raise ShrinkageError(
            "activity: outputs have no reference to be pulled to; leave toward= out."
        )
    if batch_dim is not None and not is_whole(batch_dim):
        raise ShrinkageError(f"batch_dim={batch_dim!r} is no axis; give a whole number such as 1.")
    _check_not_compiled(model)
    return Activity(model, penalty, _selected(model, select), batch_dim)


class Activity:
    """A penalty on outputs; made by :func:`shrinkage.activity`.

    Attributes:
        penalty: The penalty; assign ``penalty.at(strength)`` to change the strength while training.
        names: The selected modules.
    """

    def __init__(
        self,
        model: nn.Module,
        penalty: Penalty,
        modules: dict[str, nn.Module],
        batch_dim: int | None,
    ) -> None:
        self.penalty = penalty
        self.names = tuple(modules)
        self._modules = list(modules.values())
        self._model, self._batch_dim = model, batch_dim
        self._running = self._called = self._acted = False
        self._unread = self._missed = False  # calls that no value() was asked for
        self._values: list[Tensor] = []
        look = _Hook(self._look)
        self._hooks = [model.register_forward_pre_hook(_Hook(self._start))]
        self._hooks += [module.register_forward_hook(look) for module in self._modules]
        self._hooks += [model.register_forward_hook(_Hook(self._end), always_call=True)]

    def _start(self, module: nn.Module, args: Any) -> None:
        if module is self._model:  # and not a shallow copy, which has the same hooks
            self._running, self._values = torch.is_grad_enabled(), []
            self._called = True
            if self._unread:
                self._missed = True

    def _look(self, module: nn.Module, args: Any, output: Any) -> None:
        if torch.is_grad_enabled() and any(module is own for own in self._modules):
            tensor, rows = _batch(output, module, self._batch_dim)
            value = self.penalty.value(tensor) / rows  # also where a checkpoint recomputes it
            if self._running:
                self._values.append(value)
                self._acted = True

    def _end(self, module: nn.Module, args: Any, output: Any) -> None:
        if module is self._model:
            if self._running and output is not None:  # it did not fail
                self._unread = True
            self._running = False

    def __enter__(self) -> Activity:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        """Return the penalty and the modules."""
        names = ", ".join(n or "the model" for n in self.names)
        return f"{self.penalty!r} on the outputs of {names}"

    def value(self) -> Tensor:
        """Return the penalty of the last call of the model, ready to be added to the loss.

        After a call under ``torch.no_grad()`` it is 0: validation losses contain no penalty.

        Raises:
            ShrinkageError: The model was not called, its call reached none of the modules, or it
                was called again before the value of a call with gradients was asked for.
        """
        missed, self._unread, self._missed = self._missed, False, False
        if not self._called:
            raise ShrinkageError(
                "activity: no call of the model was seen. Call it before value(); if it was "
                "compiled, compile it after activity(), not before."
            )
        if torch.is_grad_enabled() and not self._acted:
            raise ShrinkageError(
                f"activity: none of {', '.join(self.names)} was called in a call of the model with "
                "gradients; select modules that forward() calls."
            )
        if missed:
            raise ShrinkageError(
                "activity: the model was called several times since the last value(), which is "
                "that of the last call alone; call value() after each and add them up, and call "
                "the model under torch.no_grad() where no loss is made."
            )
        return torch.stack(self._values).sum() if self._values else torch.zeros(())

    def remove(self) -> None:
        """Take the hooks off the model."""
        for hook in self._hooks:
            hook.remove()


class _Hook:
    """A hook that does nothing in a copy of its model, which may be a pickled one."""

    def __init__(self, act: Callable[..., None]) -> None:
        self._act = act

    def __call__(self, *call: Any) -> None:
        self._act(*call)

    def __reduce__(self) -> tuple[type[_Hook], tuple[Callable[..., None]]]:
        return _Hook, (_nothing,)


def _nothing(*call: Any) -> None:
    """Do what a hook does that was copied."""


def _selected(model: nn.Module, select: Modules) -> dict[str, nn.Module]:
    modules = dict(named_modules(model))
    if isinstance(select, str):
        chosen = {n: m for n, m in modules.items() if n and fnmatchcase(n, select)}
    elif isinstance(select, type) and issubclass(select, nn.Module):
        chosen = {n: m for n, m in modules.items() if isinstance(m, select)}
    elif callable(select) and not isinstance(select, type):
        chosen = {n: m for n, m in modules.items() if select(n, m)}
    else:
        raise ShrinkageError(
            f"select={select!r} selects no modules; give a glob on their names, a module type or a "
            "function (name, module) -> bool."
        )
    if chosen:
        return chosen
    what = select if isinstance(select, str) else getattr(select, "__name__", repr(select))
    near = get_close_matches(what, modules, n=3, cutoff=0.3) or list(modules)[1:6]
    raise ShrinkageError(
        f"select={what!r} matches no module; nearest names: {', '.join(near) or 'none'}."
    )


def _check_not_compiled(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if hasattr(module, "_orig_mod") or module._compiled_call_impl is not None:
            raise ShrinkageError(
                f"{name or type(module).__name__} is compiled, and would not see new hooks; call "
                "activity(model, ...) first and torch.compile(model) after it."
            )


def _batch(output: object, module: nn.Module, batch_dim: int | None) -> tuple[Tensor, int]:
    """Return the tensor that counts, and the number of rows in it."""
    packed = isinstance(output, PackedSequence)
    first = output[0] if isinstance(output, tuple | list) and output and not packed else output
    if not isinstance(first, Tensor) or first.dim() == 0:
        kind = "a number" if isinstance(first, Tensor) else type(first).__name__
        raise ShrinkageError(
            f"activity: the output of {type(module).__name__} is {kind}, not a tensor of rows; "
            "select modules inside it, or leave it out."
        )
    if batch_dim is not None:
        if not -first.dim() <= batch_dim < first.dim():
            raise ShrinkageError(
                f"activity: batch_dim={batch_dim} is no axis of the output of "
                f"{type(module).__name__}, whose shape is {tuple(first.shape)}."
            )
        return first, first.shape[batch_dim]
    batch_first = _is_batch_first(module)
    if batch_first is None:
        return first, len(first)
    if first.dim() == 2:  # one sequence without a batch
        return first, 1
    return first, first.shape[0 if batch_first else 1]


def _is_batch_first(module: nn.Module) -> bool | None:
    """Return the layout of a module that has a choice; transformers leave it to their attention."""
    parts = module.modules() if isinstance(module, TRANSFORMERS) else (module,)
    return next((part.batch_first for part in parts if hasattr(part, "batch_first")), None)  # type: ignore[return-value]
