"""A comparison: differences to a baseline with their intervals, best first, ties as ties."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from shrinkage.errors import ShrinkageError
from shrinkage.labels import printable
from shrinkage.plots import ink
from shrinkage.plots.display import Display

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

LONGEST = 34


class Difference(NamedTuple):
    """One contender against the baseline.

    Args:
        name: What it is.
        difference: Its metric minus the baseline's, paired; NaN if it has none.
        low: Lower end of the interval.
        high: Upper end.
    """

    name: str
    difference: float
    low: float
    high: float


@dataclass(eq=False, repr=False)
class ComparisonDisplay(Display):
    """Contenders from best to worst, each with its interval, beside the line of no difference.

    Args:
        rows: The contenders, best first; those without a number come last.
        baseline: What they are compared with.
        measure: What differs.
        lower_is_better: Whether a negative difference is good.

    Attributes:
        ax_: The axes.
        figure_: Their figure.
        points_: One point with its interval for each contender that has a number.
    """

    rows: Sequence[Difference]
    baseline: str
    measure: str
    lower_is_better: bool

    @classmethod
    def from_rows(
        cls,
        rows: Iterable[tuple[Any, ...]],
        *,
        baseline: str = "no penalty",
        measure: str = "held-out loss",
        lower_is_better: bool = True,
    ) -> ComparisonDisplay:
        """Sort the rows, whose first four fields are those of `Difference`.

        Raises:
            ShrinkageError: There is no row, or one does not start with a name and three numbers.
        """
        read = [_read(row) for row in rows]
        if not read:
            raise ShrinkageError("there is nothing to compare; give at least one row.")
        sign = 1 if lower_is_better else -1
        read.sort(key=lambda r: (math.isnan(r.difference), sign * r.difference, r.name))
        return cls(read, baseline, measure, lower_is_better)

    def plot(self, ax: Any = None, *, width: float = ink.PAGE) -> ComparisonDisplay:
        """Draw.

        Args:
            ax: Axes, or a figure or subfigure to put them in. None makes a figure as high as
                the rows need.
            width: Of that figure, in inches: 6.9 fills a page, 3.3 a column.
        """
        height = 0.75 + (0.25 if width >= ink.COLUMN else 0.2) * len(self.rows)
        with ink.paper(ax, [1], width, height) as paper:
            self.figure_, self._given, self.ax_ = paper.figure, paper.given, paper.axes[0]
            self.points_ = [
                self._draw_row(self.ax_, place, row, paper.colors)
                for place, row in enumerate(self.rows)
                if math.isfinite(row.difference)
            ]
            self._draw_axes(self.ax_, paper)
        return self

    def answer(self, row: Difference) -> str:
        """Return ``"better"``, ``"worse"`` or ``"cannot tell"``, as the interval says."""
        low, high = sorted((row.low, row.high) if self.lower_is_better else (-row.low, -row.high))
        if high < 0:
            return "better"
        return "worse" if low > 0 else "cannot tell"

    def _draw_row(self, ax: Axes, place: int, row: Difference, colors: ink.Colors) -> Line2D:
        hues = {"better": colors.blue, "worse": colors.orange, "cannot tell": colors.quiet}
        answer = self.answer(row)
        color = hues[answer]
        ax.plot([row.low, row.high], [place, place], color=color, lw=1.5, solid_capstyle="butt")
        inside = colors.paper if answer == "cannot tell" else color
        (point,) = ax.plot([row.difference], [place], "o", ms=5, color=color, mfc=inside, mew=1.3)
        return point

    def _draw_axes(self, ax: Axes, paper: ink.Paper) -> None:
        ax.axvline(0, color=paper.colors.quiet, lw=0.9, ls=(0, (5, 4)), zorder=0)
        ax.set_ylim(len(self.rows) - 0.4, -0.6)
        longest = LONGEST // 2 if paper.narrow else LONGEST
        names = [_short(row.name, longest) for row in self.rows]
        ax.set_yticks(range(len(names)), names, parse_math=False)
        ax.tick_params(axis="y", length=0)
        ax.margins(x=0.06)
        ax.locator_params(axis="x", nbins=4 if paper.narrow else 7)
        for place, row in enumerate(self.rows):
            if not math.isfinite(row.difference):
                text = "no number: training diverged"
                at: dict[str, Any] = {"transform": ax.get_yaxis_transform(), "va": "center"}
                box = {"facecolor": paper.colors.paper, "edgecolor": "none", "pad": 1}
                ax.text(0.02, place, text, color=paper.colors.quiet, bbox=box, **at)
        ends = ("better", "worse") if self.lower_is_better else ("worse", "better")
        label = f"{self.measure}, difference to {_short(self.baseline, longest)}"
        arrows = f"← {ends[0]}        {ends[1]} →"
        ax.set_xlabel(f"{arrows}\n{label}", parse_math=False)


def plot_comparison(
    rows: Iterable[tuple[Any, ...]],
    *,
    baseline: str = "no penalty",
    measure: str = "held-out loss",
    lower_is_better: bool = True,
    ax: Any = None,
    width: float = ink.PAGE,
) -> ComparisonDisplay:
    """Draw how contenders differ from a baseline, best first.

    Filled points are better or worse for sure: the whole interval lies on one side of 0. Hollow,
    gray points cannot be told from the baseline.

    Args:
        rows: Tuples that start with name, difference, lower and upper end of its interval.
        baseline: What the differences are to.
        measure: What differs.
        lower_is_better: Whether a negative difference is good.
        ax: Axes, or a figure or subfigure to put them in. None makes a figure.
        width: Of that figure, in inches: 6.9 fills a page, 3.3 a column.

    Raises:
        ShrinkageError: There is no row, a row is no such tuple, or ``ax`` does not fit.

    Example:
        >>> rows = [("L1", 0.01, -0.01, 0.03), ("L2", -0.02, -0.03, -0.01)]
        >>> display = plot_comparison(rows)
        >>> [(row.name, display.answer(row)) for row in display.rows]
        [('L2', 'better'), ('L1', 'cannot tell')]
    """
    display = ComparisonDisplay.from_rows(
        rows, baseline=baseline, measure=measure, lower_is_better=lower_is_better
    )
    return display.plot(ax, width=width)


def _read(row: tuple[Any, ...]) -> Difference:
    try:
        name, *numbers = row[:4]
        difference, low, high = (float(value) for value in numbers)
    except (TypeError, ValueError) as error:
        raise ShrinkageError(
            f"the row {row!r:.80} is not (name, difference, low, high, ...): {error}."
        ) from error
    if not math.isnan(difference) and not low <= difference <= high:
        raise ShrinkageError(
            f"the row {name!r:.40} has its difference {difference:g} outside of its interval "
            f"{low:g} to {high:g}."
        )
    return Difference(str(name), difference, low, high)


def _short(name: str, limit: int) -> str:
    clean = printable(name)
    return clean if len(clean) <= limit else clean[: limit - 1] + "…"
