"""The comparison as one page: a table whose last column draws every interval."""

from __future__ import annotations

import math
from importlib.resources import files
from pathlib import Path
from typing import Any

from shrinkage._version import __version__
from shrinkage.comparing import CONFIDENCE, Comparison, Row
from shrinkage.disk.files import atomic_write
from shrinkage.labels import data_name, printable, printable_lines
from shrinkage.report.page import digest

WIDTH, HALF_HEIGHT, MARGIN = 260, 11, 8
SIGNS = {"better": "✓", "worse": "✕", "cannot tell": "?", "the same": "="}


def write_comparison(comparison: Comparison, path: Path) -> None:
    """Write the page; it fetches nothing and runs nothing."""
    with atomic_write(path) as stream:
        stream.write(render_comparison(comparison).encode())


def render_comparison(comparison: Comparison) -> str:
    """Return the page as HTML."""
    from jinja2 import Environment

    assets = files("shrinkage.report") / "assets"
    style = (assets / "style.css").read_text(encoding="utf-8")
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        (assets / "comparison.html").read_text(encoding="utf-8")
    )
    name = data_name(comparison.about)
    ends = [end for row in comparison.rows for end in row.to_none if math.isfinite(end)]
    low, high = min([0.0, *ends]), max([0.0, *ends])
    least = comparison.rows[0].contender.test_loss
    decimals = max(0, 2 - math.floor(math.log10(least))) if 0 < least < math.inf else 4
    return template.render(
        style=style,
        style_digest=digest(style),
        title=f"Comparison on {name}" if name else "Comparison",
        comparison=comparison,
        headline=headline(comparison),
        several=len(comparison.optimizers) > 1,
        score="accuracy" if comparison.task == "classification" else "R²",
        rows=[_row(row, comparison.task, decimals, low, high) for row in comparison.rows],
        zero=place(0.0, low, high),
        width=WIDTH,
        middle=HALF_HEIGHT,
        confidence=f"{CONFIDENCE:.0%}",
        facts=_facts(comparison),
        version=__version__,
    )


def headline(comparison: Comparison) -> str:
    """Return the answer in a few words."""
    best = comparison.rows[0]
    if not any(row.answer == "better" for row in comparison.rows):
        return "No method is surely better than none"
    ties = sum(row.rank == 1 for row in comparison.rows) - 1
    name = comparison.name(best.contender)
    return f"Best: {name}" + (f", and {ties} that cannot be told from it" if ties else "")


def place(value: float, low: float, high: float) -> float:
    """Return where a difference lies in the drawing, in pixels from its left."""
    span = (high - low) or 1.0
    return round(MARGIN + (value - low) / span * (WIDTH - 2 * MARGIN), 1)


def _row(row: Row, task: str, decimals: int, low: float, high: float) -> dict[str, Any]:
    who, has_number = row.contender, row.rank > 0
    against = math.isfinite(row.to_none.difference)
    return {
        "rank": row.rank or "–",
        "method": printable(who.method),
        "optimizer": printable(who.optimizer),
        "chosen": printable(who.note) if who.note else row.setting + " (largest)" * who.at_edge,
        "loss": f"{who.test_loss:.{decimals}f}" if has_number else "–",
        "score": _score(who.score, task) if has_number else "–",
        "answer": row.answer if against else "",
        "sign": SIGNS[row.answer] if against else "",
        "difference": f"{row.to_none.difference:+.2g}"
        if against and row.answer != "the same"
        else "",
        "interval": f"{row.to_none.low:+.2g} to {row.to_none.high:+.2g}" if against else "",
        "places": [place(end, low, high) for end in row.to_none] if against else [],
        "color": {"better": "blue", "worse": "orange"}.get(row.answer, "faint"),
    }


def _score(value: float, task: str) -> str:
    return f"{value:.1%}" if task == "classification" else f"{value:.3f}"


def _facts(comparison: Comparison) -> dict[str, str]:
    about = comparison.about
    plan = about.get("plan", {})
    wanted = {
        "command": about.get("command"),
        "optimizers": ", ".join(comparison.optimizers),
        "values a method": about.get("values"),
        "test rows": about.get("test_rows"),
        "epochs": plan.get("epochs"),
        "batch size": plan.get("batch_size"),
        "model": plan.get("model"),
        "versions": ", ".join(f"{n} {v}" for n, v in about.get("versions", {}).items()),
    }
    return {name: printable_lines(str(value)) for name, value in wanted.items() if value}
