"""How figures look: colors for light and dark paper, one style, axes made or taken as given."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from shrinkage.errors import ShrinkageError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

PAGE, COLUMN = 6.9, 4.5
USERS_OWN = ("font.family", "font.serif", "font.sans-serif", "font.monospace", "figure.facecolor")
_one_at_a_time = threading.RLock()


@dataclass(frozen=True)
class Colors:
    """Colors that differ for color-blind readers too, on one kind of paper.

    ``shades`` is the part of the viridis map that stands out from the paper.
    """

    paper: str
    ink: str
    quiet: str
    faint: str
    blue: str
    orange: str
    green: str
    shades: tuple[float, float]


LIGHT = Colors(
    "#ffffff", "#222222", "#6b6b6b", "#a8a8a8", "#0072b2", "#d55e00", "#007a5a", (0.0, 0.85)
)
DARK = Colors(
    "#15171a", "#ececea", "#a3a6ab", "#757a81", "#56b4e9", "#ff9d52", "#3cc79f", (0.3, 1.0)
)


@dataclass(frozen=True)
class Paper:
    """Where a display draws.

    Attributes:
        figure: The whole figure.
        axes: One for each panel.
        colors: Those that stand out from the background.
        given: Whether the axes were given, so that all around them belongs to the caller.
        narrow: Whether the panels are too narrow for long words.
    """

    figure: Figure
    axes: list[Axes]
    colors: Colors
    given: bool
    narrow: bool

    def legend(self, ax: Axes, handles: Sequence[Any], labels: Sequence[str]) -> Legend:
        """Put a legend beside a wide panel of our own, else where it covers least."""
        place: dict[str, Any] = {"loc": "best", "framealpha": 0.8, "frameon": True}
        place |= {"facecolor": self.colors.paper, "edgecolor": "none"}
        if not (self.given or self.narrow):
            place = {"loc": "upper left", "bbox_to_anchor": (1.02, 1), "borderaxespad": 0}
        return ax.legend(handles, labels, **place)

    def long_legend(self, ax: Axes, handles: Sequence[Any], labels: Sequence[str]) -> Legend:
        """Put a legend of many entries as `legend` does, but below a narrow figure of our own."""
        if self.given or not self.narrow:
            return self.legend(ax, handles, labels)
        from matplotlib.transforms import ScaledTranslation

        below, last = ScaledTranslation(0, -0.42, self.figure.dpi_scale_trans), self.axes[-1]
        place: dict[str, Any] = {"loc": "upper center", "bbox_to_anchor": (0.5, 0)}
        place |= {"bbox_transform": last.transAxes + below, "borderaxespad": 0}
        return last.legend(handles, labels, ncols=2, **place)


def axes_in(ax: Any) -> list[Any] | None:
    """Return the axes that a caller gave, one or several, or None if there are yet to be some."""
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

    if ax is None or isinstance(ax, FigureBase):
        return None
    return [ax] if isinstance(ax, Axes) else list(getattr(ax, "flat", ax))


@contextmanager
def paper(
    ax: Any, heights: Sequence[float], width: float, height: float, columns: int = 1
) -> Iterator[Paper]:
    """Take the given axes, or make a figure, and hold our style while drawing.

    Args:
        ax: None; as many axes as panels; or a figure or subfigure to put the panels in.
        heights: Relative heights of the panels, which share one horizontal axis if one column.
        width: Width of a new figure, in inches.
        height: Its height.
        columns: Panels side by side.
    """
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    panels = len(heights) * columns
    if not 1 <= width < math.inf:
        raise ShrinkageError(f"width={width}: give a width in inches, at least 1.")
    if (axes := axes_in(ax)) is not None:
        if len(axes) != panels or not all(isinstance(one, Axes) for one in axes):
            raise ShrinkageError(
                f"ax={ax!r:.80} does not fit: give {panels} axes from top to bottom, a "
                "figure or subfigure to put them in, or None for a new figure."
            )
        with style(own_figure=False):
            figure: Any = axes[0].get_figure(root=True)
            narrow = axes[0].get_window_extent().width / figure.dpi < COLUMN
            yield Paper(figure, axes, colors_on(figure.get_facecolor()), True, narrow)
        return
    with style(small=width < COLUMN):
        from matplotlib import rcParams

        colors = colors_on(rcParams["figure.facecolor"])
        if ax is None:
            from matplotlib.backends.backend_agg import FigureCanvasAgg

            ax = Figure(figsize=(width, height), dpi=150, layout="constrained")
            FigureCanvasAgg(ax)
        made = ax.subplots(
            len(heights), columns, sharex=columns == 1, height_ratios=heights, squeeze=False
        )
        root = made.flat[0].get_figure(root=True)
        yield Paper(root, list(made.flat), colors, False, width < COLUMN)


@contextmanager
def style(*, small: bool = False, own_figure: bool = True) -> Iterator[None]:
    """Matplotlib's defaults and ours, with the user's fonts and background; a thread at a time.

    On axes that the user made (``own_figure=False``) the user's style stays.
    """
    from matplotlib import rcParams
    from matplotlib import style as matplotlib_style

    plain = {"text.usetex": False, "svg.hashsalt": "shrinkage", "svg.fonttype": "path"}
    with _one_at_a_time:
        if not own_figure:
            with matplotlib_style.context(plain):
                yield
            return
        users: dict[str, Any] = {n: rcParams[n] for n in rcParams if n in USERS_OWN}
        colors = colors_on(users["figure.facecolor"])
        with matplotlib_style.context(["default", users, plain, _look(colors, small)]):
            yield


@contextmanager
def printed() -> Iterator[None]:
    """Forget the user's settings, so that the same numbers give the same bytes."""
    from matplotlib import style as matplotlib_style

    with _one_at_a_time, matplotlib_style.context("default"):
        yield


def colors_on(background: Any) -> Colors:
    """Return the colors for a background, by how light it is.

    Example:
        >>> colors_on("black") is DARK, colors_on("#fafafa") is LIGHT, colors_on("none") is LIGHT
        (True, True, True)
    """
    from matplotlib.colors import to_rgba

    red, green, blue, alpha = to_rgba(background)
    light = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    return DARK if alpha > 0.5 and light < 0.5 else LIGHT


def _look(colors: Colors, small: bool) -> dict[str, Any]:
    size, legend = (7.5, 7.0) if small else (9.0, 8.0)
    return {
        "font.size": size,
        "legend.fontsize": legend,
        "legend.title_fontsize": legend,
        "legend.frameon": False,
        "figure.facecolor": colors.paper,
        "savefig.facecolor": "auto",
        "axes.facecolor": "none",
        "text.color": colors.ink,
        "axes.labelcolor": colors.ink,
        "axes.edgecolor": colors.quiet,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "xtick.color": colors.quiet,
        "ytick.color": colors.quiet,
        "xtick.labelcolor": colors.ink,
        "ytick.labelcolor": colors.ink,
    }


def name_legend(legend: Legend, names: Sequence[str], title: str) -> None:
    """Give a legend its names as plain text: no mathematics, no hiding by an underscore."""
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set_parse_math(False)
        text.set_text(name)
    legend.set_title(title)
    legend.set_alignment("left")
