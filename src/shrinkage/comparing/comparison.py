"""The comparison: contenders ranked on test rows, each against none and against the best."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from shrinkage.comparing.contender import NONE, Contender
from shrinkage.comparing.intervals import simultaneous
from shrinkage.comparing.saved import save
from shrinkage.errors import counted
from shrinkage.labels import capitalized, number
from shrinkage.result.path_result import PathResult

CONFIDENCE = 0.95
MOST_NAMED = 4


class Interval(NamedTuple):
    """A difference of mean test losses and its confidence interval; NaN where there is none."""

    difference: float
    low: float
    high: float


UNKNOWN = Interval(math.nan, math.nan, math.nan)


@dataclass(frozen=True, eq=False)
class Row:
    """One contender in the ranking.

    Attributes:
        rank: 1 for the best and all that cannot be told from it; for the others 1 plus the number
            of contenders that are surely better; 0 without a test loss.
        contender: The contender.
        to_none: Its test loss minus that of no regularization with the same optimizer.
        to_best: Its test loss minus that of the best.
    """

    rank: int
    contender: Contender
    to_none: Interval
    to_best: Interval

    @property
    def answer(self) -> str:
        """``"better"``, ``"worse"``, ``"cannot tell"`` or ``"the same"``, against none."""
        if self.to_none.low == self.to_none.high == 0:
            return "the same"
        if self.to_none.high < 0:
            return "better"
        return "worse" if self.to_none.low > 0 else "cannot tell"

    @property
    def setting(self) -> str:
        """What cross-validation chose, in words.

        Example:
            >>> row = Row(1, Contender("adam", "L2", {"strength": 0.001}, 0.1, torch.zeros(2), 1.0),
            ...     UNKNOWN, UNKNOWN)
            >>> row.setting
            '1.0e-03'
        """
        who = self.contender
        parts = [_in_words(name, value) for name, value in who.chosen.items()]
        return ", ".join(parts) or ("" if who.note or who.method == NONE else NONE)


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """Methods tuned alike and judged on the same test rows, best first.

    Attributes:
        rows: The ranking; contenders without a number come last.
        paths: Every path that was trained, by optimizer and method.
        task: ``"classification"`` or ``"regression"``.
        about: JSON-able facts.
    """

    rows: tuple[Row, ...]
    paths: dict[tuple[str, str], PathResult]
    task: str
    about: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return one line: how many contenders, and the best."""
        best = self.rows[0].contender
        return f"Comparison({len(self.rows)} contenders; best: {self.name(best)})"

    @property
    def optimizers(self) -> list[str]:
        """The names of the optimizers."""
        return list(dict.fromkeys(row.contender.optimizer for row in self.rows))

    def name(self, contender: Contender) -> str:
        """Return what to call a contender: its method, and its optimizer if there are several."""
        several = len(self.optimizers) > 1
        return f"{contender.method} ({contender.optimizer})" if several else contender.method

    @property
    def differences(self) -> list[tuple[str, float, float, float]]:
        """Differences to none, as :func:`shrinkage.plots.plot_comparison` takes them."""
        return [
            (self.name(row.contender), *row.to_none)
            for row in self.rows
            if row.contender.method != NONE
        ]

    def save(self, directory: str | Path, *, overwrite: bool = False) -> None:
        """Write the comparison, whole or not at all.

        ``comparison.csv``, ``test_losses.csv`` (a row for each test row), ``manifest.json``, and
        under ``paths`` every path, for :meth:`shrinkage.PathResult.load`.

        Args:
            directory: A new or empty directory, or one that holds a comparison.
            overwrite: Replace the comparison that is there.

        Raises:
            ShrinkageError: The directory holds something else, or cannot be written.
        """
        whole = [row.contender for row in self.rows if row.rank]
        losses = zip(*(contender.losses.tolist() for contender in whole), strict=True)
        table = [[self.name(contender) for contender in whole], *losses]
        save(Path(directory), self.about, self.records(), table, self.paths, overwrite=overwrite)

    def records(self) -> list[dict[str, Any]]:
        """Return the ranking as plain values, a dict per contender; None where there is none."""
        settings = ["strength", *self.about.get("off", {})]
        score = "accuracy" if self.task == "classification" else "R2"
        rows = [_record(row, settings, score) for row in self.rows]
        return [{name: _plain(value) for name, value in row.items()} for row in rows]

    @property
    def sentence(self) -> str:
        """The answer in words."""
        return _sentence(self)


