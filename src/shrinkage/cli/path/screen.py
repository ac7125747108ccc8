"""What ``shrinkage path`` shows: what it is about to do, and what came of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from shrinkage.cli import screens, widths
from shrinkage.cli.facts import network_line, training_line
from shrinkage.cli.path.lines import NAMES, STYLES, show_path, show_test
from shrinkage.cli.path.options import PathOptions
from shrinkage.engine.member.given import Grid
from shrinkage.errors import counted, some_of
from shrinkage.labels import decimals
from shrinkage.parameters import Row
from shrinkage.penalties import Penalty
from shrinkage.result.points import knobs_text

if TYPE_CHECKING:
    from rich.console import Console

MOST_ROWS = 10


def model_line(job: PathOptions, grid: Grid, explained: Sequence[Row]) -> str:
    """Return the model in a line."""
    dropout = " with dropout" if "dropout" in grid and "dropout" not in job.model else ""
    return network_line(f"{job.model}{dropout}", (row.tensor.numel() for row in explained))


def penalty_line(penalty: Penalty, how: str | None, explained: Sequence[Row]) -> str:
    """Return the penalty and what it acts on in a line."""
    names = [row.name for row in explained if row.selected]
    return f"{type(penalty).__name__} on {some_of(names, most=4)}" + (f", {how}" if how else "")


def member_line(job: PathOptions, grid: Grid) -> str:
    """Return how a member is fit in a line."""
    if job.solver == "exact":
        return "none; the exact solver finds the minimum itself"
    rate = "" if "lr" in grid else f", learning rate {job.lr:g}"
    return training_line(f"{job.optimizer}{rate}", job)


def grid_line(grid: Grid, draws: int | None) -> str:
    """Return the knobs in a line."""
    parts = []
    for name, values in grid.items():
        between = " to " if isinstance(values, tuple) else ", "
        parts.append(f"{name} {between.join(f'{value:g}' for value in values)}")
    drawn = f"; {draws} drawn" if draws else ""
    return "; ".join(parts) + drawn


def members_line(job: PathOptions, strengths: int | list[float], combinations: int) -> str:
    """Return how many members there will be in a line."""
    n = strengths + 1 if isinstance(strengths, int) else len(strengths)
    points = combinations * n + job.refine
    n, times = (n, f"{combinations} combinations x ") if combinations > 1 else (points, "")
    more = f" ({job.refine} around the best)" if job.refine else ""
    seeds = 1 if job.solver == "exact" else job.seeds
    repeats = f" x {job.repeats} repeats" if job.repeats > 1 else ""
    return (
        f"{times}{counted(n, 'strength')}{more} x {counted(job.folds, 'fold')}{repeats} x "
        f"{counted(seeds, 'seed')} = {points * job.folds * job.repeats * seeds:,}, plus "
        f"{points * seeds:,} refits on all rows"
    )


def show_summary(screen: Console, summary: dict[str, Any], tests: int) -> None:
    """Print knobs, curve, test and verdict.

    Args:
        screen: Where to.
        summary: What `as_plain` returned.
        tests: How many rows were kept for the test.
    """
    rows, at = summary["strengths"], ""
    if summary["knobs"]:
        screens.show_title(screen, "Knobs", "each combination at its best strength")
        show_knobs(screen, summary["knobs"])
        at = f"{knobs_text(summary['knobs'][0]['knobs'])}: "
    screens.show_title(
        screen, "Cross-validation", f"{at}mean and standard error (SE) over the folds"
    )
    show_path(screen, rows, {"no_penalty": {"index": 0}, **summary["choices"]})
    for advice in filter(None, [summary["majority"], *_advice(summary)]):
        screens.show_note(screen, advice)
    spread = summary["test"][0]["loss_sd"]
    kept = f"{counted(tests, 'row')} that no choice has seen"
    kept += "; mean and deviation over the seeds" if math.isfinite(spread) else ""
    screens.show_title(screen, "Test", kept)
    show_test(screen, summary["test"])
    screen.print()
    screens.show_facts(screen, {"Verdict": screens.color_verdict(summary["verdict"])})


def show_knobs(console: Console, rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the best strength of every combination of knobs, best first.

    Args:
        console: Where to.
        rows: ``knobs`` of `as_plain`.
    """
    shown = rows[:MOST_ROWS]
    digits = decimals([row["standard_error"] for row in shown])
    loss = f"CV loss {widths.plus_minus(console)} SE"
    lines: list[widths.Row] = []
    for place, row in enumerate(shown):
        best = place == 0 and math.isfinite(row["loss"])
        cells = {
            "knobs": knobs_text(row["knobs"]),
            "strength": widths.show_strength(row["strength"]),
            loss: widths.with_error(console, row["loss"], row["standard_error"], digits),
            "CV loss": widths.show_number(row["loss"], digits),
            "": "best" if best else "",
        }
        lines.append((cells, STYLES["minimum"] if best else None))
    versions = [["knobs", "strength", loss, ""], ["knobs", "strength", "CV loss", ""]]
    console.print(widths.fitting(console, lines, versions, {"knobs": 12}))
    if len(rows) > len(shown):
        console.print(f"and {len(rows) - len(shown):,} more; results.csv has them all.")


def _advice(summary: dict[str, Any]) -> list[str]:
    """What to do about a choice at the edge of the grid."""
    last = len(summary["strengths"]) - 1
    ends: dict[int, tuple[str, tuple[float, ...]]] = {
        1: ("the smallest strength above 0", (0.01, 0.1, 1)),
        last: ("the largest strength", (1, 10, 100)),
    }
    if last == 1:
        ends = {1: ("the only strength above 0", (0.01, 0.1, 1, 10, 100))}
    chosen: dict[int, list[str]] = {}
    for rule, choice in summary["choices"].items():
        if choice["at_edge"]:
            chosen.setdefault(choice["index"], []).append(NAMES[rule][0])
    advice = []
    for place, rules in sorted(chosen.items()):
        word, factors = ends[place]
        strength = summary["strengths"][place]["strength"]
        tries = ",".join(f"{strength * factor:.0e}" for factor in factors)
        advice.append(
            f"{' and '.join(rules)} {'choose' if len(rules) > 1 else 'chooses'} {word}; a better "
            f"one may lie beyond it. Try --strengths {tries}"
        )
    return advice
