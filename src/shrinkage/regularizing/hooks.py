"""The hooks of one optimizer: when, within a step, the penalties on it act."""

from __future__ import annotations

import traceback
import weakref
from collections.abc import Callable
from itertools import chain, compress
from typing import Any

import torch
from torch import Tensor
from torch.optim import LBFGS, Optimizer
from torch.utils.hooks import RemovableHandle

from shrinkage.errors import ShrinkageError
from shrinkage.regularizing.batch import Batch, Batches, Tensors
from shrinkage.regularizing.copies import unwatch, watch
from shrinkage.regularizing.optimizers import only_makes_its_state
from shrinkage.regularizing.stats import Stats
from shrinkage.regularizing.targets import Targets
from shrinkage.tensors.sharded import version, whole

STEP = Optimizer.profile_hook_step(Optimizer.step).__code__
"""The code of the function that torch wraps around every ``step`` to run hooks."""

NOTHING = Batches([], [], [], [])

_all: weakref.WeakSet[StepHooks] = weakref.WeakSet()


def step_hooks() -> list[StepHooks]:
    """Return the hooks on all optimizers that are alive."""
    return [hooks for hooks in _all if hooks.attached]


def step_hooks_of(optimizer: Optimizer) -> StepHooks:
    """Return the hooks on ``optimizer``, put there if there are none."""
    there = (hooks for hooks in step_hooks() if hooks.optimizer() is optimizer)
    return next(there, None) or StepHooks(optimizer)


class _Step:
    """One step of an optimizer, from the hook before it to the hook after it.

    Attributes:
        batches: What it penalizes; nothing before the gradients are ready.
        decrements: What comes off the weights after it, known from when the gradients are ready if
            a penalty is coupled or decoupled.
        has_closure: Whether its closure has been wrapped.
        calls_another: Whether it called the step of a base class.
    """

    __slots__ = ("batches", "calls_another", "decrements", "has_closure")

    def __init__(self) -> None:
        self.batches = NOTHING
        self.decrements: list[tuple[Batch, Tensors]] | None = None
        self.has_closure = self.calls_another = False


