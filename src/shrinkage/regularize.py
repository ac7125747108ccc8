"""A penalty on any torch optimizer, through its step hooks."""

from __future__ import annotations

import gc
import warnings
import weakref
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import LBFGS, Optimizer

from shrinkage import _attachable
from shrinkage._added import add_once, end_step
from shrinkage._summary import Summary, summarize
from shrinkage.coupling import decoupled, proximal, resolve_coupling
from shrinkage.errors import ShrinkageError
from shrinkage.parameters import Selection, explain_selection, weights
from shrinkage.penalties import Penalty

_handles: weakref.WeakSet[Regularization] = weakref.WeakSet()


def regularize(
    model: nn.Module,
    optimizer: Optimizer,
    penalty: Penalty,
    *,
    select: Selection = weights,
    how: str | None = None,
) -> Regularization:
    """Let ``penalty`` act on ``model`` in every step of ``optimizer``.

    It acts inside ``optimizer.step()``: when the gradients are ready, averaged and clipped, also
    those that a closure computes. Only tensors that the step updates are touched: trainable ones
    with a gradient. A tied tensor counts once.

    Args:
        model: The model.
        optimizer: Any ``torch.optim.Optimizer`` that holds the model's parameters.
        penalty: The penalty, for example ``L2(1e-4)``.
        select: Which tensors: see :func:`shrinkage.parameters.explain_selection`.
        how: ``"coupled"`` adds the penalty's gradient to ``.grad``, as the penalty in the loss
            would. ``"decoupled"`` subtracts ``lr`` times that gradient from the weights, as AdamW
            does. ``"proximal"`` applies the prox with step ``lr`` after the step, which gives
            exact zeros; an adaptive optimizer does not rescale the threshold. Default: coupled
            for smooth penalties, proximal for penalties with kinks.

    Returns:
        A handle with ``summary()``, ``value()`` and ``remove()``. In a ``with`` statement it
        removes itself at the end.

    Raises:
        ShrinkageError: The penalty would not act as asked; the message says what to do instead.

    Example:
        >>> from shrinkage.penalties import L1
        >>> net = nn.Linear(2, 1)
        >>> optimizer = torch.optim.Adam(net.parameters())
        >>> regularize(net, optimizer, L1(1e-3)).how
        'proximal'
    """
    if not isinstance(penalty, Penalty):
        raise ShrinkageError(f"penalty={penalty!r} is not a penalty; give one such as L2(1e-4).")
    _attachable.check_optimizer(optimizer, resolve_coupling(how, penalty))
    handle = Regularization(model, optimizer, penalty, select, how)
    _attachable.warn_of_weight_decay(optimizer, penalty, handle._rows)
    return handle


