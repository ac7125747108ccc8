"""Learning curves: loss by epoch, in training and held out, at the strengths that matter."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from shrinkage.choose.choices import best_path
from shrinkage.choose.held_out import fold_rows, looks, mean_and_error
from shrinkage.labels import number
from shrinkage.metrics import Metric
from shrinkage.plots import ink
from shrinkage.plots.cv import chosen
from shrinkage.plots.display import Display
from shrinkage.plots.strength_axis import SHORT
from shrinkage.result.path_result import PathResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

DECADE = 10.0


@dataclass(eq=False, repr=False)
class LearningCurvesDisplay(Display):
    """Losses over the epochs at strength 0 and at the chosen strengths.

    Args:
        strengths: (M,) of the curves, the first is 0.
        rules: The M names of the curves.
        train: (M, E), mean over folds and seeds of the running training loss.
        valid: (M, E), mean of the held-out loss.
        standard_error: (M, E) of the held-out loss over folds, NaN with one fold.

    Attributes:
        ax_: The axes.
        figure_: Their figure.
        valid_lines_: The held-out loss, one line per strength.
        train_lines_: The training loss.
    """

    strengths: Tensor
    rules: tuple[str, ...]
    train: Tensor
    valid: Tensor
    standard_error: Tensor

    @classmethod
    def from_result(cls, result: PathResult, metric: Metric = "loss") -> LearningCurvesDisplay:
        """Take the curves at strength 0 and at the strengths that ``metric`` chooses.

        Raises:
            ShrinkageError: The metric is unknown, or every strength diverged.
        """
        result = best_path(result, metric)
        rules: dict[float, list[str]] = {0.0: ["no penalty"]}
        for rule, strength in chosen(result, metric).items():
            rules.setdefault(strength, []).append(rule)
        grid = result.strengths.tolist()
        where = [grid.index(strength) for strength in rules]
        per_fold = result.valid_loss[where].double().mean(2).movedim(1, -1)
        valid, error = mean_and_error(per_fold, fold_rows(result), looks(result))
        return cls(
            strengths=result.strengths[where],
            rules=tuple(" = ".join(names) for names in rules.values()),
            train=result.train_loss[where].double().mean((1, 2)),
            valid=valid,
            standard_error=error,
        )

    def plot(self, ax: Any = None, *, width: float = ink.PAGE) -> LearningCurvesDisplay:
        """Draw.

        Args:
            ax: Axes, or a figure or subfigure to put them in. None makes a figure.
            width: Of that figure, in inches: 6.9 fills a page, 3.3 a column.
        """
        height = 0.45 * width if width >= ink.COLUMN else 0.95 * width
        with ink.paper(ax, [1], width, height) as paper:
            self.figure_, self._given, self.ax_ = paper.figure, paper.given, paper.axes[0]
            self.valid_lines_: list[Line2D] = []
            self.train_lines_: list[Line2D] = []
            hues = {"no penalty": paper.colors.quiet, "one standard error": paper.colors.green}
            for m, rule in enumerate(self.rules):
                color = hues.get(rule, paper.colors.blue if m == 0 else paper.colors.orange)
                self._draw_curve(self.ax_, m, color)
            self._draw_axes(self.ax_, paper)
        return self

    def _draw_curve(self, ax: Axes, m: int, color: str) -> None:
        epochs, valid = range(1, self.valid.shape[1] + 1), self.valid[m]
        look: dict[str, Any] = {"color": color, "lw": 1.3, "ms": 3.2}
        look["marker"] = "o" if len(epochs) < 5 else ""
        self.valid_lines_ += ax.plot(epochs, valid, **look)
        self.train_lines_ += ax.plot(epochs, self.train[m], ls=(0, (2, 1.5)), **look)
        error = self.standard_error[m]
        ax.fill_between(epochs, valid - error, valid + error, color=color, alpha=0.13, lw=0)

    def _draw_axes(self, ax: Axes, paper: ink.Paper) -> None:
        from matplotlib.lines import Line2D
        from matplotlib.ticker import MaxNLocator

        drawn = torch.cat([self.train, self.valid])
        drawn = drawn[drawn.isfinite()]
        if len(drawn) and drawn.min() > 0 and drawn.max() > DECADE * drawn.min():
            ax.set_yscale("log")
        ax.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
        ax.set_xlabel("epoch")
        ax.set_ylabel("loss")
        kinds = [
            Line2D([], [], color=paper.colors.ink, lw=0.8, ls=style)
            for style in ("-", (0, (2, 1.5)))
        ]
        labels = [
            f"{rule}  {number(strength)}" if strength else rule
            for rule, strength in zip(self.rules, self.strengths.tolist(), strict=True)
        ]
        if paper.narrow:
            for word, short in SHORT.items():
                labels = [label.replace(word, short) for label in labels]
        words = [*labels, "held out, ± 1 SE" if self._has_error() else "held out", "training"]
        paper.long_legend(ax, [*self.valid_lines_, *kinds], words)

    def _has_error(self) -> bool:
        return bool(self.standard_error.isfinite().any())


def plot_learning_curves(
    result: PathResult, metric: Metric = "loss", *, ax: Any = None, width: float = ink.PAGE
) -> LearningCurvesDisplay:
    """Draw training and held-out loss by epoch, at strength 0 and at the chosen strengths.

    Args:
        result: The path.
        metric: The held-out metric that chooses the strengths; what is drawn is the loss.
        ax: Axes, or a figure or subfigure to put them in. None makes a figure.
        width: Of that figure, in inches: 6.9 fills a page, 3.3 a column.

    Raises:
        ShrinkageError: The metric is unknown, every strength diverged, or ``ax`` does not fit.

    Example:
        >>> import torch, shrinkage
        >>> X, y = torch.randn(60, 4), torch.arange(60) % 2
        >>> net = torch.nn.Linear(4, 2)
        >>> result = shrinkage.fit_path(net, X, y, shrinkage.L2(1.0), strengths=4, epochs=2)
        >>> plot_learning_curves(result).rules[0]
        'no penalty...'
    """
    return LearningCurvesDisplay.from_result(result, metric).plot(ax, width=width)
