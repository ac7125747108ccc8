"""What `shrink` hands back: the model, and a table of what became of every layer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from torch import nn

if TYPE_CHECKING:
    from rich.table import Table

HEADER = ("layer", "before", "after", "numbers", "why")


@dataclass(frozen=True, eq=False)
class Shrunk:
    """A smaller model with the same outputs; ``print`` it to see what became of every layer.

    Attributes:
        model: The smaller model, of the same class as the one given.
        rows: One dict per module with parameters: ``name``, ``before`` and ``after`` (what it
            is, with its sizes), ``numel_before`` and ``numel_after`` (its parameters) and ``why``.
        difference: The largest difference between outputs on the example; None without one.
    """

    model: nn.Module
    rows: list[dict[str, Any]]
    difference: float | None

    @property
    def title(self) -> str:
        """The sizes of both models, and whether outputs were compared, in one line."""
        before, after = (
            sum(row[f"numel_{when}"] for row in self.rows) for when in ("before", "after")
        )
        checked = (
            "outputs not compared: pass example="
            if self.difference is None
            else f"largest difference of outputs {self.difference:.2g}"
        )
        share = f" ({100 * after / before:.1f}%)" if before else ""
        return f"{before:,} -> {after:,} parameters{share}, {checked}"

    def __str__(self) -> str:
        """Return the table as aligned plain text."""
        lines = [HEADER, *map(_cells, self.rows)]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in lines)
        return "\n".join([self.title, "", *table])

    __repr__ = __str__

    def __rich__(self) -> Table:
        from rich.table import Table
        from rich.text import Text

        table = Table(title=Text(self.title), title_justify="left", box=None)
        for name in HEADER:
            table.add_column(name)
        for row in self.rows:
            same = row["before"] == row["after"]
            table.add_row(*map(Text, _cells(row)), style="dim" if same else None)
        return table


def describe(module: nn.Module) -> str:
    """Return what a module is, with its sizes, in a few words.

    Example:
        >>> describe(nn.Linear(4, 3)), describe(nn.Conv2d(1, 8, (3, 3)))
        ('Linear(4, 3)', 'Conv2d(1, 8, 3x3)')
    """
    kind = type(module).__name__
    if isinstance(module, nn.Sequential):
        return " ".join(map(describe, module))
    if isinstance(module, nn.Linear):
        return f"{kind}({module.in_features}, {module.out_features})"
    if isinstance(module, nn.modules.conv._ConvNd):
        kernel = "x".join(map(str, module.kernel_size))
        return f"{kind}({module.in_channels}, {module.out_channels}, {kernel})"
    size = getattr(module, "num_features", getattr(module, "num_parameters", None))
    return kind if size is None else f"{kind}({size})"


def size(module: nn.Module) -> int:
    """Return how many numbers a module and its parts hold as parameters."""
    return sum(parameter.numel() for parameter in module.parameters())


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    before, after = row["numel_before"], row["numel_after"]
    numbers = f"{before:,}" if before == after else f"{before:,} -> {after:,}"
    same = row["before"] == row["after"]
    return row["name"], row["before"], "as it was" if same else row["after"], numbers, row["why"]
