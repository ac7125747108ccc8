"""What a penalty acts on, tensor by tensor, as a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy

from shrinkage.constraints import Constraint
from shrinkage.parameters import Row
from shrinkage.penalties import Penalty
from shrinkage.penalties.base import kind_of
from shrinkage.regularizing.rules import Acting, Assigned, Rule, for_tensor
from shrinkage.tensors.sharded import whole

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions

HEADER = ("parameter", "penalty", "strength", "numbers", "zeros", "value", "why")
COLUMNS = {
    72: ("parameter", "penalty", "strength"),
    100: ("parameter", "penalty", "strength", "value", "why"),
}
"""What fits into a terminal of less than so many characters."""
NUMBERS = {"strength", "numbers", "zeros", "value"}


@dataclass(frozen=True)
class Summary:
    """Every parameter of a model with the penalty on it; ``print`` it or read ``rows``.

    A terminal that Rich prints to gets the columns that fit, a notebook gets HTML.

    Attributes:
        title: The penalty, its coupling and the optimizer, in one line.
        notes: Further lines: totals, rules, twins in other libraries, cautions.
        rows: One dict per parameter: ``name``, ``penalized``, ``why``, ``rule`` (the first that
            matches), ``rule_number`` (from 1, 0 for none), ``penalty``, ``how``, ``strength``
            (now), ``numel``, ``value`` (its share of the total, 0 if not penalized),
            ``violation`` (of a constraint), ``zeros`` (entries that are exactly zero) and
            ``shared`` (further names of a tied tensor). Without data, as on the meta device,
            ``value``, ``violation`` and ``zeros`` are not a number.
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
        """Yield title, notes and table."""
        from rich.table import Table
        from rich.text import Text

        yield Text("\n".join([self.title, *self.notes, ""]))
        table = Table(box=None, pad_edge=False)
        widths = (width for width in COLUMNS if options.max_width < width)
        header = COLUMNS.get(next(widths, 0), HEADER)
        for name in header:
            justify: Literal["left", "right"] = "right" if name in NUMBERS else "left"
            table.add_column(name, justify=justify, overflow="fold")
        for row in self.rows:
            style = None if row["penalized"] else "dim"
            cells = dict(zip(HEADER, _cells(row), strict=True))
            table.add_row(*(Text(cells[name]) for name in header), style=style)
        yield table

    def _repr_html_(self) -> str:
        """Return the table for a notebook, in whatever colors it has."""
        line = "text-align:{};padding:.15em .8em .15em 0;vertical-align:top;white-space:{}"
        styles = [
            line.format(
                "right" if name in NUMBERS else "left", "normal" if name == "why" else "pre"
            )
            for name in HEADER
        ]
        head = _html("th", HEADER, styles)
        body = "".join(
            f'<tr style="opacity:{1 if row["penalized"] else 0.55}">'
            f"{_html('td', _cells(row), styles)}</tr>"
            for row in self.rows
        )
        notes = "<br>".join(map(escape, self.notes))
        return (
            f"<div><strong>{escape(self.title)}</strong><br>{notes}"
            '<table style="border-collapse:collapse;margin-top:.6em">'
            f'<thead style="border-bottom:1px solid">{head}</thead>'
            f"<tbody>{body}</tbody></table></div>"
        )


