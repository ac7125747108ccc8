"""The picture of a path: held-out loss above, weight norms below, over the same strengths."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from shrinkage import _ink
from shrinkage.choose import MEASURES, Curve, curve, minimum, one_standard_error, verdict
from shrinkage.errors import ShrinkageError
from shrinkage.files import atomic_write
from shrinkage.result import PathResult

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.container import ErrorbarContainer
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

NAMED_TENSORS = 8


@dataclass(eq=False)
class PathDisplay:
    """The drawing of a path, after scikit-learn's Display: data first, ink when asked.

    Args:
        strengths: (K,), the first is 0.
        mean: (K,) held-out metric, NaN where left out.
        standard_error: (K,), NaN with one fold.
        train: (K,) loss on the training rows; NaN for another metric than the loss.
        norms: (K, P) norms of the refit tensors.
        sparsity: (K,) fraction of exact zeros in all of them.
        tensor_names: The P tensors.
        marks: Strength by name of the rule that chose it.
        measure: What ``mean`` is.
        penalty: What the strengths belong to.
        title: The line over the figure.
        headline: The finding, in a sentence.
        caption: What the bars are, and what was left out.
        frame: Lowest and highest value shown; None for all.

    Attributes:
        ax_: Axes of the metric. norm_ax_: axes of the norms, None if one axes was given.
        figure_: Their figure.
        errorbar_: The metric. train_line_: the training loss. zero_line_: level of strength 0.
        mark_lines_, mark_labels_: the chosen strengths. norm_lines_: one per tensor.
        sparsity_line_: None without exact zeros.
    """

    strengths: Tensor
    mean: Tensor
    standard_error: Tensor
    train: Tensor
    norms: Tensor
    sparsity: Tensor
    tensor_names: Sequence[str]
    marks: dict[str, float]
    measure: str
    penalty: str
    title: str
    headline: str
    caption: str
    frame: tuple[float, float] | None = None

    @classmethod
    def from_result(cls, result: PathResult, metric: str = "loss") -> PathDisplay:
        """Take from a result what the drawing shows."""
        values = curve(result, metric)
        marks = {"minimum": minimum(result, metric).strength}
        headline = "No verdict: one fold has no variance over folds."
        if result.n_folds > 1:
            marks["one standard error"] = one_standard_error(result, metric).strength
            headline = verdict(result, metric=metric).sentence
        refit, fit = result.refit, result.fit_loss.double().mean((1, 2))
        if refit is None:
            raise ShrinkageError("the figure shows the refit models; run fit_path with refit=True.")
        lost = (refit.diverged >= 0).any(1)
        sizes = [
            refit.weights[n][0, 0].numel() if n in refit.weights else 1 for n in result.tensor_names
        ]
        share = torch.tensor(sizes, dtype=torch.float64) / sum(sizes)
        fit = fit.masked_fill(values.mean.isnan(), torch.nan)
        kind = type(result.penalty).__name__
        data = result.about.get("data")
        name = str(data.get("name", ""))[:60] if isinstance(data, dict) else ""
        frame, beyond = None, ""
        if metric == "loss":
            frame = _frame(values, fit, [0.0, *marks.values()], result.strengths)
            highest = float(values.mean.nan_to_num(-math.inf).max())
            beyond = f" Above the frame: loss up to {highest:.2g}." if highest > frame[1] else ""
        return cls(
            strengths=result.strengths,
            mean=values.mean,
            standard_error=values.standard_error,
            train=fit if metric == "loss" else torch.full_like(fit, torch.nan),
            norms=refit.norms.double().mean(1).masked_fill(lost.unsqueeze(1), torch.nan),
            sparsity=(refit.sparsity.double().mean(1) @ share).masked_fill(lost, torch.nan),
            tensor_names=result.tensor_names,
            marks=marks,
            measure=MEASURES[metric][0],
            penalty=_penalty_label(result, marks["minimum"]),
            title=_ink.printable(f"{kind} path on {name}" if name else f"{kind} path"),
            headline=headline,
            caption=_caption(result, values.mean, lost) + beyond,
            frame=frame,
        )

    def plot(self, ax: Axes | tuple[Axes, Axes] | None = None) -> PathDisplay:
        """Draw.

        Args:
            ax: Axes for the metric, or a pair for metric and norms. None makes a figure of
                1200 x 900 pixels with both.
        """
        with _ink.style():
            legend: dict[str, Any] = {}
            if ax is None:
                ax = self._make_figure()
                legend = {"loc": "upper left", "bbox_to_anchor": (1.02, 1), "borderaxespad": 0}
            upper, lower = ax if isinstance(ax, tuple) else (ax, None)
            self.ax_, self.norm_ax_ = upper, lower
            self.figure_: Figure = upper.get_figure(root=True)  # type: ignore[assignment]
            self._x = _ink.positions(self.strengths.tolist())
            self._marker = "o" if len(self._x) < 5 else ""
            self._draw_metric(upper, legend)
            self.norm_lines_: list[Line2D] = []
            self.sparsity_line_: Line2D | None = None
            if lower is not None:
                self._draw_norms(lower, legend)
            self._draw_marks(upper, lower)
            (lower or upper).set_xlabel(self.penalty, parse_math=False)
        return self

    def _make_figure(self) -> tuple[Axes, Axes]:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 6), dpi=150, facecolor="white")
        FigureCanvasAgg(figure)
        box = {"left": 0.09, "right": 0.765, "top": 0.81, "bottom": 0.14, "hspace": 0.1}
        upper, lower = figure.subplots(
            2, 1, sharex=True, height_ratios=[3, 2], gridspec_kw=box, squeeze=True
        )
        put: dict[str, Any] = {"va": "top", "parse_math": False}
        figure.text(0.015, 0.98, self.title, size=12, weight="bold", **put)
        figure.text(
            0.015, 0.938, fill(self.headline, 110), color=_ink.QUIET, linespacing=1.35, **put
        )
        put["va"] = "bottom"
        figure.text(0.015, 0.014, fill(self.caption, 130), size=7.5, color=_ink.QUIET, **put)
        return upper, lower

    def _draw_metric(self, ax: Axes, legend: dict[str, Any]) -> None:
        x, mean, error = self._x, self.mean, self.standard_error.nan_to_num()
        bars: dict[str, Any] = {"color": _ink.BLUE, "ms": 3.2, "lw": 1.3, "elinewidth": 1.0}
        self.errorbar_: ErrorbarContainer = ax.errorbar(
            x[1:], mean[1:], error[1:], fmt="-o", zorder=4, **bars
        )
        ax.errorbar(x[:1], mean[:1], error[:1], fmt="o", mfc="white", zorder=4, **bars)
        self.zero_line_ = ax.axhline(
            float(mean[0]), color=_ink.BLUE, lw=0.9, ls=(0, (5, 4)), zorder=2
        )
        low, high = float(mean[0] - error[0]), float(mean[0] + error[0])
        ax.axhspan(low, high, color=_ink.BLUE, alpha=0.09, lw=0, zorder=0)
        quiet: dict[str, Any] = {"color": _ink.FAINT, "ms": 3.2, "zorder": 3}
        (self.train_line_,) = ax.plot(x[1:], self.train[1:], marker=self._marker, lw=1.3, **quiet)
        ax.plot(x[:1], self.train[:1], "o", mfc="white", **quiet)
        handles: list[Any] = [self.errorbar_, self.zero_line_, self.train_line_]
        labels = [self.measure, "at strength 0", "training loss"]
        shown = 3 if self.train.isfinite().any() else 2
        ax.legend(handles[:shown], labels[:shown], **legend)
        if self.frame is not None:
            ax.set_ylim(*self.frame)
        ax.locator_params(axis="y", nbins=8)
        ax.set_ylabel(self.measure.removeprefix("cross-validated "))
        _ink.strength_axis(ax, x)

    def _draw_norms(self, ax: Axes, legend: dict[str, Any]) -> None:
        from matplotlib import colormaps

        x, n = self._x, len(self.tensor_names)
        line: dict[str, Any] = {"marker": self._marker, "ms": 3.2, "lw": 1.4}
        shades = colormaps["viridis"](torch.linspace(0.0, 0.85, n).numpy())
        for norm, shade in zip(self.norms.T, shades, strict=True):
            self.norm_lines_ += ax.plot(x[1:], norm[1:], color=shade, **line)
            ax.plot(x[:1], norm[:1], "o", ms=3.2, mfc="white", color=shade)
        sparse = bool(self.sparsity.nan_to_num().any())
        named = torch.linspace(0, n - 1, min(n, NAMED_TENSORS)).round().long().tolist()
        handles = [self.norm_lines_[p] for p in named]
        names = _ink.short_names([self.tensor_names[p] for p in named], 15 if sparse else 23)
        if sparse:
            handles.append(self._draw_sparsity(ax))
            names.append("exact zeros")
            legend = {**legend, "bbox_to_anchor": (1.1, 1)} if legend else {}
        title = "penalized tensor" if n <= NAMED_TENSORS else f"{n} tensors, {len(named)} named"
        placeholders = [str(i) for i in range(len(names))]
        _ink.name_legend(ax.legend(handles, placeholders, **legend), names, title)
        highest = float(self.norms.nan_to_num(0.0).max())
        ax.set_ylim(0, 1.06 * highest or 1.0)
        ax.set_ylabel("weight norm")
        _ink.strength_axis(ax, x)

    def _draw_sparsity(self, ax: Axes) -> Line2D:
        right = ax.twinx()
        right.spines["right"].set(visible=True, color=_ink.PINK)
        right.tick_params(axis="y", color=_ink.PINK, labelcolor=_ink.PINK, labelsize=8)
        right.set_ylim(0, 1.06)
        right.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
        look: dict[str, Any] = {"color": _ink.PINK, "marker": self._marker, "ms": 2, "lw": 1.2}
        (line,) = right.plot(self._x[1:], self.sparsity[1:], ls=(0, (1, 1.2)), **look)
        self.sparsity_line_ = line
        return line

    def _draw_marks(self, upper: Axes, lower: Axes | None) -> None:
        """Draw a line for each chosen strength, its label clear of frame and other."""
        place = dict(zip(self.strengths.tolist(), self._x, strict=True))
        rules: dict[float, list[str]] = {}
        for rule, strength in self.marks.items():
            rules.setdefault(strength, []).append(rule)
        left, right = (math.log10(edge) for edge in upper.get_xlim())
        self.mark_lines_: list[Line2D] = []
        self.mark_labels_: list[Text] = []
        next_reads_right = False
        for strength in sorted(rules, reverse=True):
            x, color = place[strength], _ink.ORANGE if "minimum" in rules[strength] else _ink.GREEN
            share = (math.log10(x) - left) / (right - left)
            reads_right = share < (0.25 if self.mark_labels_ else 0.63)
            is_second = bool(self.mark_labels_)
            raised = (reads_right and next_reads_right) if is_second else not reads_right
            raised, next_reads_right = raised and len(rules) > 1, reads_right
            for ax in (upper, lower) if lower else (upper,):
                self.mark_lines_.append(ax.axvline(x, color=color, lw=1.0, zorder=1))
            label = f"{' = '.join(rules[strength])}  {_ink.number(strength)}"
            self.mark_labels_.append(_ink.label_line(upper, x, label, color, reads_right, raised))


def plot_path(result: PathResult) -> Figure:
    """Return the figure of a path: what `save_figures` saves."""
    display = PathDisplay.from_result(result).plot()
    return display.figure_


def save_figures(result: PathResult, directory: str | Path) -> None:
    """Write ``path.png`` and ``path.svg``; the same result gives the same bytes."""
    png, svg = {"Software": None}, {"Date": None, "Creator": "shrinkage"}
    with _ink.style():
        figure = plot_path(result)
        for suffix, facts in (("png", png), ("svg", svg)):
            with atomic_write(Path(directory) / f"path.{suffix}") as stream:
                figure.savefig(stream, format=suffix, metadata=facts)


def _frame(
    values: Curve, fit: Tensor, judged: Sequence[float], strengths: Tensor
) -> tuple[float, float]:
    """Let strengths that ruin the fit leave the frame, so that the choice stays visible."""
    known, error = values.mean.isfinite(), values.standard_error.nan_to_num()
    high, low = (values.mean + error)[known], (values.mean - error)[known]
    at = [s in judged for s in strengths[known].tolist()]
    top, bottom = float(high[at].max()), float(torch.cat([low, fit[known]]).min())
    room = (top - bottom) or 1.0
    return bottom - 0.06 * room, min(top + 0.6 * room, float(high.max()) + 0.06 * room)


def _penalty_label(result: PathResult, strength: float) -> str:
    label = f"strength of {type(result.penalty).__name__}"
    twins = result.penalty.at(float(f"{strength:.1e}")).twins()
    if not twins or strength == 0:
        return label
    named = ", ".join(f"{where} {what}" for where, what in twins.items())
    return f"{label}   ({_ink.number(strength)} is {named})"


def _caption(result: PathResult, mean: Tensor, lost: Tensor) -> str:
    seeds = f"{len(result.seeds)} seed{'s' * (len(result.seeds) > 1)}"
    if result.n_folds > 1:
        text = f"Mean over {result.n_folds} folds and {seeds}; bars and band: one standard error."
    else:
        text = f"One fold, mean over {seeds}; no standard error."
    text += " Norms: models refit on all rows, mean over seeds."
    for where, gone in (("", mean.isnan()), (" from the norms", lost)):
        if gone.any():
            some = ", ".join(_ink.number(s) for s in result.strengths[gone].tolist()[:5])
            more = ", ..." if int(gone.sum()) > 5 else ""
            text += f" Left out{where}, because training diverged: strength {some}{more}."
    return text
