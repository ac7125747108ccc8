"""What a penalty acts on, tensor by tensor, as a table."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shrinkage.parameters import Row
from shrinkage.penalties import Penalty

if TYPE_CHECKING:
    from rich.table import Table

HEADER = ("parameter", "penalty", "strength", "numbers", "zeros", "value", "why")
NUMBERS = {"strength", "numbers", "zeros", "value"}


@dataclass(frozen=True)
class Summary:
    """Every parameter of a model with the penalty on it; ``print`` it or read ``rows``.

    Attributes:
        title: The penalty, its coupling and the optimizer, in one line.
        notes: Further lines: totals, twins in other libraries, what to know.
        rows: One dict per parameter: ``name``, ``penalized``, ``why``, ``penalty``, ``strength``,
            ``numel``, ``value`` (its share of the total, 0 if not penalized), ``zeros`` (entries
            that are exactly zero) and ``shared`` (further names of a tied tensor).
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

    def __rich__(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        text = "\n".join([self.title, *self.notes])
        table = Table(title=Text(text), title_justify="left", box=None)
        for name in HEADER:
            table.add_column(name, justify="right" if name in NUMBERS else "left")
        for row in self.rows:
            style = None if row["penalized"] else "dim"
            table.add_row(*map(Text, _cells(row)), style=style)
        return table


def summarize(
    penalty: Penalty, decisions: Iterable[Row], held: Collection[int], title: str
) -> Summary:
    """Build the table from the decisions of a selection.

    Args:
        penalty: The penalty.
        decisions: Every parameter, selected or not.
        held: The ``id`` of each tensor the optimizer holds; none if the penalty does not act.
        title: First line.
    """
    rows = [_row(penalty, decision, held) for decision in decisions]
    active = [row for row in rows if row["penalized"]]
    total, numbers = (sum(row[key] for row in active) for key in ("value", "numel"))
    note = (
        f"{len(active)} of {len(rows)} tensors, {numbers:,} of "
        f"{sum(row['numel'] for row in rows):,} numbers, total value {total:.6g}"
    )
    twins = ", ".join(f"{where} {what}" for where, what in penalty.twins().items())
    return Summary(title, (note, f"elsewhere: {twins}") if twins else (note,), rows)


def _row(penalty: Penalty, decision: Row, held: Collection[int]) -> dict[str, Any]:
    tensor, why = decision.tensor.detach(), decision.reason
    penalized = decision.selected and decision.tensor.requires_grad and id(decision.tensor) in held
    if decision.selected and not penalized:
        frozen = not decision.tensor.requires_grad
        why = f"selected ({why}), but {'frozen' if frozen else 'not in a live optimizer'}"
    return {
        "name": decision.name,
        "penalized": penalized,
        "why": why,
        "penalty": type(penalty).__name__ if penalized else "",
        "strength": float(penalty.strength) if penalized else 0.0,
        "numel": tensor.numel(),
        "value": penalty.value(tensor).item() if penalized else 0.0,
        "zeros": int((tensor == 0).sum()),
        "shared": list(decision.shared),
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
