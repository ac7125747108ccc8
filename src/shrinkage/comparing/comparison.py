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

from shrinkage.comparing.answer import answer
from shrinkage.comparing.contender import NONE, Contender
from shrinkage.comparing.intervals import simultaneous
from shrinkage.comparing.saved import save
from shrinkage.errors import counted
from shrinkage.labels import number
from shrinkage.result.path_result import PathResult

CONFIDENCE = 0.95


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
        rank: 1 for the best and all that cannot be told from it, by their difference to it or by
            those of both to none; for the others 1 plus the number of contenders that are surely
            better; 0 without a test loss.
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
        return answer(self)


def ranked(
    contenders: Sequence[Contender],
    paths: dict[tuple[str, str], PathResult],
    task: str,
    about: dict[str, Any],
) -> Comparison:
    """Rank contenders by their test loss.

    The intervals against none hold together, and so do those against the best. The best is known
    only from these rows, so the latter are as wide as if every two had been compared. One contender
    is surely better than another if their own interval says so, or if those of both against the
    same none lie apart: what is better than none is never the equal of none.
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

    def surely_better(one: int, other: int) -> bool:
        known = one in to_none and other in to_none
        alike = known and whole[one].optimizer == whole[other].optimizer
        return apart[other, one].low > 0 or (alike and to_none[one].high < to_none[other].low)

    rows = []
    for i, contender in enumerate(whole):
        to_best = apart.get((i, 0), Interval(0.0, 0.0, 0.0))
        better = [other for other in range(i) if surely_better(other, i)]
        rank = 1 + len(better) if 0 in better else 1
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
