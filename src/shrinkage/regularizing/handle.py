"""The handle on a penalty at work: what it does, its strength, its state, its end."""

from __future__ import annotations

import copy
import gc
from collections.abc import Mapping
from typing import Any, NoReturn

import torch
from torch import Tensor
from torch.optim import Optimizer

from shrinkage.errors import ShrinkageError, as_whole, counted, some_of, warn
from shrinkage.penalties import Penalty
from shrinkage.penalties.base import check_strength
from shrinkage.regularizing import refusals
from shrinkage.regularizing.cautions import cautions
from shrinkage.regularizing.hooks import StepHooks, step_hooks, step_hooks_of
from shrinkage.regularizing.rules import Acting, Rule, Selected, assign, describe
from shrinkage.regularizing.stats import Stats
from shrinkage.regularizing.summary import Summary, summarize
from shrinkage.regularizing.targets import Targets
from shrinkage.tensors.sharded import whole


class Regularization:
    """A penalty at work in an optimizer; made by :func:`shrinkage.regularize`.

    ``copy.deepcopy`` and ``pickle`` drop the hooks of an optimizer, so a copy trains without the
    penalty; a warning says so as the copy is made. Call :func:`shrinkage.regularize` on it. Once
    the first optimizer is gone, ``attached`` is False, and ``summary()`` says in how many steps it
    acted; if in none, it says NOT ACTING, and ``value()`` warns.

    Attributes:
        rules: The rules, each with its ``select``, ``penalty`` and ``how``; one if a penalty was
            given.
    """

    def __init__(
        self, targets: Targets, optimizer: Optimizer, where: str, stats: Stats | None
    ) -> None:
        self._targets, self._where, self._stats = targets, where, stats
        self._removed, self._first_step = False, 0
        self._take_over(optimizer)
        self._hooks = step_hooks_of(optimizer)
        self._hooks.targets[targets] = stats

    def __enter__(self) -> Regularization:
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()

    def __deepcopy__(self, memo: dict[int, Any]) -> Regularization:
        """Return a copy, which acts nowhere."""
        copied = object.__new__(type(self))
        copied.__dict__.update(copy.deepcopy(self.__dict__, memo))
        copied._first_step = copied._targets.step
        return copied

    def __reduce__(self) -> NoReturn:
        """Refuse to be pickled, as a part of a checkpoint would be."""
        raise ShrinkageError(
            "a handle belongs to its optimizer and cannot be saved; save handle.state_dict(), and "
            "load it into the handle that regularize returns."
        )

    def __repr__(self) -> str:
        """Return the rules and the optimizer, or what has become of them."""
        what, steps = describe(self.rules), self._steps
        if self.attached:
            return f"{what}, on {self._where}"
        if steps:
            end = self._ended or "its optimizer is gone, so it acts no more"
            return f"{what}; acted in {counted(steps, 'step')}; {end}"
        gone = "NOT ACTING: its optimizer is gone, and a copy has no penalty"
        return f"{what}, {self._ended or gone}"

    @property
    def rules(self) -> list[Rule]:
        return self._targets.rules

    @property
    def penalty(self) -> Acting | None:
        """The only penalty; assign a copy with other numbers to change it while training."""
        return self._only_rule().penalty

    @penalty.setter
    def penalty(self, penalty: Acting) -> None:
        self._only_rule().penalty = penalty

    @property
    def strength(self) -> float | Tensor:
        """The strength of the only penalty; assign a number or a 0-d tensor to change it."""
        return self._only_rule().strength

    @strength.setter
    def strength(self, strength: float | Tensor) -> None:
        self._only_rule().strength = strength

    @property
    def how(self) -> str:
        """The only coupling."""
        return self._only_rule().how

    @property
    def attached(self) -> bool:
        """Whether the penalty still acts, not removed and its optimizer alive."""
        return not self._ended and self._hooks.attached

    @property
    def _ended(self) -> str:
        """How it came to an end other than with its optimizer, if it did."""
        if self._removed:
            return "removed"
        taken = self._targets not in self._hooks.targets
        return "taken over by a later regularize" if taken else ""

    @property
    def _steps(self) -> int:
        """The number of steps in which it acted itself."""
        return self._targets.step - self._first_step

    def remove(self) -> None:
        """Take the penalty off the optimizer; the weights stay as they are."""
        self._removed = True
        self._hooks.remove(self._targets)

    @torch.no_grad()
    def value(self) -> Tensor:
        """Return the total penalty of the trainable selected tensors now, a detached 0-d tensor."""
        if not (self.attached or self._ended or self._steps):
            warn("nothing minimizes this value", f"{self!r}")
        penalties = {rule: self._targets.now(rule) for rule in self.rules}
        values = [
            penalty.for_tensor(row.name, row.tensor).value(whole(row.tensor))
            for row, rule in self._targets.selected.values()
            if row.tensor.requires_grad and isinstance(penalty := penalties[rule], Penalty)
        ]
        return torch.stack(values).sum() if values else torch.zeros(())

    def observe(self, loss: Tensor) -> None:
        """Give ``stats()`` the data loss of the coming step; that of a closure is seen anyway."""
        if self._stats is not None:
            self._stats.see(loss)

    def stats(self) -> list[dict[str, float]]:
        """Return what was measured every ``stats_every`` steps, before each updated the weights.

        One dict per measurement, ready for a data frame or a logger: ``step`` (from 0), ``loss``
        (without the penalty, from :meth:`observe` or a closure, else NaN), ``penalty``,
        ``gradient_share`` (norm of the penalty's gradient over that of the loss's, on the
        penalized tensors), ``sparsity`` (fraction of exact zeros there) and ``zero_groups``
        (fraction of groups that are zero: those of the penalty, else of ``dim=0``, which are
        output units, but inputs in a transposed convolution). A step that
        is measured waits for no device; this call does.

        Raises:
            ShrinkageError: ``regularize`` was not asked to measure.

        Example:
            >>> import shrinkage
            >>> from shrinkage.penalties import L2
            >>> net = torch.nn.Linear(2, 1)
            >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
            >>> handle = shrinkage.regularize(net, optimizer, L2(0.1), stats_every=10)
            >>> for _ in range(20):
            ...     loss = net(torch.ones(4, 2)).square().mean()
            ...     loss.backward()
            ...     handle.observe(loss)
            ...     optimizer.step()
            >>> [row["step"] for row in handle.stats()]
            [0, 10]
        """
        if self._stats is None:
            raise ShrinkageError("nothing has been measured; call regularize(..., stats_every=10).")
        return self._stats.read()

    def cautions(self) -> list[str]:
        """Return the warnings that ``regularize`` gave, with the numbers of this step."""
        optimizer = self._hooks.optimizer() if self.attached else None
        return list(cautions(self._targets, optimizer)) if optimizer else []

    def summary(self) -> Summary:
        """Return every parameter of the model: is it penalized, why, and how much; print it."""
        optimizer = self._hooks.optimizer() if self.attached else None
        held = {id(w) for group in getattr(optimizer, "param_groups", ()) for w in group["params"]}
        if optimizer is None and self._steps:  # what it acted on
            held = {id(target.row.tensor) for target in self._targets.targets}
        assigned = assign(self._targets.model, self.rules)
        now, said = self._targets.now, self.cautions()
        return summarize(self.rules, now, assigned, held, title=repr(self), cautions=said)

    def state_dict(self) -> dict[str, Any]:
        """Return the number of the step and the strengths, as numbers and strings.

        Save it beside those of the model and the optimizer, in any format. A training that loads
        all three goes on bit for bit as if it had not stopped.
        """
        strengths = [s for _, penalty in self._penalties() for s in penalty.strengths()]
        return {
            "step": self._targets.step,
            "penalties": [rule.name for rule, _ in self._penalties()],
            "strengths": [float(strength) for strength in strengths],
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another handle stopped; strengths that are tensors are changed in place.

        Raises:
            ShrinkageError: The state is of other penalties, or of no strengths.
        """
        here = self.state_dict()
        if not isinstance(state, Mapping) or state.keys() != here.keys():
            given = type(state).__name__
            given += f" of {some_of(map(str, state))}" if isinstance(state, Mapping) else ""
            raise ShrinkageError(
                f"{given} is not the state of a handle; give what handle.state_dict() returned."
            )
        names, strengths = list(state["penalties"]), list(state["strengths"])
        if names != here["penalties"] or len(strengths) != len(here["strengths"]):
            raise ShrinkageError(
                f"this state is of {some_of(names)} ({len(strengths)} strengths), the handle has "
                f"{some_of(here['penalties'])} ({len(here['strengths'])}); call regularize with "
                "the same penalties first."
            )
        step = as_whole("step", state["step"], least=0)
        for strength in strengths:
            check_strength(strength, "this state")
        left = iter(strengths)
        for rule, penalty in self._penalties():
            loaded = [_loaded(strength, float(next(left))) for strength in penalty.strengths()]
            rule.penalty = penalty.with_strengths(loaded)
        self._targets.step = self._first_step = step

    def _penalties(self) -> list[tuple[Rule, Penalty]]:
        return [(rule, rule.penalty) for rule in self.rules if isinstance(rule.penalty, Penalty)]

    def _only_rule(self) -> Rule:
        if len(self.rules) > 1:
            raise ShrinkageError(
                f"this handle has {len(self.rules)} rules; say which one: handle.rules[0].penalty."
            )
        return self.rules[0]

    def _take_over(self, optimizer: Optimizer) -> None:
        """Take the place of handles on other optimizers; refuse what excludes this one."""
        ours = self._targets.selected | self._targets.waiting
        if self._sharing(ours):
            gc.collect()  # an optimizer that was replaced may linger
        sharing = self._sharing(ours)
        for hooks, other in sharing:
            theirs = other.selected | other.waiting
            if conflict := refusals.conflict(ours, theirs, hooks.optimizer() is optimizer):
                raise ShrinkageError(conflict)
        for hooks, other in sharing:
            former = hooks.optimizer()
            if former is not optimizer:
                hooks.remove(other)
                names = some_of(row.name for row, _ in other.selected.values())
                warn(
                    "taken over",
                    f"{names} carried {describe(other.rules)}, on an earlier "
                    f"{type(former).__name__} that is still there; that handle is removed, and "
                    "only steps of the new optimizer penalize from now on.",
                )

    @staticmethod
    def _sharing(ours: dict[int, Selected]) -> list[tuple[StepHooks, Targets]]:
        """Return what acts on some of our tensors already."""
        acting = [(hooks, other) for hooks in step_hooks() for other in hooks.targets]
        return [
            (hooks, other)
            for hooks, other in acting
            if ours.keys() & (other.selected | other.waiting).keys()
        ]


def _loaded(strength: float | Tensor, number: float) -> float | Tensor:
    return strength.fill_(number) if isinstance(strength, Tensor) else number
