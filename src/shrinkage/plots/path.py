"""The picture of a path: the finding in words, the cross-validation curve, the weights below."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

from torch import Tensor

from shrinkage.choose import verdict
from shrinkage.choose.choices import best_path
from shrinkage.choose.held_out import check_path, folds_in_words
from shrinkage.errors import counted
from shrinkage.labels import data_name, number, printable
from shrinkage.metrics import Metric
from shrinkage.plots import ink
from shrinkage.plots.cv import CVDisplay, penalty_name, strength_label
from shrinkage.plots.display import Display
from shrinkage.plots.weights import WeightsDisplay
from shrinkage.result.path_result import PathResult


@dataclass(eq=False, repr=False)
class PathDisplay(Display):
    """The drawing of a path.

    Args:
        cv: The cross-validation curve.
        weights: What becomes of the weights.
        title: The line over the figure.
        headline: The finding, in a sentence.
        caption: What the bars are, and what was left out.

    Attributes:
        axes_: From top to bottom.
        figure_: Their figure.
    """

    cv: CVDisplay
    weights: WeightsDisplay
    title: str
    headline: str
    caption: str

    @classmethod
    def from_result(cls, result: PathResult, metric: Metric = "loss") -> PathDisplay:
        """Take from a result what the drawing shows.

        Raises:
            ShrinkageError: The metric is unknown, or every strength diverged.
        """
        check_path(result)
        headline = "No verdict: one fold has no variance over folds."
        if result.n_folds > 1:
            headline = verdict(result, metric=metric).sentence
        result = best_path(result, metric)
        cv = CVDisplay.from_result(result, metric)
        name = data_name(result.about)
        kind, beyond = penalty_name(result), ""
        if cv.frame is not None:
            highest = float(cv.mean.nan_to_num(-math.inf).max())
            beyond = f" Above the frame: loss up to {highest:.2g}." if highest > cv.frame[1] else ""
        return cls(
            cv=cv,
            weights=WeightsDisplay.from_result(result, metric),
            title=printable(f"{kind} path on {name}" if name else f"{kind} path"),
            headline=headline,
            caption=_caption(result, cv.mean) + beyond,
        )

    @property
    def panels(self) -> int:
        """How many axes the drawing needs, for metric, norms and, with exact zeros, sparsity."""
        return 1 + self.weights.panels

    def plot(self, ax: Any = None, *, width: float = 8.0) -> PathDisplay:
        """Draw.

        Args:
            ax: One axes for the cross-validation curve alone; several, up to `panels`, for what
                is below it too, from top to bottom; or a figure or subfigure to put all panels
                in. None makes a figure with title, finding and caption.
            width: Of that figure, in inches: 6.9 fills a page, 3.3 a column.
        """
        height = 0.75 * width if width >= ink.COLUMN else (1 + 0.3 * self.panels) * width
        panels = min(self.panels, len(ink.axes_in(ax) or range(self.panels)))
        with ink.paper(ax, [3, 2, 1.2][:panels], width, height) as paper:
            self.axes_, self.figure_, self._given = paper.axes, paper.figure, paper.given
            self.cv.draw(paper)
            if panels > 1:
                self.weights.draw(paper, paper.axes[1:])
            self.axes_[-1].set_xlabel(strength_label(self.cv, paper), parse_math=False)
            if ax is None:
                self._write_words(paper, width, height)
        return self

    def _write_words(self, paper: ink.Paper, width: float, height: float) -> None:
        """Put title and finding above the axes, the caption below, and leave them room."""
        size = 7.5 if paper.narrow else 9.0
        line, letters = 1.35 * size / 72 / height, round(120 * width / size)
        headline, caption = fill(self.headline, letters), fill(self.caption, round(1.2 * letters))
        top, bottom = 1 - 0.12 / height, 0.08 / height
        below = top - 1.6 * line
        put: dict[str, Any] = {"parse_math": False, "linespacing": 1.35, "va": "top"}
        self.figure_.text(0.015, top, self.title, size=1.33 * size, weight="bold", **put)
        put |= {"color": paper.colors.quiet}
        self.figure_.text(0.015, below, headline, **put)
        put |= {"va": "bottom", "size": 0.83 * size}
        self.figure_.text(0.015, bottom, caption, **put)
        floor = bottom + (caption.count("\n") + 1) * 0.83 * line + 0.05 / height
        ceiling = below - (headline.count("\n") + 1) * line - 0.05 / height
        engine: Any = self.figure_.get_layout_engine()
        engine.set(rect=(0.008, floor, 0.984, ceiling - floor))


def plot_path(
    result: PathResult, metric: Metric = "loss", *, ax: Any = None, width: float = 8.0
) -> PathDisplay:
    """Draw a path: its verdict, the cross-validation curve, and below it the weights.

    Args:
        result: The path.
        metric: A held-out metric of the path.
        ax: One axes for the cross-validation curve alone; two for the norms of the weights below
            it too, three also for exact zeros; or a figure or subfigure to put all panels in.
            None makes a figure with title, finding and caption.
        width: Of that figure, in inches: 6.9 fills a page, 3.3 a column.

    Raises:
        ShrinkageError: The metric is unknown, every strength diverged, or ``ax`` does not fit.

    Example:
        >>> import torch, shrinkage
        >>> X, y = torch.randn(60, 4), torch.arange(60) % 2
        >>> net = torch.nn.Linear(4, 2)
        >>> result = shrinkage.fit_path(net, X, y, shrinkage.L2(1.0), strengths=4, epochs=2)
        >>> plot_path(result).save("path.svg")  # doctest: +SKIP
    """
    return PathDisplay.from_result(result, metric).plot(ax, width=width)


def save_figures(result: PathResult, directory: str | Path) -> None:
    """Write ``path.png`` and ``path.svg``; the same result gives the same bytes."""
    with ink.printed():
        display = plot_path(result)
        for name in ("path.png", "path.svg"):
            display.save(Path(directory) / name)


def _caption(result: PathResult, mean: Tensor) -> str:
    seeds = counted(len(result.seeds), "seed")
    if result.n_folds > 1:
        text = (
            f"Means over {folds_in_words(result)} and {seeds}; bars and band: one standard error."
        )
    else:
        text = f"One fold, mean over {seeds}; no standard error."
    if mean.isnan().any():
        some = ", ".join(number(s) for s in result.strengths[mean.isnan()].tolist()[:5])
        more = ", ..." if int(mean.isnan().sum()) > 5 else ""
        text += f" Left out, because training diverged: strength {some}{more}."
    return text
