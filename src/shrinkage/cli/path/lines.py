"""The tables of ``shrinkage path``: a line for every strength, and the choices on test rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from shrinkage.choose.choices import RULES, SHOWN
from shrinkage.cli.widths import (
    Row,
    fitting,
    plus_minus,
    show_number,
    show_score,
    show_strength,
    with_error,
)
from shrinkage.labels import decimals

if TYPE_CHECKING:
    from rich.console import Console

    from shrinkage.cli.screens import Facts

NAMES = {"no_penalty": ("no penalty", "no penalty")}
NAMES |= {rule: (RULES[rule].words, RULES[rule].short) for rule in SHOWN}
"""What a choice is called, and where there is little room."""
STYLES = {"no_penalty": "cyan", "minimum": "bold green", "one_standard_error": "bold magenta"}
PICTURE = 30


def show_path(console: Console, rows: Sequence[Facts], choices: Mapping[str, Facts]) -> None:
    """Print one line per strength; strength 0 and the chosen ones are marked.

    Args:
        console: Where to.
        rows: ``strengths`` of `as_plain`.
        choices: ``choices`` of the same.
    """
    scores, loss = _scores(rows), f"CV loss {plus_minus(console)} SE"
    digits = decimals([row["standard_error"] for row in rows])
    axis, picture = _picture(console, rows, digits)
    lines: list[Row] = []
    for index, row in enumerate(rows):
        rules = [rule for rule, choice in choices.items() if choice["index"] == index]
        cells = {
            "strength": show_strength(row["strength"]),
            loss: with_error(console, row["loss"], row["standard_error"], digits),
            "CV loss": show_number(row["loss"], digits),
            **{score: show_score(score, row[score]) for score in scores},
            "train loss": show_number(row["fit_loss"], digits),
            "norm": show_number(row["norm"], 2),
            "zeros": show_score("accuracy", row["zeros"]),
            axis: picture[index],
            "": ", ".join([*(NAMES[rule][1] for rule in rules), *_faults(row)]),
        }
        lines.append((cells, STYLES[rules[-1]] if rules else None))
    zeros = ["zeros"] * any(row["zeros"] > 0 for row in rows)
    small = ["strength", loss, *scores]
    usual = [*small, "train loss", "norm", *zeros]
    versions = [[*usual, axis, ""]] if axis else []
    versions += [
        [*usual, ""],
        [*small, *zeros, ""],
        [*small, ""],
        ["strength", "CV loss", *scores, ""],
    ]
    console.print(fitting(console, lines, versions, {axis: PICTURE} if axis else {}))


def _faults(row: Facts) -> list[str]:
    word = "without a minimum" if "no_minimum" in row else "diverged"
    return [f"{row['diverged']} {word}"] if row["diverged"] else []


def show_test(console: Console, rows: Sequence[Facts]) -> None:
    """Print test loss and score of the model without penalty and of the chosen ones.

    Args:
        console: Where to.
        rows: ``test`` of `as_plain`.
    """
    digits, scores = decimals([row["loss_sd"] for row in rows]), _scores(rows)
    lines: list[Row] = []
    for row in rows:
        cells = {
            "choice": NAMES[row["rule"]][0],
            "rule": NAMES[row["rule"]][1],
            "strength": show_strength(row["strength"]),
            "test loss": with_error(console, row["loss"], row["loss_sd"], digits),
            "loss": show_number(row["loss"], digits),
        }
        for score in scores:
            value, spread = (show_score(score, row[name]) for name in (score, f"{score}_sd"))
            known = math.isfinite(row[f"{score}_sd"])
            cells[score] = value
            cells[f"test {score}"] = f"{value} {plus_minus(console)} {spread}" if known else value
        lines.append((cells, STYLES[row["rule"]]))
    numbers = ["strength", "test loss", *(f"test {score}" for score in scores)]
    versions = [["choice", *numbers], ["rule", *numbers], ["rule", "strength", "loss", *scores]]
    console.print(fitting(console, lines, versions, {"choice": 18, "rule": 10}))


def _scores(rows: Sequence[Facts]) -> list[str]:
    """Return which score these rows have, if any."""
    return [name for name in ("accuracy", "R2") if name in rows[0]]


def _picture(console: Console, rows: Sequence[Facts], digits: int) -> tuple[str, list[str]]:
    """Draw loss and standard error of each row on one common axis, without the hopeless ones.

    Returns:
        The ends of the axis, or "" if there is nothing to draw, and a line for each row.
    """
    bar, dot, beyond = "-o>" if console.options.ascii_only else "─●→"
    finite = [row for row in rows if math.isfinite(row["loss"] + row["standard_error"])]
    if not finite:
        return "", [""] * len(rows)
    best = min(finite, key=lambda row: float(row["loss"]))
    low = best["loss"] - 2 * best["standard_error"]
    high = best["loss"] + 6 * best["standard_error"]
    if rows[0] in finite:
        high = max(high, rows[0]["loss"] + rows[0]["standard_error"])
    if not high > low:
        return "", [""] * len(rows)
    scale = (PICTURE - 1) / (high - low)
    ends = f"{low:.{digits}f}", f"{high:.{digits}f}"

    def place(value: float) -> int:
        return int(max(0, min(PICTURE - 1, round((value - low) * scale))))

    drawn = []
    for row in rows:
        loss, error = row["loss"], row["standard_error"]
        if row not in finite:
            drawn.append("")
        elif loss > high:
            drawn.append(" " * (PICTURE - 1) + beyond)
        else:
            left, right = place(loss - error), place(loss + error)
            cells = [bar if left <= at <= right else " " for at in range(PICTURE)]
            cells[place(loss)] = dot
            drawn.append("".join(cells))
    return f"{ends[0]}{ends[1]:>{PICTURE - len(ends[0])}}", drawn