def ranked(
    contenders: Sequence[Contender],
    paths: dict[tuple[str, str], PathResult],
    task: str,
    about: dict[str, Any],
) -> Comparison:
    """Rank contenders by their test loss.

    The intervals against none hold together, and so do those against the best. The best is known
    only from these rows, so the latter are as wide as if every two had been compared.
    """
    whole = sorted((c for c in contenders if not c.note), key=lambda c: c.test_loss)
    losses = torch.stack([c.losses for c in whole]) if whole else torch.empty(0, 0)
    bases = {c.optimizer: i for i, c in enumerate(whole) if c.method == NONE}
    against = [(i, bases[c.optimizer]) for i, c in enumerate(whole) if c.optimizer in bases]
    own = [(i, base) for i, base in against if i != base]
    to_none = dict(zip((i for i, _ in own), _intervals(losses, own), strict=True))
    to_none |= {i: Interval(0.0, 0.0, 0.0) for i, base in against if i == base}
    every = [(other, one) for one, other in itertools.combinations(range(len(whole)), 2)]
    apart = dict(zip(every, _intervals(losses, every), strict=True))
    rows = []
    for i, contender in enumerate(whole):
        to_best = apart.get((i, 0), Interval(0.0, 0.0, 0.0))
        better = sum(apart[i, other].low > 0 for other in range(i))
        rank = 1 if to_best.low <= 0 else 1 + better
        rows.append(Row(rank, contender, to_none.get(i, UNKNOWN), to_best))
    rows += [Row(0, c, UNKNOWN, UNKNOWN) for c in contenders if c.note]
    return Comparison(tuple(rows), paths, task, about)


def _intervals(losses: Tensor, pairs: list[tuple[int, int]]) -> list[Interval]:
    if not pairs:
        return []
    found = simultaneous(losses, torch.tensor(pairs), CONFIDENCE)
    return [Interval(*numbers) for numbers in found.tolist()]


def _record(row: Row, settings: Sequence[str], score: str) -> dict[str, Any]:
    who = row.contender
    return {
        "rank": row.rank or None,
        "optimizer": who.optimizer,
        "method": who.method,
        **{name: who.chosen.get(name) for name in settings},
        "at_edge": who.at_edge,
        "cv_loss": who.cv_loss,
        "test_loss": who.test_loss,
        score: who.score,
        "difference_to_none": row.to_none.difference,
        "low_to_none": row.to_none.low,
        "high_to_none": row.to_none.high,
        "answer": row.answer if math.isfinite(row.to_none.difference) else None,
        "difference_to_best": row.to_best.difference,
        "low_to_best": row.to_best.low,
        "high_to_best": row.to_best.high,
        "note": who.note,
    }


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _in_words(name: str, value: float) -> str:
    if name == "strength":
        return number(value)
    if name == "epochs":
        return counted(round(value), "epoch")
    return f"{'rate' if name == 'dropout' else 'smoothing'} {value:g}"


def _sentence(comparison: Comparison) -> str:
    whole = [row for row in comparison.rows if row.rank]
    if not any(row.contender.chosen for row in whole):
        return "Cross-validation chose no regularization for every method."
    tied = [_spoken(comparison, row) for row in whole[1:] if row.rank == 1]
    first = f"{_spoken(comparison, whole[0])} has the lowest test loss"
    if len(tied) > MOST_NAMED:
        others = f"the other {len(tied)}" if len(tied) == len(whole) - 1 else f"{len(tied)} others"
        first += f"; {others} cannot be told from it."
    else:
        first += f"; {', '.join(tied)} cannot be told from it." if tied else ", below all others."
    sides = []
    for answer in ("better", "worse"):
        names = [_spoken(comparison, row) for row in whole if row.answer == answer]
        if names:
            sides.append(f"{answer} than none: {', '.join(names)}")
    second = "; ".join(sides) or "no method can be told from none"
    return f"{capitalized(first)} {capitalized(second)}."


def _spoken(comparison: Comparison, row: Row) -> str:
    name = comparison.name(row.contender)
    return name.replace(NONE, "no regularization") if row.contender.method == NONE else name
