"""The tables of the page, as text: choices, every strength, selection, how to repeat the run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from shrinkage import labels
from shrinkage.choose.choices import RULES, Choice
from shrinkage.choose.held_out import folds_in_words, solved
from shrinkage.choose.overview import Overview
from shrinkage.errors import counted
from shrinkage.penalties.base import kind_of
from shrinkage.result.path_result import PathResult

MOST_ROWS = 60


@dataclass(frozen=True)
class Table:
    """Rows of text under a head; ``note`` says what was left out, or is ""."""

    head: list[str]
    rows: list[list[str]]
    note: str = ""


def choices_table(seen: Overview, choices: Mapping[str, Choice]) -> Table:
    """Return what strength 0 and the chosen strengths are worth, on folds and on test rows."""
    columns, tests = strength_columns(seen), _test_columns(seen)
    named: dict[int, list[str]] = {0: ["no penalty"]}
    for rule, choice in choices.items():
        named.setdefault(choice.index, []).append(RULES[rule].words)
    strengths = [labels.number(s) for s in seen.columns["strength"].tolist()]
    rows = [
        [name, *(column[k] for k in named)]
        for name, column in {"strength": strengths, **columns, **tests}.items()
    ]
    head = ["", *(labels.capitalized(" = ".join(rules)) for rules in named.values())]
    note = "± one standard error over the folds"
    spread = tests and len(seen.path.seeds) > 1
    note += "; test: ± deviation over the seeds." if spread else "."
    return Table(head, rows, f"{note} {seen.majority}".strip())


def strengths_table(seen: Overview, places: list[int]) -> Table:
    """Return every strength shown, with what the choices see and what they do not."""
    columns, strengths = strength_columns(seen), seen.columns["strength"].tolist()
    rows = [
        [labels.number(strengths[k]), *(column[k] for column in columns.values())] for k in places
    ]
    left_out = len(strengths) - len(places)
    note = f"{left_out:,} of {len(strengths):,} strengths are left out." if left_out else ""
    return Table(["strength", *columns], rows, note)


def strength_columns(seen: Overview) -> dict[str, list[str]]:
    """Return texts for every strength: validation, training, gap, accuracy, norm, zeros, losses."""
    known = seen.columns
    loss, error, train = known["loss"], known["standard_error"], known["fit_loss"]
    digits = labels.decimals(error.tolist())
    columns = {
        "validation loss": with_error(loss, error),
        "training loss": [_fixed(v, digits) for v in train.tolist()],
        "gap": [_fixed(v, digits) for v in (loss - train).tolist()],
        **_scores(known),
        "weight norm": [_fixed(v, 2) for v in known["norm"].tolist()],
    }
    if bool((known["zeros"] > 0).any()):
        columns["exact zeros"] = [_percent(v) for v in known["zeros"].tolist()]
    if bool(known["diverged"].any()):
        columns["no minimum" if "no_minimum" in known else "diverged"] = [
            str(n) for n in known["diverged"].tolist()
        ]
    return columns


def _test_columns(seen: Overview) -> dict[str, list[str]]:
    known = seen.tests
    if not known:
        return {}
    scores = {f"test {name}": texts for name, texts in _scores(known).items()}
    return {"test loss": with_error(known["loss"], known["loss_sd"]), **scores}


def _scores(known: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Return the accuracy or the R² of these columns, whichever there is."""
    if "accuracy" in known:
        return {"accuracy": [_percent(v) for v in known["accuracy"].tolist()]}
    return {"R²": [_fixed(v, 3) for v in known["R2"].tolist()]} if "R2" in known else {}


def selected(result: PathResult) -> str:
    """Return how much of the model was penalized, in a sentence."""
    known = _selection(result)
    sizes = [row["numbers"] for row in known if isinstance(row.get("numbers"), int)]
    if not known or len(sizes) < len(known):
        n = len(result.tensor_names)
        return f"{counted(n, 'tensor')} penalized."
    chosen = [n for row, n in zip(known, sizes, strict=True) if row.get("penalized")]
    return (
        f"{len(chosen):,} of {len(known):,} tensors, {sum(chosen):,} of {sum(sizes):,} numbers of "
        "the model."
    )