class Regularization:
    """A penalty at work in an optimizer; made by :func:`regularize`.

    ``copy.deepcopy`` and ``pickle`` drop the hooks of an optimizer, so a copy trains without the
    penalty and nothing can tell: call :func:`regularize` on the copy.

    Attributes:
        penalty: The penalty; assign ``penalty.at(strength)`` to change the strength on the way.
        how: The coupling.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: Optimizer,
        penalty: Penalty,
        select: Selection,
        how: str | None,
    ) -> None:
        self.penalty = penalty
        self.how = resolve_coupling(how, penalty)
        self._model, self._select = model, select
        self._optimizer = weakref.ref(optimizer)
        self._removed = False
        self._in_step = False
        self._shrunk: list[tuple[Tensor, Tensor]] = []
        self._resolve(optimizer)
        _attachable.check_held(self._rows.values(), self._held)
        self._hooks = (
            optimizer.register_step_pre_hook(self._before_step),
            optimizer.register_step_post_hook(self._after_step),
        )
        _handles.add(self)

    def __enter__(self) -> Regularization:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def __repr__(self) -> str:
        """Return the penalty, the coupling and the optimizer."""
        penalty, _, _ = repr(self.penalty).partition("  #")
        if self._removed:
            return f"{penalty}, removed"
        if not self.attached:
            return f"{penalty}, NOT ACTING: its optimizer is gone, and a copy has no penalty"
        return f"{penalty}, {self.how}, on {type(self._optimizer()).__name__}"

    @property
    def attached(self) -> bool:
        """Whether the penalty still acts: not removed, and its optimizer is alive."""
        return all(hook.id in (hook.hooks_dict_ref() or ()) for hook in self._hooks)

    def remove(self) -> None:
        """Take the penalty off the optimizer; the weights stay as they are."""
        self._removed = True
        for hook in self._hooks:
            hook.remove()

    def value(self) -> Tensor:
        """Return the total penalty of the trainable selected tensors now, a detached 0-d tensor."""
        if not (self._removed or self.attached):
            warnings.warn(f"nothing minimizes this value: {self!r}", stacklevel=2)
        tensors = [row.tensor for row in self._rows.values() if row.tensor.requires_grad]
        with torch.no_grad():
            values = [self.penalty.value(w) for w in tensors]
            return torch.stack(values).sum() if values else torch.zeros(())

    def summary(self) -> Summary:
        """Return every parameter of the model: is it penalized, why, and how much; print it."""
        decisions = explain_selection(self._model, self._select)
        optimizer = self._optimizer() if self.attached else None
        held = _attachable.parameter_groups(optimizer) if optimizer else {}
        return summarize(self.penalty, decisions, held, title=repr(self))

    def _resolve(self, optimizer: Optimizer) -> None:
        _attachable.check_initialized(self._model)
        rows = [row for row in explain_selection(self._model, self._select) if row.selected]
        for row in rows:
            _attachable.check_tensor(row, self.penalty)
        self._rows = {id(row.tensor): row for row in rows}
        self._held = _attachable.parameter_groups(optimizer).keys()
        if self._conflict(optimizer):
            gc.collect()  # an optimizer that was replaced may linger
        if conflict := self._conflict(optimizer):
            raise ShrinkageError(conflict)

    def _conflict(self, optimizer: Optimizer) -> str:
        for other in list(_handles):
            shared = [row.name for key, row in self._rows.items() if key in other._rows]
            if other is self or not shared or not other.attached:
                continue
            taken = f"{', '.join(shared)} already carry {other!r}"
            if other._optimizer() is not optimizer:
                return f"{taken}, another optimizer; call remove() on that handle first."
            if type(other.penalty) is type(self.penalty):
                return f"{taken}; call remove() on that handle first, or assign handle.penalty."
            if other.how == self.how == "proximal":
                return (
                    f"{taken}, and two proxes in turn are not the prox of the sum; use one penalty "
                    "such as ElasticNet, or how='coupled' for one of the two."
                )
        return ""

    def _updated(self, optimizer: Optimizer) -> list[tuple[Tensor, dict[str, Any]]]:
        """Return the tensors that this step updates and their parameter groups."""
        groups = _attachable.parameter_groups(optimizer)
        if groups.keys() != self._held:
            self._resolve(optimizer)
        updated = []
        for key, row in self._rows.items():
            if key in groups and row.tensor.requires_grad and row.tensor.grad is not None:
                _attachable.check_gradient(row)
                updated.append((row.tensor, groups[key]))
        return updated

    def _before_step(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        self._in_step, self._shrunk = True, []
        if callable(kwargs.get("closure")):
            return args, {**kwargs, "closure": self._wrap(kwargs["closure"], optimizer)}
        if len(args) > 1 and callable(args[1]):
            return (args[0], self._wrap(args[1], optimizer), *args[2:]), kwargs
        self._gradients_ready(optimizer)
        return None

    def _wrap(self, closure: Callable[[], Any], optimizer: Optimizer) -> Callable[[], Any]:
        handles = getattr(closure, "handles", ())
        if self in handles:
            return closure

        def closure_with_penalty() -> Any:
            loss = closure()
            penalty = self._gradients_ready(optimizer)
            return loss if penalty is None else loss + penalty

        closure_with_penalty.handles = (*handles, self)  # type: ignore[attr-defined]
        return closure_with_penalty

    def _gradients_ready(self, optimizer: Optimizer) -> Any:
        """Act on fresh gradients; return the penalty, for an optimizer that reads the loss."""
        updated = self._updated(optimizer)
        with torch.no_grad():
            if self.how == "coupled":
                for w, group in updated:
                    add_once(self, self.penalty, w, optimizer, group)
            elif self.how == "decoupled" and not self._shrunk:
                for w, group in updated:
                    self._shrunk.append((w, decoupled(self.penalty, w, group["lr"])))
            if isinstance(optimizer, LBFGS):
                return sum(self.penalty.value(w) for w, _ in updated)
            return None

    def _after_step(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        if not self._in_step:
            return  # the step of a base class has ended this one
        skipped = getattr(optimizer, "found_inf", None)  # by a fused optimizer under AMP
        with torch.no_grad():
            if self.how == "proximal":
                updated = self._updated(optimizer)
                moves = ((w, proximal(self.penalty, w, g["lr"])) for w, g in updated)
            else:
                moves = ((w, w - shrunk) for w, shrunk in self._shrunk)
            for w, new in moves:
                w.copy_(new if skipped is None else torch.where(skipped.reshape(()) > 0, w, new))
        self._in_step, self._shrunk = False, []
        end_step(optimizer)