def summarize(
    rules: list[Rule],
    now: Callable[[Rule], Acting | None],
    assigned: Iterable[Assigned],
    held: Collection[int],
    title: str,
    cautions: Iterable[str] = (),
) -> Summary:
    """Build the table from the decisions of ordered rules.

    Args:
        rules: The rules.
        now: Turns a rule into what acts at this step.
        assigned: Every parameter and the rule that it matches, if any.
        held: The ``id`` of each tensor the optimizer holds; none if nothing acts.
        title: First line.
        cautions: Warnings about this combination of penalty and optimizer.
    """
    acting = {rule: now(rule) for rule in rules}
    rows = [_row(row, rule, acting[rule] if rule else None, held) for row, rule in assigned]
    numbers = {repr(rule): number for number, rule in enumerate(rules, 1) if len(rules) > 1}
    rows = [{**row, "rule_number": numbers.get(row["rule"], 0)} for row in rows]
    active = [row for row in rows if row["penalized"]]
    total, numel = (sum(row[key] for row in active) for key in ("value", "numel"))
    notes = [
        f"{len(active)} of {len(rows)} tensors, {numel:,} of "
        f"{sum(row['numel'] for row in rows):,} numbers, total value {total:.6g}"
    ]
    for rule in rules:
        now_acting, about = acting[rule], []
        if now_acting is not rule.penalty:
            about.append(f"now {now_acting!r}")
        if twins := _twins(now_acting, rule.how):
            about.append(f"elsewhere: {twins}")
        if numbers:
            about = ["; ".join([f"rule {numbers[repr(rule)]}: {rule!r}", *about])]
        notes += about
    return Summary(title, (*notes, *cautions), rows)


def _twins(acting: Acting | None, how: str) -> str:
    """Return the same in the conventions of other libraries."""
    twins = acting.twins() if isinstance(acting, Penalty) else {}
    if how == "decoupled" and "torch" in twins:
        twins = dict.fromkeys(("torch AdamW", "Keras optimizers"), twins["torch"])
    return ", ".join(f"{where} {what}" for where, what in twins.items())


def _row(
    row: Row, rule: Rule | None, acting: Acting | None, held: Collection[int]
) -> dict[str, Any]:
    tensor = torch.empty(0) if is_lazy(row.tensor) else whole(row.tensor.detach())
    why = row.reason
    penalized = row.selected and row.tensor.requires_grad and id(row.tensor) in held
    if row.selected and not penalized:
        frozen = not row.tensor.requires_grad
        why = f"selected ({why}), but {'frozen' if frozen else 'not in a live optimizer'}"
    own = for_tensor(acting, row) if penalized else None
    return {
        "name": row.name,
        "penalized": penalized,
        "why": why,
        "rule": repr(rule) if rule else "",
        "penalty": kind_of(own) if own else "",
        "how": rule.how if penalized and rule else "",
        "strength": _number(own.strength) if isinstance(own, Penalty) else 0.0,
        "numel": tensor.numel(),
        "value": _number(own.value(tensor)) if isinstance(own, Penalty) else 0.0,
        "violation": _number(own.violation(tensor)) if isinstance(own, Constraint) else 0.0,
        "zeros": _number((tensor == 0).sum()),
        "shared": list(row.shared),
    }


def _number(value: float | Tensor) -> float:
    """Return a number, none of a tensor without data."""
    if not isinstance(value, Tensor):
        return float(value)
    return math.nan if value.is_meta else value.item()


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    tied = f"; also named {', '.join(row['shared'])}" if row["shared"] else ""
    value = strength = "-"
    if row["how"] == "projected":
        value = f"outside by {row['violation']:.3g}" if row["violation"] else "inside"
    elif row["penalized"]:
        value, strength = f"{row['value']:.6g}", f"{row['strength']:g}"
    number = f", rule {row['rule_number']}" if row["penalized"] and row["rule_number"] else ""
    penalty = row["penalty"] + number or "-"
    numel, zeros = f"{row['numel']:,}", f"{row['zeros']:,}"
    return row["name"], penalty, strength, numel, zeros, value, row["why"] + tied


def _html(tag: str, cells: Iterable[str], styles: Iterable[str]) -> str:
    return "".join(
        f'<{tag} style="{style}">{escape(cell)}</{tag}>'
        for cell, style in zip(cells, styles, strict=True)
    )


def _align(column: str, cell: str, width: int) -> str:
    return cell.rjust(width) if column in NUMBERS else cell.ljust(width)
