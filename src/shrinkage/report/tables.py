"""The tables of the page, as text: choices, every strength, selection, how to repeat the run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from shrinkage import labels
from shrinkage.choose import Choice, curve
from shrinkage.choose.held_out import folds_in_words, solved
from shrinkage.choose.per_strength import explained, total_norm, zero_share
from shrinkage.penalties.base import kind_of
from shrinkage.report.curves import loss_name
from shrinkage.report.findings import RULES
from shrinkage.result.path_result import PathResult

MOST_ROWS = 60


@dataclass(frozen=True)
class Table:
    """Rows of text under a head; ``note`` says what was left out, or is ""."""

    head: list[str]
    rows: list[list[str]]
    note: str = ""


def choices_table(result: PathResult, choices: Mapping[str, Choice]) -> Table:
    """Return what strength 0 and the chosen strengths are worth, on folds and on test rows."""
    columns = strength_columns(result)
    tests = _test_columns(result)
    named: dict[int, list[str]] = {0: ["no penalty"]}
    for rule, choice in choices.items():
        named.setdefault(choice.index, []).append(RULES[rule])
    strengths = [labels.number(s) for s in result.strengths.tolist()]
    rows = [
        [name, *(column[k] for k in named)]
        for name, column in {"strength": strengths, **columns, **tests}.items()
    ]
    head = ["", *(labels.capitalized(" = ".join(rules)) for rules in named.values())]
    note = "± one standard error over the folds"
    spread = tests and len(result.seeds) > 1
    return Table(head, rows, note + ("; test: ± deviation over the seeds." if spread else "."))


def strengths_table(result: PathResult, places: list[int]) -> Table:
    """Return every strength shown, with what the choices see and what they do not."""
    columns = strength_columns(result)
    rows = [
        [labels.number(result.strengths[k].item()), *(column[k] for column in columns.values())]
        for k in places
    ]
    left_out = len(result.strengths) - len(places)
    note = f"{left_out:,} of {len(result.strengths):,} strengths are left out." if left_out else ""
    return Table(["strength", *columns], rows, note)


def strength_columns(result: PathResult) -> dict[str, list[str]]:
    """Return texts for every strength: validation, training, gap, accuracy, norm, zeros, losses."""
    loss = curve(result)
    train = result.fit_loss.double().mean((1, 2))
    digits = labels.decimals(loss.standard_error.tolist())
    columns = {
        "validation loss": with_error(loss.mean, loss.standard_error),
        "training loss": [_fixed(v, digits) for v in train.tolist()],
        "gap": [_fixed(v, digits) for v in (loss.mean - train).tolist()],
    }
    if result.task == "classification":
        accuracy = curve(result, "accuracy")
        columns["accuracy"] = [_percent(v) for v in accuracy.mean.tolist()]
    elif loss_name(result) == "mse":
        columns["R²"] = [_fixed(v, 3) for v in explained(loss.mean, result.targets).tolist()]
    columns["weight norm"] = [_fixed(v, 2) for v in total_norm(result).tolist()]
    zeros = zero_share(result)
    if bool((zeros > 0).any()):
        columns["exact zeros"] = [_percent(v) for v in zeros.tolist()]
    lost = (result.diverged >= 0).sum((1, 2))
    if bool(lost.any()):
        columns["no minimum" if solved(result) else "diverged"] = [str(n) for n in lost.tolist()]
    if result.dropped is not None:
        columns["dropped"] = [f"epoch {e}" if e > 0 else "" for e in result.dropped.tolist()]
    return columns


def _test_columns(result: PathResult) -> dict[str, list[str]]:
    if result.refit is None or result.refit.test_targets is None:
        return {}
    loss = result.test_metric().double()
    spread = loss.std(1) if loss.shape[1] > 1 else torch.full_like(loss[:, 0], torch.nan)
    columns = {"test loss": with_error(loss.mean(1), spread)}
    if result.task == "classification":
        accuracy = result.test_metric("accuracy").mean(1)
        columns["test accuracy"] = [_percent(v) for v in accuracy.tolist()]
    elif loss_name(result) == "mse":
        r2 = explained(loss.mean(1), result.refit.test_targets)
        columns["test R²"] = [_fixed(v, 3) for v in r2.tolist()]
    return columns


def selected(result: PathResult) -> str:
    """Return how much of the model was penalized, in a sentence."""
    known = _selection(result)
    sizes = [row["numbers"] for row in known if isinstance(row.get("numbers"), int)]
    if not known or len(sizes) < len(known):
        n = len(result.tensor_names)
        return f"{n:,} tensor{'s' * (n != 1)} penalized."
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
    grid = f"{K:,} {labels.printable(what)} × {folds} × {S} seed{'s' * (S > 1)}"
    return f"{grid} = {K * F * S:,} trainings{refits}"


def _data(data: Mapping[str, Any]) -> str:
    sizes = {"rows": "training rows", "test_rows": "test rows", "features": "features"}
    known = [f"{data[n]:,} {what}" for n, what in sizes.items() if isinstance(data.get(n), int)]
    return ", ".join([str(data.get("name", "")), *known]).strip(", ")


def _how(plan: Mapping[str, Any]) -> str:
    return f", {plan['how']}" if plan.get("how") else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(facts: Mapping[str, Any], names: tuple[str, ...] | None = None) -> str:
    kept = [name for name in (names or facts) if isinstance(facts.get(name), str | int | float)]
    return ", ".join(f"{name} {facts[name]}" for name in kept).replace("_", " ")


def _clean(value: object, most: int = 4000) -> str:
    lines = str(value)[:most].split("\n")
    return "\n".join(labels.printable(line) for line in lines)


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
