"""A log axis of strengths with a broken-off place for 0, and lines at the chosen ones."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from shrinkage.choose.choices import RULES, SHOWN
from shrinkage.labels import number

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from matplotlib.text import Text

    from shrinkage.plots.ink import Colors, Paper

EDGE = 0.035
SHORT = {RULES[rule].words: RULES[rule].short for rule in SHOWN}


def positions(strengths: Sequence[float]) -> list[float]:
    """Return the strengths with a place for the first, 0, on a log axis: left of all others."""
    nonzero = list(strengths[1:])
    if not nonzero:
        return [1.0]
    span = max(math.log10(nonzero[-1] / nonzero[0]), 0.5)
    return [nonzero[0] * 10 ** (-0.09 * span), *nonzero]


def strength_axis(ax: Axes, x: Sequence[float], colors: Colors) -> None:
    """Make a log axis for `positions`: decades for the nonzero strengths, a break, then 0."""
    from matplotlib.ticker import FixedLocator, NullFormatter

    zero, first, last = x[0], x[min(1, len(x) - 1)], x[-1]
    span = math.log10(last / zero) or 1.0
    ax.set_xscale("log")
    ax.set_xlim(zero * 10 ** (-EDGE * span), last * 10 ** (EDGE * span))
    lowest, highest = math.floor(math.log10(first)), math.ceil(math.log10(last))
    powers = [p for p in range(lowest, highest + 1) if first * 0.99 <= 10.0**p <= last * 1.01]
    if len(powers) > 1:
        powers = powers[:: math.ceil(len(powers) / 9)]
        ticks = {10.0**p: f"$10^{{{p}}}$" for p in powers}
    else:
        ticks = {strength: number(strength) for strength in {first, last} - {zero}}
    ax.set_xticks([zero, *ticks], ["0", *ticks.values()])
    minor = [m * 10.0**p for p in range(lowest, highest) for m in range(2, 10)]
    ax.xaxis.set_minor_locator(FixedLocator([m for m in minor if first <= m <= last]))
    ax.xaxis.set_minor_formatter(NullFormatter())
    if len(x) > 1:
        at = (EDGE + 0.5 * math.log10(first / zero) / span) / (1 + 2 * EDGE)
        _break_axis(ax, at, colors)


def _break_axis(ax: Axes, at: float, colors: Colors) -> None:
    """Cut the lower spine with two strokes at a fraction of its length."""
    place: dict[str, Any] = {"transform": ax.transAxes, "clip_on": False}
    ax.plot([at - 0.006, at + 0.006], [0, 0], color=colors.paper, lw=3, zorder=5, **place)
    for left in (at - 0.010, at + 0.002):
        rise = [-0.018, 0.018]
        ax.plot([left, left + 0.008], rise, color=colors.quiet, lw=0.8, zorder=6, **place)


def draw_marks(
    paper: Paper, axes: Sequence[Axes], strengths: Sequence[float], marks: Mapping[str, float]
) -> tuple[list[Line2D], list[Text]]:
    """Draw a line through all axes for each chosen strength; labels above a figure of our own.

    Returns:
        The lines of the first axes, labeled for a legend, and the labels.
    """
    place = dict(zip(strengths, positions(strengths), strict=True))
    rules: dict[float, list[str]] = {}
    for rule, strength in marks.items():
        rules.setdefault(strength, []).append(SHORT[rule] if paper.narrow else rule)
    left, right = (math.log10(edge) for edge in axes[0].get_xlim())
    lines: list[Line2D] = []
    labels: list[Text] = []
    next_reads_right = False
    for strength in sorted(rules, reverse=True):
        x, is_minimum = place[strength], marks["minimum"] == strength
        color = paper.colors.orange if is_minimum else paper.colors.green
        label = f"{' = '.join(rules[strength])}  {number(strength)}"
        drawn = [ax.axvline(x, color=color, lw=1.0, zorder=1, label=label) for ax in axes]
        lines.append(drawn[0])
        if paper.given:
            continue
        share = (math.log10(x) - left) / (right - left)
        reads_right = share < (0.25 if labels else 0.63)
        raised = (reads_right and next_reads_right) if labels else not reads_right
        raised, next_reads_right = raised and len(rules) > 1, reads_right
        labels.append(_label_line(axes[0], x, label, color, reads_right, raised))
    return lines, labels


def _label_line(
    ax: Axes, x: float, label: str, color: str, reads_right: bool, raised: bool
) -> Text:
    """Write the label of a vertical line above the frame, beside the line, on row one or two."""
    at: dict[str, Any] = {
        "xy": (x, 1),
        "xycoords": ax.get_xaxis_transform(),
        "textcoords": "offset points",
        "color": color,
    }
    stem = {"arrowstyle": "-", "color": color, "lw": 1.0, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", xytext=(0, 26 if raised else 12), arrowprops=stem, **at)
    offset = (4 if reads_right else -4, 18 if raised else 4)
    return ax.annotate(label, xytext=offset, ha="left" if reads_right else "right", **at)