class StepHooks:
    """Lets all penalties on one optimizer act together, once in a step.

    Before the step, or inside it when a closure has computed the gradients: coupled penalties are
    added to them, decoupled ones are measured. After it: decoupled, proximal, projected, in turn.
    Where it comes to the same, a decoupled L2 scales the weights before the step: under torch's own
    optimizers without a closure, which read the weights only to update them.

    Hooks also run when ``step`` calls the ``step`` of a base class; only the outermost counts. The
    hook at the end does not run if a step fails: the next one is told from that of a base class by
    the stack, where no other step of the optimizer is under way. It may be tried again with the
    same gradients, so the gradients and weights that hold the penalties already are remembered with
    their versions, until these change or a step ends.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = weakref.ref(optimizer)
        self.targets: dict[Targets, Stats | None] = {}
        self._step: _Step | None = None
        self._holding: list[tuple[Tensor, int]] = []
        self._plain = type(optimizer).__module__.startswith("torch.optim.")
        self._hooks: tuple[RemovableHandle, ...] = (
            optimizer.register_step_pre_hook(_uncompiled(self._before_step)),
            optimizer.register_step_post_hook(_uncompiled(self._after_step)),
        )
        watch(optimizer)
        _all.add(self)

    @property
    def attached(self) -> bool:
        """Whether the hooks still run: their optimizer is alive and has them."""
        return all(hook.id in (hook.hooks_dict_ref() or ()) for hook in self._hooks)

    def remove(self, targets: Targets) -> None:
        """Take off what was put on, and with the last one the hooks."""
        self.targets.pop(targets, None)
        if not self.targets:
            for hook in self._hooks:
                hook.remove()
            if (optimizer := self.optimizer()) is not None:
                unwatch(optimizer)

    def _before_step(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]] | None:
        step, outermost = self._step, True
        if step is not None and _steps_under_way(optimizer) > 1:
            step.calls_another, outermost = True, False
        else:  # after one that failed, too
            step = self._step = _Step()
        if kwargs and callable(kwargs.get("closure")):
            return args, {**kwargs, "closure": self._wrap(kwargs["closure"], optimizer, step)}
        if len(args) > 1 and callable(args[1]):
            return (args[0], self._wrap(args[1], optimizer, step), *args[2:]), kwargs
        if outermost and only_makes_its_state(optimizer):
            self._step = None
        elif step.decrements is None:
            self._gradients_ready(optimizer, step, plain=self._plain)
        else:  # the outer step may have edited them
            self._holding = [(tensor, version(tensor)) for tensor, _ in self._holding]
        return None

    def _wrap(
        self, closure: Callable[[], Any], optimizer: Optimizer, step: _Step
    ) -> Callable[[], Any]:
        if step.has_closure:
            return closure  # which calls the outermost one
        step.has_closure = True

        def closure_with_penalty() -> Any:
            loss = closure()
            self._gradients_ready(optimizer, step, loss=loss)
            if not isinstance(optimizer, LBFGS):
                return loss
            if loss is None:
                raise ShrinkageError(
                    "the closure returned None, but LBFGS compares losses; let it return the loss."
                )
            return loss + _value(step.batches)  # its line search compares values

        return closure_with_penalty

    def _gradients_ready(
        self, optimizer: Optimizer, step: _Step, plain: bool = False, loss: object = None
    ) -> None:
        found = [one.of_step(optimizer) for one in self.targets]
        step.batches = found[0] if len(found) == 1 else _merged(found)
        if any(self.targets.values()):
            self._measure(optimizer, found, loss)
        if step.batches.coupled or step.batches.decoupled:
            with torch.set_grad_enabled(False):
                changed = self._add(optimizer, step)
                if step.decrements is None:
                    changed += self._start_decoupled(optimizer, step, plain)
                self._holding = [(tensor, version(tensor)) for tensor in changed]

    def _measure(self, optimizer: Optimizer, found: list[Batches], loss: object) -> None:
        loss_scale = getattr(optimizer, "grad_scale", None)
        for (one, stats), batches in zip(self.targets.items(), found, strict=True):
            if stats is not None:
                stats.see(loss)
                stats.measure(one.step, chain.from_iterable(batches), loss_scale)

    def _add(self, optimizer: Optimizer, step: _Step) -> list[Tensor]:
        """Add the coupled penalties to the gradients, which are returned."""
        gradients: list[Tensor] = []
        for batch in step.batches.coupled:
            own = _gradients(batch.tensors)
            gradients += own
            fresh = self._fresh(batch, own) if self._holding else batch
            if fresh is not None:
                fresh.add_gradients_(_gradients(fresh.tensors), _scale(batch, optimizer))
        return gradients

    def _start_decoupled(self, optimizer: Optimizer, step: _Step, plain: bool) -> list[Tensor]:
        """Scale weights where allowed, and return them; of the others measure what comes off."""
        scaled: list[Tensor] = []
        step.decrements = []
        for batch in step.batches.decoupled:
            rate = _rate(batch, optimizer)
            if plain and batch.scales:
                scaled += batch.tensors
                fresh = self._fresh(batch, batch.tensors) if self._holding else batch
                if fresh is not None:
                    fresh.scale_(rate)
            else:
                step.decrements.append((batch, batch.decrements(rate)))
        return scaled

    def _fresh(self, batch: Batch, holders: list[Tensor]) -> Batch | None:
        """Return the part of a batch whose holders, weights or gradients, hold no penalty yet."""
        held = {id(tensor): before for tensor, before in self._holding}
        fresh = [held.get(id(one)) != version(one) for one in holders]
        return batch.of(list(compress(batch.tensors, fresh))) if any(fresh) else None

    def _after_step(
        self, optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        step = self._step
        if step is None or (step.calls_another and _steps_under_way(optimizer) > 1):
            return
        if step.batches.proximal or step.batches.projected or step.decrements:
            with torch.set_grad_enabled(False):
                _move_weights(optimizer, step)
        self._step, self._holding = None, []
        for one in self.targets:
            one.step += 1


def _move_weights(optimizer: Optimizer, step: _Step) -> None:
    for batch, decrements in step.decrements or ():
        batch.subtract_(decrements)
    for batch in step.batches.proximal:
        batch.prox_(batch.group["lr"], _skipped(optimizer, batch))
    for batch in step.batches.projected:
        batch.project_(_skipped(optimizer, batch))


@torch.no_grad()
def _value(batches: Batches) -> Any:
    return sum(batch.acting.value(whole(w)) for batch in batches.coupled for w in batch.tensors)


def _gradients(tensors: list[Tensor]) -> list[Tensor]:
    return [w.grad for w in tensors if w.grad is not None]


def _merged(found: list[Batches]) -> Batches:
    """Return what several handles on one optimizer do, together."""
    return Batches(*(list(chain.from_iterable(alike)) for alike in zip(*found, strict=True)))


def _uncompiled(hook: Callable[..., Any]) -> Callable[..., Any]:
    """Hide a hook from the compiler, so that a new strength does not compile a step anew.

    It is hidden only while something is compiled: hiding it takes longer than most hooks.
    """
    hidden = torch.compiler.disable(hook)  # type: ignore[no-untyped-call]

    def either(optimizer: Optimizer, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if torch.compiler.is_compiling():
            return hidden(optimizer, args, kwargs)
        return hook(optimizer, args, kwargs)

    return either


def _steps_under_way(optimizer: Optimizer) -> int:
    """Count the steps of ``optimizer`` that call each other: a failed one is not among them."""
    frames = (frame for frame, _ in traceback.walk_stack(None) if frame.f_code is STEP)
    return sum(frame.f_locals.get("self") is optimizer for frame in frames)


def _scale(batch: Batch, optimizer: Optimizer) -> float | Tensor | None:
    """Return what multiplies the gradients: a fused optimizer's loss scale, -1 if it maximizes."""
    scale: Tensor | None = getattr(optimizer, "grad_scale", None)
    if not batch.group.get("maximize"):
        return scale
    return -1.0 if scale is None else -scale


def _skipped(optimizer: Optimizer, batch: Batch) -> Tensor | None:
    """Return whether this is a step that a fused optimizer skips for its infinite gradients."""
    found: Tensor | None = getattr(optimizer, "found_inf", None)
    return None if found is None else found.to(batch.tensors[0].device).reshape(()) > 0


def _rate(batch: Batch, optimizer: Optimizer) -> float | Tensor:
    """Return the learning rate, 0 if the step is skipped."""
    lr: float | Tensor = batch.group["lr"]
    skipped = _skipped(optimizer, batch)
    return lr if skipped is None else torch.where(skipped, 0.0, lr)
