"""The cross-validation curve: held-out metric and training loss against log strength."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from shrinkage.choose import curve, measure
from shrinkage.choose.choices import RULES, best_path, choices_of
from shrinkage.choose.per_strength import frame
from shrinkage.labels import number
from shrinkage.metrics import Metric
from shrinkage.penalties.base import kind_of
from shrinkage.plots import ink
from shrinkage.plots.display import Display
from shrinkage.plots.strength_axis import draw_marks, positions, strength_axis
from shrinkage.result.path_result import PathResult

if TYPE_CHECKING:
    from matplotlib.container import ErrorbarContainer
    from matplotlib.lines import Line2D
    from matplotlib.text import Text


@dataclass(eq=False, repr=False)
class CVDisplay(Display):
    """A held-out metric over the strengths, with its uncertainty and the chosen ones.

    Args:
        strengths: (K,), the first is 0.
        mean: (K,) held-out metric, NaN where a member diverged.
        standard_error: (K,), NaN with one fold.
        train: (K,) loss on the training rows; NaN for another metric than the loss.
        marks: Strength by name of the rule that chose it.
        measure: What ``mean`` is.
        penalty: What the strengths belong to.
        twins: What the minimum is elsewhere, or nothing.
        frame: Lowest and highest value shown; None for all.

    Attributes:
        ax_: The axes.
        figure_: Their figure.
        errorbar_: The metric.
        train_line_: The training loss.
        zero_line_: The level of strength 0.
        mark_lines_: The chosen strengths.
        mark_labels_: Their labels, on a figure of our own.
    """

    strengths: Tensor
    mean: Tensor
    standard_error: Tensor
    train: Tensor
    marks: dict[str, float]
    measure: str
    penalty: str
    twins: str
    frame: tuple[float, float] | None = None

    @classmethod
    def from_result(cls, result: PathResult, metric: Metric = "loss") -> CVDisplay:
        """Take from a result what the drawing shows.

        Raises:
            ShrinkageError: The metric is unknown, or every strength diverged.
        """
        result = best_path(result, metric)
        values, marks = curve(result, metric), chosen(result, metric)
        fit = result.fit_loss.double().mean((1, 2)).masked_fill(values.mean.isnan(), torch.nan)
        limits = None
        if metric == "loss":
            grid = result.strengths.tolist()
            limits = frame(values, fit, [0, *map(grid.index, marks.values())])
        return cls(
            strengths=result.strengths,
            mean=values.mean,
            standard_error=values.standard_error,
            train=fit if metric == "loss" else torch.full_like(fit, torch.nan),
            marks=marks,
            measure=measure(metric),
            penalty=penalty_name(result),
            twins=_twins(result, marks["minimum"]),
            frame=limits,
        )

    def plot(self, ax: Any = None, *, width: float = ink.PAGE) -> CVDisplay:
        """Draw.

        Args:
            ax: Axes, or a figure or subfigure to put them in. None makes a figure.
            width: Of that figure, in inches: 6.9 fills a page, 3.3 a column.
        """
        height = 0.5 * width if width >= ink.COLUMN else 0.75 * width
        with ink.paper(ax, [1], width, height) as paper:
            self.draw(paper)
            self.ax_.set_xlabel(strength_label(self, paper), parse_math=False)
        return self

    def draw(self, paper: ink.Paper) -> None:
        """Draw on the first axes of a paper, and the chosen strengths through all of them."""
        self.figure_, self._given, self.ax_ = paper.figure, paper.given, paper.axes[0]
        ax, colors, x = self.ax_, paper.colors, positions(self.strengths.tolist())
        mean, error = self.mean, self.standard_error.nan_to_num()
        bars: dict[str, Any] = {"color": colors.blue, "ms": 3.2, "lw": 1.3, "elinewidth": 1.0}
        self.errorbar_: ErrorbarContainer = ax.errorbar(
            x[1:], mean[1:], error[1:], fmt="-o", zorder=4, **bars
        )
        hollow: dict[str, Any] = {"mfc": colors.paper}
        ax.errorbar(x[:1], mean[:1], error[:1], fmt="o", zorder=4, **bars, **hollow)
        level = float(mean[0])
        self.zero_line_: Line2D = ax.axhline(
            level, color=colors.blue, lw=0.9, ls=(0, (5, 4)), zorder=2
        )
        around = level - float(error[0]), level + float(error[0])
        ax.axhspan(*around, color=colors.blue, alpha=0.1, lw=0, zorder=0)
        quiet: dict[str, Any] = {"color": colors.faint, "ms": 3.2, "zorder": 3}
        marker = "o" if len(x) < 5 else ""
        (self.train_line_,) = ax.plot(x[1:], self.train[1:], marker=marker, lw=1.3, **quiet)
        ax.plot(x[:1], self.train[:1], "o", **quiet, **hollow)
        if self.frame is not None:
            ax.set_ylim(*self.frame)
        ax.locator_params(axis="y", nbins=5 if paper.narrow else 8)
        ax.set_ylabel(self.measure.removeprefix("cross-validated "))
        strength_axis(ax, x, colors)
        self.mark_lines_: list[Line2D]
        self.mark_labels_: list[Text]
        self.mark_lines_, self.mark_labels_ = draw_marks(
            paper, paper.axes, self.strengths.tolist(), self.marks
        )
        handles: list[Any] = [self.errorbar_, self.zero_line_]
        labels = [self.measure, "at strength 0"]
        if self.train.isfinite().any():
            handles, labels = [*handles, self.train_line_], [*labels, "training loss"]
        if paper.given:
            handles += self.mark_lines_
            labels += [str(line.get_label()) for line in self.mark_lines_]
        paper.legend(ax, handles, labels)


def plot_cv(
    result: PathResult, metric: Metric = "loss", *, ax: Any = None, width: float = ink.PAGE
) -> CVDisplay:
    """Draw the cross-validation curve of a path.

    Mean over folds and seeds, bars of one standard error, the training loss beside it, the level
    of strength 0, and the chosen strengths.

    Args:
        result: The path.
        metric: A held-out metric of the path.
        ax: Axes, or a figure or subfigure to put them in. None makes a figure.
        width: Of that figure, in inches: 6.9 fills a page, 3.3 a column.

    Raises:
        ShrinkageError: The metric is unknown, every strength diverged, or ``ax`` does not fit.

    Example:
        >>> import torch, shrinkage
        >>> X, y = torch.randn(60, 4), torch.arange(60) % 2
        >>> net = torch.nn.Linear(4, 2)
        >>> result = shrinkage.fit_path(net, X, y, shrinkage.L2(1.0), strengths=4, epochs=2)
        >>> display = plot_cv(result, width=3.3)
        >>> display.ax_.get_xlabel()
        'strength of L2'
    """
    return CVDisplay.from_result(result, metric).plot(ax, width=width)


def penalty_name(result: PathResult) -> str:
    """Return the kind of penalty, and the knobs of this path if it was cut from several."""
    knobs = ", ".join(f"{name}={value:g}" for name, value in result.about.get("knobs", {}).items())
    return kind_of(result.penalty) + (f" at {knobs}" if knobs else "")


def chosen(result: PathResult, metric: Metric) -> dict[str, float]:
    """Return the strength by name of each rule that can be applied."""
    found = choices_of(result, metric)
    return {RULES[rule].words: choice.strength for rule, choice in found.items()}


def strength_label(display: CVDisplay, paper: ink.Paper) -> str:
    """Return the label of the strength axis, with twins where there is room."""
    label = f"strength of {display.penalty}"
    if not display.twins or paper.narrow or paper.given:
        return label
    return f"{label}   ({display.twins})"


def _twins(result: PathResult, strength: float) -> str:
    twins = result.penalty.at(float(f"{strength:.1e}")).twins()
    if not twins or strength == 0 or math.isnan(strength):
        return ""
    return f"{number(strength)} is " + ", ".join(f"{at} {what}" for at, what in twins.items())