def selection_table(result: PathResult) -> Table:
    """Return which tensors were penalized and why; the first of very many."""
    known = _selection(result)
    if not known:
        rows = [[labels.printable(name)[:80], "yes"] for name in result.tensor_names[:MOST_ROWS]]
        return Table(["tensor", "penalized"], rows, _more(len(result.tensor_names)))
    rows = [
        [
            labels.printable(str(row.get("name", "")))[:80],
            "yes" if row.get("penalized") else "no",
            f"{row['numbers']:,}" if isinstance(row.get("numbers"), int) else "",
            labels.printable(str(row.get("why", "")))[:120],
        ]
        for row in known[:MOST_ROWS]
    ]
    return Table(["tensor", "penalized", "numbers", "why"], rows, _more(len(known)))


def _selection(result: PathResult) -> list[Mapping[str, Any]]:
    known = result.about.get("selection")
    return [_mapping(row) for row in known] if isinstance(known, list) else []


def facts(result: PathResult) -> list[tuple[str, str]]:
    """Return what it takes to repeat the run, as far as the result knows it."""
    about, plan = result.about, _mapping(result.about.get("plan"))
    data = _mapping(about.get("data"))
    rows: list[tuple[str, object]] = [
        ("command", about.get("command")),
        ("data", _data(data)),
        ("data sha256", data.get("sha256")),
        ("augmented", plan.get("augmented")),
        ("penalty", kind_of(result.penalty) + _how(plan)),
        ("knobs", _listed(_mapping(about.get("knobs")))),
        ("optimizer", plan.get("optimizer")),
        ("scheduler", plan.get("scheduler")),
        ("loss", plan.get("loss")),
        ("training", _listed(plan, ("epochs", "batch_size"))),
        ("members", members(result)),
        ("seeds", "" if solved(result) else _seeds(result)),
        ("engine", about.get("engine")),
        ("versions", _listed(_mapping(about.get("versions")))),
        ("model", plan.get("model")),
    ]
    return [(name, _clean(value)) for name, value in rows if value]


def _seeds(result: PathResult) -> str:
    return ", ".join(map(str, result.seeds[:12])) + (" ..." if len(result.seeds) > 12 else "")


def members(result: PathResult) -> str:
    """Return how many trainings the path is made of."""
    K, F, S = result.diverged.shape
    refits = f", and {K * S:,} refits on all rows" if result.refit else ""
    what = f"points of strength, {', '.join(result.knobs)}" if result.knobs else "strengths"
    if K == 1:
        what = "strength"
    folds = folds_in_words(result).replace(" x ", " × ")
    if solved(result):
        return f"{K:,} {labels.printable(what)} × {folds} = {K * F:,} fits{refits}"
    grid = f"{K:,} {labels.printable(what)} × {folds} × {counted(S, 'seed')}"
    return f"{grid} = {K * F * S:,} trainings{refits}"


def _data(data: Mapping[str, Any]) -> str:
    sizes = {"rows": "training row", "test_rows": "test row", "features": "feature"}
    known = [counted(data[n], what) for n, what in sizes.items() if isinstance(data.get(n), int)]
    notes = data.get("notes")
    done = map(str, notes) if isinstance(notes, list) else ()
    return ", ".join([str(data.get("name", "")), *known, *done]).strip(", ")


def _how(plan: Mapping[str, Any]) -> str:
    return f", {plan['how']}" if plan.get("how") else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(facts: Mapping[str, Any], names: tuple[str, ...] | None = None) -> str:
    kept = [name for name in (names or facts) if isinstance(facts.get(name), str | int | float)]
    return ", ".join(f"{name} {facts[name]}" for name in kept).replace("_", " ")


def _clean(value: object, most: int = 4000) -> str:
    return labels.printable_lines(str(value)[:most])


def _more(n: int) -> str:
    return f"The first {MOST_ROWS} of {n:,} tensors." if n > MOST_ROWS else ""


def with_error(values: Tensor, errors: Tensor) -> list[str]:
    """Return each value with its error, to two digits of the smallest error."""
    digits = labels.decimals(errors.tolist())
    return [
        f"{_fixed(v, digits)} ±\N{NO-BREAK SPACE}{e:.{digits}f}"
        if math.isfinite(v + e)
        else _fixed(v, digits)
        for v, e in zip(values.tolist(), errors.tolist(), strict=True)
    ]


def _fixed(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %" if math.isfinite(value) else "–"
