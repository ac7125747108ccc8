"""The tables of ``shrinkage path``: a line for every strength, and the choices on test rows."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from shrinkage.cli.screens import Facts
from shrinkage.cli.tables import (
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

RULES = {
    "no_penalty": "no penalty",
    "minimum": "minimum",
    "one_standard_error": "one standard error",
}
SHORT = {"no_penalty": "no penalty", "minimum": "min", "one_standard_error": "1 SE"}
STYLES = {"no_penalty": "cyan", "minimum": "bold green", "one_standard_error": "bold magenta"}
PICTURE = 30


def show_path(console: Console, rows: Sequence[Facts], choices: Mapping[str, Facts]) -> None:
    """Print one line per strength; strength 0 and the chosen ones are marked.

    Args:
        console: Where to.
        rows: ``strengths`` of `summarize`.
        choices: ``choices`` of the same.
    """
    score = "accuracy" if "accuracy" in rows[0] else "R2"
    loss = f"CV loss {plus_minus(console)} SE"
    digits = decimals([row["standard_error"] for row in rows])
    axis, picture = _picture(console, rows, digits)
    lines: list[Row] = []
    for index, row in enumerate(rows):
        rules = [rule for rule, choice in choices.items() if choice["index"] == index]
        cells = {
            "strength": show_strength(row["strength"]),
            loss: with_error(console, row["loss"], row["standard_error"], digits),
            "CV loss": show_number(row["loss"], digits),
            score: show_score(score, row[score]),
            "train loss": show_number(row["fit_loss"], digits),
            "norm": show_number(row["norm"], 2),
            "zeros": show_score("accuracy", row["zeros"]),
            axis: picture[index],
            "": ", ".join([*(SHORT[rule] for rule in rules), *_faults(row)]),
        }
        lines.append((cells, STYLES[rules[-1]] if rules else None))
    zeros = ["zeros"] * any(row["zeros"] > 0 for row in rows)
    small = ["strength", loss, score]
    usual = [*small, "train loss", "norm", *zeros]
    versions = [[*usual, axis, ""]] if axis else []
    versions += [
        [*usual, ""],
        [*small, *zeros, ""],
        [*small, ""],
        ["strength", "CV loss", score, ""],
    ]
    console.print(fitting(console, lines, versions, {axis: PICTURE} if axis else {}))


def _faults(row: Facts) -> list[str]:
    word = "without a minimum" if "no_minimum" in row else "diverged"
    faults = [f"{row['diverged']} {word}"] if row["diverged"] else []
    return faults + ([f"dropped, epoch {row['dropped']}"] if row.get("dropped", 0) > 0 else [])


def show_test(console: Console, rows: Sequence[Facts]) -> None:
    """Print test loss and score of the model without penalty and of the chosen ones.

    Args:
        console: Where to.
        rows: ``test`` of `summarize`.
    """
    score = "accuracy" if "accuracy" in rows[0] else "R2"
    digits = decimals([row["loss_sd"] for row in rows])
    lines: list[Row] = []
    for row in rows:
        value, spread = (show_score(score, row[name]) for name in (score, f"{score}_sd"))
        known = math.isfinite(row[f"{score}_sd"])
        cells = {
            "choice": RULES[row["rule"]],
            "rule": SHORT[row["rule"]],
            "strength": show_strength(row["strength"]),
            "test loss": with_error(console, row["loss"], row["loss_sd"], digits),
            "loss": show_number(row["loss"], digits),
            f"test {score}": f"{value} {plus_minus(console)} {spread}" if known else value,
            score: value,
        }
        lines.append((cells, STYLES[row["rule"]]))
    numbers = ["strength", "test loss", f"test {score}"]
    versions = [["choice", *numbers], ["rule", *numbers], ["rule", "strength", "loss", score]]
    console.print(fitting(console, lines, versions, {"choice": 18, "rule": 10}))


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
