"""What the penalty does to the weights: norm and sparsity of every tensor against log strength."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from shrinkage.choose.choices import best_path
from shrinkage.labels import short_names
from shrinkage.metrics import Metric
from shrinkage.plots import ink
from shrinkage.plots.cv import chosen, penalty_name
from shrinkage.plots.display import Display
from shrinkage.plots.strength_axis import draw_marks, positions, strength_axis
from shrinkage.result.path_result import PathResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

NAMED_TENSORS = 8


@dataclass(eq=False, repr=False)
class WeightsDisplay(Display):
    """Norms of the penalized tensors over the strengths, and their exact zeros if there are any.

    Args:
        strengths: (K,), the first is 0.
        norms: (K, P) Frobenius norms, NaN where a member diverged.
        sparsity: (K, P) fractions of exact zeros, NaN likewise.
        tensor_names: The P tensors.
        marks: Strength by name of the rule that chose it.
        penalty: What the strengths belong to.

    Attributes:
        norm_ax_: Axes of the norms.
        sparsity_ax_: Axes of the sparsity, None without exact zeros.
        figure_: Their figure.
        norm_lines_: One per tensor.
        sparsity_lines_: One per tensor, none without exact zeros.
    """

    strengths: Tensor
    norms: Tensor
    sparsity: Tensor
    tensor_names: Sequence[str]
    marks: dict[str, float]
    penalty: str

    @classmethod
    def from_result(cls, result: PathResult, metric: Metric = "loss") -> WeightsDisplay:
        """Take from a result what the drawing shows: means over folds and seeds.

        Raises:
            ShrinkageError: The metric is unknown, or every strength diverged.
        """
        result = best_path(result, metric)
        lost = (result.diverged >= 0).any(2).any(1).unsqueeze(1)
        return cls(
            strengths=result.strengths,
            norms=result.norms.double().mean((1, 2)).masked_fill(lost, torch.nan),
            sparsity=result.sparsity.double().mean((1, 2)).masked_fill(lost, torch.nan),
            tensor_names=result.tensor_names,
            marks=chosen(result, metric),
            penalty=penalty_name(result),
        )

    @property
    def panels(self) -> int:
        """How many axes the drawing needs, 2 with exact zeros, else 1."""
        return 2 if self.sparsity.nan_to_num().any() else 1

    def plot(self, ax: Any = None, *, width: float = ink.PAGE) -> WeightsDisplay:
        """Draw.

        Args:
            ax: As many axes as `panels`, or a figure or subfigure to put them in. None makes a
                figure.
            width: Of that figure, in inches: 6.9 fills a page, 3.3 a column.
        """
        share = 0.3 if width >= ink.COLUMN else 0.6
        height = (share + 0.15 * self.panels) * width
        with ink.paper(ax, [3, 2][: self.panels], width, height) as paper:
            self.draw(paper, paper.axes)
            draw_marks(paper, paper.axes, self.strengths.tolist(), self.marks)
            paper.axes[-1].set_xlabel(f"strength of {self.penalty}", parse_math=False)
        return self

    def draw(self, paper: ink.Paper, axes: Sequence[Axes]) -> None:
        """Draw on some axes of a paper, without the chosen strengths."""
        self.figure_, self._given, self.norm_ax_ = paper.figure, paper.given, axes[0]
        self.sparsity_ax_ = axes[1] if len(axes) > 1 else None
        self.norm_lines_ = self._draw_lines(self.norm_ax_, self.norms, paper)
        highest = float(self.norms.nan_to_num(0.0).max())
        self.norm_ax_.set_ylim(0, 1.06 * highest or 1.0)
        self.norm_ax_.set_ylabel("weight norm")
        self._name_tensors(paper)
        self.sparsity_lines_: list[Line2D] = []
        if self.sparsity_ax_ is not None:
            self.sparsity_lines_ = self._draw_lines(self.sparsity_ax_, self.sparsity, paper)
            self.sparsity_ax_.set_ylim(-0.03, 1.06)
            self.sparsity_ax_.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
            self.sparsity_ax_.set_ylabel("exact zeros")

    def _draw_lines(self, ax: Axes, values: Tensor, paper: ink.Paper) -> list[Line2D]:
        from matplotlib import colormaps

        x = positions(self.strengths.tolist())
        look: dict[str, Any] = {"marker": "o" if len(x) < 5 else "", "ms": 3.2, "lw": 1.4}
        place = torch.linspace(*paper.colors.shades, values.shape[1])
        lines: list[Line2D] = []
        for value, shade in zip(values.T, colormaps["viridis"](place.numpy()), strict=True):
            lines += ax.plot(x[1:], value[1:], color=shade, **look)
            ax.plot(x[:1], value[:1], "o", ms=3.2, mfc=paper.colors.paper, color=shade)
        strength_axis(ax, x, paper.colors)
        return lines

    def _name_tensors(self, paper: ink.Paper) -> None:
        n = len(self.tensor_names)
        most = 4 if paper.given else NAMED_TENSORS
        named = torch.linspace(0, n - 1, min(n, most)).round().long().tolist()
        names = short_names([self.tensor_names[p] for p in named], 18 if paper.narrow else 23)
        handles = [self.norm_lines_[p] for p in named]
        legend = paper.long_legend(self.norm_ax_, handles, [str(p) for p in named])
        title = "penalized tensor" if n <= most else f"{n} tensors, {most} named"
        ink.name_legend(legend, names, title)


def plot_weights(
    result: PathResult, metric: Metric = "loss", *, ax: Any = None, width: float = ink.PAGE
) -> WeightsDisplay:
    """Draw the norm of every penalized tensor over the strengths, and its exact zeros if any.

    Args:
        result: The path.
        metric: The held-out metric that chooses the marked strengths.
        ax: Two axes if there are exact zeros, else one; or a figure or subfigure to put them in.
            None makes a figure.
        width: Of that figure, in inches: 6.9 fills a page, 3.3 a column.

    Raises:
        ShrinkageError: The metric is unknown, every strength diverged, or ``ax`` does not fit.

    Example:
        >>> import torch, shrinkage
        >>> X, y = torch.randn(60, 4), torch.arange(60) % 2
        >>> net = torch.nn.Linear(4, 2)
        >>> result = shrinkage.fit_path(net, X, y, shrinkage.L1(1.0), strengths=4, epochs=2)
        >>> display = plot_weights(result)
        >>> len(display.norm_lines_)
        1
    """
    return WeightsDisplay.from_result(result, metric).plot(ax, width=width)
