"""A path in a notebook: the verdict and the choices, in whatever colors it has."""

from __future__ import annotations

from html import escape

from shrinkage.report.slices import slices
from shrinkage.report.tables import choices_table
from shrinkage.result.path_result import PathResult

CELL = "text-align:right;padding:.15em 0 .15em 1.2em;white-space:pre"
NAME = "text-align:left;padding:.15em 0;font-weight:normal"


def as_html(result: PathResult) -> str:
    """Return the verdict, and what the choices are worth; see the report for the rest."""
    best = slices(result, most=1)[0]
    said, table = best.findings, ""
    if said.choices:
        choices = choices_table(best.seen, said.choices)
        body = "".join(f"<tr>{_row(row, 'td')}</tr>" for row in choices.rows)
        table = (
            '<table style="border-collapse:collapse;margin-top:.6em">'
            f'<thead style="border-bottom:1px solid"><tr>{_row(choices.head, "th")}</tr></thead>'
            f"<tbody>{body}</tbody></table><small>{escape(choices.note)}</small>"
        )
    return (
        f"<div><strong>{escape(said.headline)}</strong><br>{escape(said.sentence)}{table}"
        f'<br><small>{escape(repr(result))}; <code>.report("report.html")</code> shows why</small>'
        "</div>"
    )


def _row(cells: list[str], tag: str) -> str:
    name, *rest = map(escape, cells)
    others = "".join(f'<{tag} style="{CELL}">{cell}</{tag}>' for cell in rest)
    return f'<th style="{NAME}">{name}</th>{others}'
