"""Figures for light and dark pages: the examples of the pages, and the gallery of penalties."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib import style

from shrinkage.penalties import Penalty, catalogue
from shrinkage.plots import (
    PenaltyDisplay,
    plot_comparison,
    plot_cv,
    plot_learning_curves,
    plot_path,
    plot_weights,
)
from shrinkage.plots.display import Display

SHADES = {"light": "default", "dark": "dark_background"}
SCREENS = {"wide": 6.9, "narrow": 3.6}
STRENGTH = 0.5
GALLERY = """# Gallery of penalties

Every penalty of the package, drawn by {func}`shrinkage.plots.plot_penalty` at strength 0.5.

- **value**, and below it **prox**, in one parameter a; the dashed line of the prox is no change.
  Where the other parameter b matters, a second line shows b = 0.8.
- **gradient**: the slope. A gap is a kink, where the penalty can hold a weight at an exact value.
- **unit ball**: where the value at strength 1 is at most 1. Arrows lead from a circle to the prox:
  where they end together, weights become exactly zero or exactly equal.

A penalty of groups is drawn for one group of two. A penalty of singular values is drawn for the
matrices [[a, b], [b, a]], whose singular values are |a + b| and |a − b|: on the diagonals the rank
is 1, and the four points at distance 1 on the axes are orthogonal.

"""


def draw_examples(folder: Path, landing: Path) -> None:
    """Draw the figures that the pages show, from the path of the landing page's first code."""
    page: dict[str, Any] = {}
    code = landing.read_text(encoding="utf-8").split("```python\n")[1].split("```")[0]
    exec(code, page)
    result = page["result"]
    rows = [
        ("L2", -0.011, -0.016, -0.006),
        ("dropout 0.3", -0.008, -0.013, -0.003),
        ("L1", -0.004, -0.010, 0.002),
        ("label smoothing 0.1", 0.003, -0.004, 0.010),
        ("early stopping", -0.001, -0.006, 0.004),
        ("AdamW's default", 0.012, 0.005, 0.019),
    ]
    draw_on_screens(plot_path, result, folder / "example-path", wide=8.0)
    draw_on_screens(plot_cv, result, folder / "example-cv")
    draw_on_screens(plot_weights, result, folder / "example-weights")
    draw_on_screens(plot_learning_curves, result, folder / "example-learning-curves")
    draw_on_screens(plot_comparison, rows, folder / "example-comparison")


def draw_on_screens(
    plot: Callable[..., Display], numbers: Any, place: Path, wide: float = 6.9
) -> None:
    """Write the figure for light and dark pages, wide and narrow screens."""
    for shade, paper in SHADES.items():
        with style.context(paper):
            for screen, width in {**SCREENS, "wide": wide}.items():
                display = plot(numbers, width=width)
                display.save(place.with_name(f"{place.name}-{shade}-{screen}.svg"))


def gallery(folder: Path) -> str:
    """Draw every penalty and return the page."""
    sections = []
    for name, kind in sorted(catalogue().items(), key=lambda item: item[1].__name__):
        if not kind.examples:
            continue
        penalty = kind(**{**kind.examples[0], "strength": STRENGTH})
        display = PenaltyDisplay.from_penalty(penalty)
        for shade, paper in SHADES.items():
            with style.context(paper):
                display.plot().save(folder / f"{name}-{shade}.svg")
        sections.append(_section(name, kind))
    return GALLERY + "\n".join(sections)


def _section(name: str, kind: type[Penalty]) -> str:
    what = (kind.__doc__ or "").strip().splitlines()[0]
    facts = ["convex" if kind.convex else "not convex", "smooth" if kind.smooth else "with kinks"]
    link = f"{{class}}`~shrinkage.{kind.__name__}`"
    images = "\n".join(
        f"```{{image}} {name}-{shade}.svg\n:class: only-{shade} penalty\n"
        f":alt: value, gradient, prox and unit ball of {kind.__name__}\n```"
        for shade in ("light", "dark")
    )
    return f"## {kind.__name__}\n\n{link}: {what} *({', '.join(facts)})*\n\n{images}\n"
