"""What a penalty is: four closed forms on one tensor, and a strength."""

from __future__ import annotations

import copy
import math
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, TypeVar

import torch
from torch import Tensor, nn

from shrinkage.errors import ShrinkageError, some_of, warn
from shrinkage.parameters import Row, Selection, explain_selection, weights
from shrinkage.penalties.toward import Snapshot, around_reference, bound, reference, snapshot
from shrinkage.tensors.norms import is_number, readable
from shrinkage.tensors.sharded import whole
from shrinkage.tensors.wrapped import is_constant, plain_name

P = TypeVar("P", bound="Penalty")

OPERATIONS = {"value", "gradient", "prox", "strength_max"}


@dataclass(frozen=True, eq=False, repr=False)
class Penalty(ABC):
    r"""A function of one tensor that is added, with its strength, to the loss.

    A subclass is final: a frozen dataclass with keyword-only shape fields and closed forms for
    the four operations, written for a tensor that is pulled to zero. The base class computes
    them in at least float32 and, with ``toward``, for ``w - reference``. The strength lives
    inside because not every penalty is linear in it.

    Args:
        strength: :math:`\lambda \ge 0`, a number or a 0-d tensor, in units of loss per unit of
            :math:`P(w) / \lambda`.
        toward: What the penalty pulls to instead of zero: a ``state_dict()`` for a model, a
            tensor for one tensor (known as L2-SP for L2). It is copied. ``strength_max`` is then
            where the reference becomes a minimizer, from the gradient at the reference.

    Attributes:
        convex: Whether the value is convex in the tensor.
        smooth: Whether the gradient exists everywhere; penalties with kinks are coupled through
            their prox by default.
        linear: Whether the value is proportional to the strength.
        takes_toward: Whether ``toward`` makes sense.
        absolute: Whether it is a function of the absolute values, so that it takes complex
            tensors: it shrinks them and keeps their phase.
        examples: Keyword sets that tests, gallery and documentation build the penalty from.
    """

    strength: float | Tensor
    toward: Tensor | Mapping[str, Tensor] | None = field(default=None, kw_only=True)

    convex: ClassVar[bool]
    smooth: ClassVar[bool]
    linear: ClassVar[bool] = True
    takes_toward: ClassVar[bool] = True
    absolute: ClassVar[bool] = False
    examples: ClassVar[tuple[dict[str, Any], ...]]

    def __init_subclass__(cls) -> None:
        for name in OPERATIONS & vars(cls).keys():
            setattr(cls, name, around_reference(name, vars(cls)[name]))

    def __post_init__(self) -> None:
        owner = type(self).__name__
        check_strength(self.strength, owner)
        if self.toward is None or isinstance(self.toward, Snapshot):
            return
        if not self.takes_toward:
            raise ShrinkageError(f"{owner} cannot pull to a reference; leave toward= out.")
        object.__setattr__(self, "toward", snapshot(self.toward, owner))

    @abstractmethod
    def value(self, w: Tensor) -> Tensor:
        """Return the penalty of ``w``, a 0-d tensor, accumulated in at least float32."""

    @abstractmethod
    def gradient(self, w: Tensor) -> Tensor:
        """Return the gradient at ``w``; at a kink the subgradient of smallest norm."""

    @abstractmethod
    def prox(self, w: Tensor, step: float | Tensor) -> Tensor:
        r"""Return :math:`\arg\min_u \tfrac12 \lVert u - w \rVert^2 + \text{step} \cdot P(u)`."""

    @abstractmethod
    def strength_max(self, gradient: Tensor) -> Tensor:
        """Return the smallest strength at which zero, or the reference, is a minimizer.

        Args:
            gradient: Gradient of the loss there.
        """

    def at(self: P, strength: float | Tensor) -> P:
        """Return a copy with another strength."""
        return replace(self, strength=strength)

    def strengths(self) -> list[float | Tensor]:
        """Return the strength; of a sum, also those of its terms."""
        return [self.strength]

    def with_strengths(self: P, strengths: Sequence[float | Tensor]) -> P:
        """Return a copy with other ones, in the order of :meth:`strengths`."""
        return self.at(*strengths)

    def for_tensor(self: P, name: str, w: Tensor) -> P:
        """Return the penalty of the one tensor ``w`` with its own reference, if there is any.

        Whoever goes through the tensors of a model calls this.

        Raises:
            ShrinkageError: ``toward`` has no such name, or its tensor has another shape.
        """
        if self.toward is None:
            return self
        assert isinstance(self.toward, Snapshot)
        return self._around(bound(self.toward, name, w, type(self).__name__))

    def center(self, w: Tensor) -> Tensor:
        """Return what ``w`` is pulled to: the reference, or zeros."""
        if self.toward is None:
            return torch.zeros_like(w)
        return reference(self.toward, w, type(self).__name__)

    def parts(self) -> list[tuple[float | Tensor, Penalty]]:
        """Return the penalty as a sum of simpler ones, each with a factor."""
        return [(1.0, self)]

    def __add__(self, other: object) -> Penalty:
        """Return the sum of two penalties, itself a penalty."""
        from shrinkage.penalties.sum import added

        return added(self, other) if isinstance(other, Penalty) else NotImplemented

    def __radd__(self, other: object) -> Penalty:
        """Let Python's ``sum`` start from 0."""
        return self if type(other) is int and other == 0 else NotImplemented

    def around_zero(self: P) -> P:
        """Return a copy without the reference."""
        return self._around(None)

    def _around(self: P, toward: Snapshot | None) -> P:
        """Return a copy with another reference, unchecked: the strength may be a mapped tensor."""
        moved = copy.copy(self)
        object.__setattr__(moved, "toward", toward)
        return moved

    def twins(self) -> dict[str, str]:
        """Return the same penalty in the conventions of other libraries; none with ``toward``."""
        return {}

    def __call__(
        self,
        model: nn.Module,
        select: Selection = weights,
        *,
        tensors: Mapping[str, Tensor] | None = None,
    ) -> Tensor:
        """Return the total penalty of ``model``, ready to be added to a loss.

        Frozen parameters (``requires_grad=False``) are left out.

        Args:
            model: The model.
            select: Which tensors; see :func:`shrinkage.parameters.explain_selection`.
            tensors: What stands in for parameters, by name, as in
                :func:`torch.func.functional_call`; the others are those of the model.

        Raises:
            ShrinkageError: Nothing is selected, or ``tensors`` stand in for none of it.

        Warns:
            ShrinkageWarning: ``constant penalty``: a transform of ``torch.func`` differentiates,
                but none of these tensors.

        Example:
            >>> from shrinkage.penalties import L2
            >>> net = nn.Linear(2, 1)
            >>> loss = net(torch.ones(1, 2)).mean() + L2(1e-3)(net)
        """
        selected = (row for row in explain_selection(model, select) if row.selected)
        rows = [row for row in selected if row.tensor.requires_grad]
        named = {row.name: row.tensor for row in rows}
        if named and tensors is not None:
            named = _in_place_of(rows, tensors)
        if named and is_constant(named.values()):
            warn(
                "constant penalty",
                f"{self!r} of the model's own tensors, which the transform of torch.func around "
                "it does not differentiate: it has no gradient there. Give the ones that it does, "
                "penalty(model, tensors=...), or add the penalty inside forward.",
            )
        values = [self.for_tensor(name, w).value(whole(w)) for name, w in named.items()]
        return torch.stack(values).sum() if values else torch.zeros(())

    def __repr__(self) -> str:
        """Return the call that makes this penalty."""
        given = {f.name: getattr(self, f.name) for f in fields(self)[1:]}
        shape = [f"{k}={v!r}" for k, v in given.items() if not (k == "toward" and v is None)]
        return f"{type(self).__name__}({', '.join([_show(self.strength), *shape])})"

    def __str__(self) -> str:
        """Return that call, and its twins elsewhere."""
        twins = ", ".join(f"{where} {what}" for where, what in self.twins().items())
        return f"{self!r}  # = {twins}" if twins else repr(self)


