"""What one step of an optimizer penalizes: the tensors, their groups, the penalties now."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from operator import is_, itemgetter
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor, layout, nn
from torch.nn.parameter import is_lazy
from torch.optim import Optimizer

from shrinkage.errors import ShrinkageError, some_of, warn
from shrinkage.parameters import Row
from shrinkage.penalties import Penalty
from shrinkage.regularizing import refusals
from shrinkage.regularizing.batch import Batch, Batches
from shrinkage.regularizing.rules import Acting, Rule, Selected, assign, for_tensor

Schedule: TypeAlias = Callable[[int], float | Tensor]

_END = object()
_parameters_of = itemgetter("params")


class Target(NamedTuple):
    """One tensor that an optimizer updates, its parameter group, and the rule that acts on it."""

    row: Row
    group: dict[str, Any]
    rule: Rule


class Targets:
    """What the steps of an optimizer do to the tensors of a model, as rules and a schedule say.

    Every step compares, by identity, the modules and parameters of the model and the parameter
    groups of the optimizer with those it knows, and decides anew where one was added, removed or
    replaced. So a change counts from the next step on.

    Attributes:
        rules: The rules, the first match wins.
        schedule: Turns the number of the step into a factor for every strength; None is 1.
        step: The number of steps done.
        selected: The tensors that rules act on, by ``id``, in the optimizer or not.
        targets: Those that the optimizer holds.
        waiting: Those that rules will act on as soon as they have a size, in lazy modules.
    """

    def __init__(
        self,
        model: nn.Module,
        rules: list[Rule],
        schedule: Schedule | None,
        optimizer: Optimizer,
    ) -> None:
        if not (schedule is None or callable(schedule)):
            raise ShrinkageError(
                f"schedule={schedule!r} is not a schedule; give a callable that turns the number "
                "of the step into a factor, such as shrinkage.schedules.linear(0, 1, steps=1000)."
            )
        self.model, self.rules, self.schedule, self.step = model, rules, schedule, 0
        self.selected: dict[int, Selected] = {}
        self.resolve(optimizer)
        for rule in rules:
            self.now(rule)
        if missing := self.missing():
            raise ShrinkageError(
                f"{missing}; build it from the parameters of the model as it is now, or leave "
                "these out with select=."
            )

    def resolve(self, optimizer: Optimizer) -> list[Row]:
        """Decide which tensors are penalized; return those that are still there, but no longer."""
        assigned, before = assign(self.model, self.rules), self.selected
        acted = [Selected(row, rule) for row, rule in assigned if row.selected and rule]
        for row, rule in acted:
            refusals.check_tensor(row, rule)
        groups = {id(w): group for group in optimizer.param_groups for w in group["params"]}
        self.selected = {id(pair.row.tensor): pair for pair in acted}
        waiting = [Selected(row, rule) for row, rule in assigned if row.waiting and rule]
        self.waiting = {id(pair.row.tensor): pair for pair in waiting}
        self.targets = [
            Target(row, groups[id(row.tensor)], rule)
            for row, rule in acted
            if id(row.tensor) in groups
        ]
        tables: list[Any] = []
        for module in self.model.modules():
            own = (module._modules, module._parameters)
            tables += [table for table in own if isinstance(table, dict)]  # a script cannot change
        self._empty = [table for table in tables if not table]
        self._filled = [table for table in tables if table]
        self._lazy = [row.tensor for row, _ in assigned if is_lazy(row.tensor)]
        self._known = list(self._look(optimizer))
        self._tensors = [target.row.tensor for target in self.targets]
        self._states: list[bool | layout] = []
        self._acting: list[Acting | None] = []
        self._batches = Batches([], [], [], [])
        return [row for row, _ in assigned if id(row.tensor) in before and not row.selected]

    def missing(self) -> str:
        """Say which trainable tensors are selected, but not in the optimizer."""
        held = {id(target.row.tensor) for target in self.targets}
        rows = [row for key, (row, _) in self.selected.items() if key not in held]
        names = [row.name for row in rows if row.tensor.requires_grad]
        return f"the optimizer does not hold {some_of(names)}" if names else ""

    def now(self, rule: Rule) -> Acting | None:
        """Return what acts by ``rule`` at this step: its penalty, times the schedule."""
        penalty = rule.penalty
        if rule.live:
            rule.check()
        if self.schedule is None or not isinstance(penalty, Penalty):
            return penalty
        factor = self.schedule(self.step)
        try:
            return penalty.at(penalty.strength * factor)
        except (ShrinkageError, TypeError) as error:
            raise ShrinkageError(
                f"schedule gave {factor!r} at step {self.step}; give a callable that turns the "
                "number of the step into a factor >= 0, a number or a 0-d tensor."
            ) from error

    def of_step(self, optimizer: Optimizer) -> Batches:
        """Return what this step updates: targets that are trainable and have a gradient.

        This runs in every step, most often to find that nothing has changed, and with cold caches:
        each object it touches costs more than what is done with it.
        """
        if any(self._empty) or not all(map(is_, self._look(optimizer), self._known)):
            for row in self.resolve(optimizer):
                warn("no longer penalized", f"{row.name}, {row.reason}.")
            if missing := self.missing():
                warn("not trained", f"{missing}: neither trained nor penalized.")
        acting = [self.now(rule) for rule in self.rules]
        states = [w.requires_grad and ((g := w.grad) is None or g.layout) for w in self._tensors]
        if states != self._states or not all(map(is_, acting, self._acting)):
            self._batches = self._group(dict(zip(self.rules, acting, strict=True)))
            self._states, self._acting = states, acting
        return self._batches

    def _look(self, optimizer: Optimizer) -> Iterator[object]:
        groups = optimizer.param_groups
        known = chain.from_iterable(map(dict.values, self._filled))
        held = chain.from_iterable(map(_parameters_of, groups))
        return chain(known, groups, held, map(type, self._lazy), (_END,))

    def _group(self, acting: dict[Rule, Acting | None]) -> Batches:
        """Put tensors together; those with a reference of their own go alone."""
        alike: dict[tuple[object, ...], tuple[str, Any, dict[str, Any], list[Tensor]]] = {}
        for row, group, rule in self.targets:
            w = row.tensor
            if w.requires_grad and w.grad is not None:
                refusals.check_gradient(row)
                own = for_tensor(acting[rule], row)
                key = (id(own), rule.how, id(group), w.device, w.dtype, type(w))
                *_, tensors = alike.setdefault(key, (rule.how, own, group, []))
                tensors.append(w)
        batches = Batches([], [], [], [])
        for how, own, group, tensors in alike.values():
            getattr(batches, how).append(Batch(own, group, tensors))
        return batches
