"""From a result to one page: text by template, numbers as JSON, nothing that could be fetched."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from shrinkage import labels
from shrinkage._version import __version__
from shrinkage.choose.held_out import solved
from shrinkage.penalties.base import kind_of
from shrinkage.report import curves, outputs, tables
from shrinkage.report.noise import scatter
from shrinkage.report.slices import Slice, knobs_table, slices
from shrinkage.report.thin import evenly, plain_number
from shrinkage.report.validation import Judged, judged_metrics, validation
from shrinkage.result.path_result import PathResult

SCRIPTS = ("chart.js", "curves.js", "outputs.js", "page.js")
ESCAPES = {ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"}


def render(result: PathResult) -> str:
    """Return the page as HTML.

    Names reach it twice, each time as text: escaped by the template, and as JSON that the script
    writes with ``textContent``. The policy in its head names the one style and the one script by
    their digests, so nothing else runs, and allows no address at all.
    """
    from jinja2 import Environment

    assets = files("shrinkage.report") / "assets"
    style = (assets / "style.css").read_text(encoding="utf-8")
    script = "".join((assets / name).read_text(encoding="utf-8") for name in SCRIPTS)
    template = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True).from_string(
        (assets / "page.html").read_text(encoding="utf-8")
    )
    shown = [_view(one) for one in slices(result)]
    return template.render(
        style=style,
        script=script,
        style_digest=digest(style),
        script_digest=digest(script),
        data=_escaped([view["numbers"] for view in shown]),
        title=title(result),
        members=tables.members(result),
        by_steps=not solved(result),
        slices=shown,
        knobs=knobs_table(result),
        selected=tables.selected(result),
        selection=tables.selection_table(result),
        facts=tables.facts(result),
        task=result.task,
        version=__version__,
    )


def _view(one: Slice) -> dict[str, Any]:
    """Return what the page has of one combination of knobs: words, tables, numbers."""
    path, findings = one.seen.path, one.findings
    judged = judged_metrics(path, findings.choices)
    places = shown_strengths(path, judged)
    return {
        "name": one.name,
        "findings": findings,
        "choices": tables.choices_table(one.seen, findings.choices),
        "strengths": tables.strengths_table(one.seen, places),
        "metrics": [metric.name for metric in judged],
        "numbers": numbers(one, places, judged),
    }


def shown_strengths(result: PathResult, judged: Sequence[Judged]) -> list[int]:
    """Return the places of the strengths on the page: all, or evenly chosen ones of very many."""
    keep = {0, *(choice.index for one in judged for choice in one.choices.values())}
    return evenly(len(result.strengths), curves.MOST_STRENGTHS, keep)


def numbers(one: Slice, places: list[int], judged: Sequence[Judged]) -> dict[str, Any]:
    """Return what the charts show."""
    result, findings = one.seen.path, one.findings
    columns, verdict = tables.strength_columns(one.seen), findings.verdict
    return {
        "answer": findings.answer,
        "effect": None
        if verdict is None
        else {
            "difference": plain_number(verdict.difference),
            "low": plain_number(verdict.interval[0]),
            "high": plain_number(verdict.interval[1]),
        },
        "penalty": kind_of(result.penalty),
        "strengths": curves.strength_axis(result, places),
        "total": len(result.strengths),
        "readout": [
            [name, [texts[k] for k in places]]
            for name, texts in columns.items()
            if name not in ("diverged", "no minimum")
        ],
        "validation": validation(result, places, judged),
        "layers": curves.layers(result, places),
        "learning": curves.learning(result, places),
        "noise": scatter(result),
        **outputs.out_of_fold(result, places),
    }


def title(result: PathResult) -> str:
    """Return what the page is about: the penalty and, if it has a name, the data."""
    name = labels.data_name(result.about)
    knobs = ", ".join(f"{knob} {value:g}" for knob, value in result.about.get("knobs", {}).items())
    kind = kind_of(result.penalty) + (f", {labels.printable(knobs)}," if knobs else "")
    return f"{kind} on {name}" if name else f"{kind.rstrip(',')} path"


def _escaped(numbers: list[dict[str, Any]]) -> Any:
    """JSON that may stand between script tags: it holds no <, > or &."""
    from markupsafe import Markup

    return Markup(json.dumps(numbers, allow_nan=False, separators=(",", ":")).translate(ESCAPES))


def digest(text: str) -> str:
    """Return what the policy of a page calls its style or script by."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