def _in_place_of(rows: Sequence[Row], tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the selected tensors by name, with those in place that stand in for them."""
    given = {plain_name(name): w for name, w in tensors.items()}
    found = {
        row.name: given[name] for row in rows for name in (row.name, *row.shared) if name in given
    }
    if not found:
        raise ShrinkageError(
            f"tensors= holds {some_of(given) or 'nothing'}, and the penalty acts on "
            f"{some_of(row.name for row in rows)}; give dict(model.named_parameters()), or tensors "
            "by the same names."
        )
    return {row.name: found.get(row.name, row.tensor) for row in rows}


def check_strength(strength: float | Tensor, owner: str) -> None:
    """Refuse a strength that is not a finite number >= 0, or a 0-d tensor of one."""
    number: object = strength
    if isinstance(strength, Tensor):
        if strength.dim() != 0:
            raise ShrinkageError(
                f"{owner}: strength is a tensor of shape {tuple(strength.shape)}; "
                "give one of shape ()."
            )
        if (number := readable(strength)) is None:
            return
    if not is_number(number):
        raise ShrinkageError(f"{owner}: strength={strength!r} is not a number; give one >= 0.")
    if not 0 <= number < math.inf:
        raise ShrinkageError(f"{owner}: strength={strength!r} must be finite and >= 0.")


def kind_of(acting: object) -> str:
    """Return the kind of a penalty or a constraint, of a sum the kinds of its terms.

    Example:
        >>> from shrinkage import L1, L2
        >>> kind_of(L1(1.0) + L2(0.5))
        'L1 + L2'
    """
    terms: tuple[Penalty, ...] = getattr(acting, "terms", ())
    return " + ".join(map(kind_of, terms)) or type(acting).__name__


def catalogue() -> dict[str, type[Penalty]]:
    """Return the penalties of this package, sums aside, by their command-line name.

    Example:
        >>> sorted(catalogue())
        ['elastic_net', 'group_lasso', 'l1', 'l2', ...]
    """
    ours = (c for c in Penalty.__subclasses__() if c.__module__.startswith("shrinkage.penalties."))
    return {_snake_case(c.__name__): c for c in ours if c.examples}


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()


def _show(strength: float | Tensor) -> str:
    return f"{strength.item():g}" if isinstance(strength, Tensor) else f"{strength:g}"
