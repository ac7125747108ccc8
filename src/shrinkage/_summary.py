"""What a penalty acts on, tensor by tensor, as a table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from shrinkage._rules import Acting, Assigned, Rule, for_tensor
from shrinkage._sharded import whole
from shrinkage.parameters import Row
from shrinkage.penalties import Penalty

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions

HEADER = ("parameter", "penalty", "strength", "numbers", "zeros", "value", "why")
NARROW = 72
NUMBERS = {"strength", "numbers", "zeros", "value"}


@dataclass(frozen=True)
class Summary:
    """Every parameter of a model with the penalty on it; ``print`` it or read ``rows``.

    Attributes:
        title: The penalty, its coupling and the optimizer, in one line.
        notes: Further lines: totals, twins in other libraries, what to know.
        rows: One dict per parameter: ``name``, ``penalized``, ``why``, ``rule`` (the first that
            matches), ``penalty``, ``how``, ``strength`` (now), ``numel``, ``value`` (its share of
            the total, 0 if not penalized), ``zeros`` (entries that are exactly zero) and
            ``shared`` (further names of a tied tensor).
    """

    title: str
    notes: tuple[str, ...]
    rows: list[dict[str, Any]]

    def __str__(self) -> str:
        """Return the table as aligned plain text."""
        lines = [HEADER, *map(_cells, self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = ("  ".join(map(_align, HEADER, line, widths)).rstrip() for line in lines)
        return "\n".join([self.title, *self.notes, "", *table])

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Any]:
        """Yield title, notes and table; a narrow terminal gets the first columns."""
        from rich.table import Table
        from rich.text import Text

        yield Text("\n".join([self.title, *self.notes]))
        table = Table(box=None, pad_edge=False)
        header = HEADER if options.max_width >= NARROW else HEADER[:3]
        for name in header:
            justify: Literal["left", "right"] = "right" if name in NUMBERS else "left"
            table.add_column(name, justify=justify, overflow="fold")
        for row in self.rows:
            style = None if row["penalized"] else "dim"
            table.add_row(*map(Text, _cells(row)[: len(header)]), style=style)
        yield table


def summarize(
    rules: list[Rule],
    now: Callable[[Rule], Acting | None],
    assigned: Iterable[Assigned],
    held: Collection[int],
    title: str,
) -> Summary:
    """Build the table from the decisions of ordered rules.

    Args:
        rules: The rules.
        now: Turns a rule into what acts at this step.
        assigned: Every parameter and the rule that it matches, if any.
        held: The ``id`` of each tensor the optimizer holds; none if nothing acts.
        title: First line.
    """
    acting = {rule: now(rule) for rule in rules}
    rows = [_row(row, rule, acting[rule] if rule else None, held) for row, rule in assigned]
    active = [row for row in rows if row["penalized"]]
    total, numbers = (sum(row[key] for row in active) for key in ("value", "numel"))
    notes = [
        f"{len(active)} of {len(rows)} tensors, {numbers:,} of "
        f"{sum(row['numel'] for row in rows):,} numbers, total value {total:.6g}"
    ]
    if len(rules) > 1:
        notes += [f"rule {number}: {rule!r}" for number, rule in enumerate(rules, 1)]
    for penalty in acting.values():
        twins = penalty.twins() if isinstance(penalty, Penalty) else {}
        if twins:
            notes.append("elsewhere: " + ", ".join(f"{at} {what}" for at, what in twins.items()))
    return Summary(title, tuple(notes), rows)


def _row(
    row: Row, rule: Rule | None, acting: Acting | None, held: Collection[int]
) -> dict[str, Any]:
    tensor, why = whole(row.tensor.detach()), row.reason
    penalized = row.selected and row.tensor.requires_grad and id(row.tensor) in held
    if row.selected and not penalized:
        frozen = not row.tensor.requires_grad
        why = f"selected ({why}), but {'frozen' if frozen else 'not in a live optimizer'}"
    penalty = for_tensor(acting, row) if penalized else None
    penalty = penalty if isinstance(penalty, Penalty) else None
    return {
        "name": row.name,
        "penalized": penalized,
        "why": why,
        "rule": repr(rule) if rule else "",
        "penalty": type(acting).__name__ if penalized else "",
        "how": rule.how if penalized and rule else "",
        "strength": float(penalty.strength) if penalty else 0.0,
        "numel": tensor.numel(),
        "value": penalty.value(tensor).item() if penalty else 0.0,
        "zeros": int((tensor == 0).sum()),
        "shared": list(row.shared),
    }


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    tied = f"; also named {', '.join(row['shared'])}" if row["shared"] else ""
    value, strength = (
        (f"{row['value']:.6g}", f"{row['strength']:g}") if row["penalized"] else ("-", "-")
    )
    numbers = f"{row['numel']:,}"
    zeros, why = f"{row['zeros']:,}", row["why"] + tied
    return row["name"], row["penalty"] or "-", strength, numbers, zeros, value, why


def _align(column: str, cell: str, width: int) -> str:
    return cell.rjust(width) if column in NUMBERS else cell.ljust(width)
