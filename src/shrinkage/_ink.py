"""How figures look: one style, a log axis with a place for 0, names as plain text."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.legend import Legend
    from matplotlib.text import Text

INK, QUIET, FAINT = "#222222", "#6b6b6b", "#a8a8a8"
BLUE, ORANGE, GREEN, PINK = "#0072b2", "#d55e00", "#007a5a", "#b8578f"
STYLE = {
    "font.family": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": QUIET,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.title_fontsize": 8,
    "svg.hashsalt": "shrinkage",
    "svg.fonttype": "path",
}
EDGE = 0.035
_one_at_a_time = threading.RLock()


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib's own defaults and ours, whatever the user set; one thread at a time."""
    from matplotlib import style as matplotlib_style

    with _one_at_a_time, matplotlib_style.context(["default", STYLE]):
        yield


def positions(strengths: Sequence[float]) -> list[float]:
    """Return the strengths with a place for the first, 0, on a log axis: left of all others."""
    nonzero = list(strengths[1:])
    if not nonzero:
        return [1.0]
    span = max(math.log10(nonzero[-1] / nonzero[0]), 0.5)
    return [nonzero[0] * 10 ** (-0.09 * span), *nonzero]


def strength_axis(ax: Axes, x: Sequence[float]) -> None:
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
        _break_axis(ax, (EDGE + 0.5 * math.log10(first / zero) / span) / (1 + 2 * EDGE))


def _break_axis(ax: Axes, at: float) -> None:
    """Cut the lower spine with two strokes at a fraction of its length."""
    place: dict[str, Any] = {"transform": ax.transAxes, "clip_on": False}
    ax.plot([at - 0.006, at + 0.006], [0, 0], color="white", lw=3, zorder=5, **place)
    for left in (at - 0.010, at + 0.002):
        ax.plot([left, left + 0.008], [-0.018, 0.018], color=QUIET, lw=0.8, zorder=6, **place)


def label_line(ax: Axes, x: float, label: str, color: str, reads_right: bool, raised: bool) -> Text:
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
    return ax.annotate(label, xytext=offset, ha="left" if reads_right else "right", size=8.5, **at)


def number(strength: float) -> str:
    """Return a strength as figures and sentences show it.

    Example:
        >>> number(0.00018), number(0.0)
        ('1.8e-04', '0')
    """
    return f"{strength:.1e}" if strength else "0"


def name_legend(legend: Legend, names: Sequence[str], title: str) -> None:
    """Give a legend its names as plain text: no mathematics, no hiding by an underscore."""
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(name)
    legend.set_title(title)
    legend.set_alignment("left")


def short_names(names: Sequence[str], limit: int) -> list[str]:
    """Return names that fit: printable, without the dotted beginning all share if one is too long.

    Example:
        >>> short_names(["model.encoder.0.weight", "model.encoder.1.weight"], 12)
        ['…0.weight', '…1.weight']
    """
    clean = [printable(name) for name in names]
    if len(clean) > 1 and max(map(len, clean)) > limit:
        parts = [name.split(".")[:-1] for name in clean]
        shared = 0
        while all(len(p) > shared and p[shared] == parts[0][shared] for p in parts):
            shared += 1
        if shared:
            clean = ["…" + ".".join(name.split(".")[shared:]) for name in clean]
    return [name if len(name) <= limit else name[: limit - 1] + "…" for name in clean]


def printable(name: str) -> str:
    r"""Return a name with a replacement sign for each control character and line break.

    Example:
        >>> printable("a\tb")
        'a�b'
    """
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
