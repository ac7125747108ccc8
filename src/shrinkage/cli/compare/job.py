"""The job behind ``shrinkage compare``: from options to a saved comparison."""

from __future__ import annotations

import functools
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from shrinkage.cli import screens
from shrinkage.cli.compare.options import CompareOptions
from shrinkage.cli.compare.screen import methods_line, show_comparison
from shrinkage.cli.exits import telling_how_to_go_on, usage
from shrinkage.cli.facts import about, data_line, network_line, training_line
from shrinkage.cli.inputs import make_trials, read_data
from shrinkage.cli.learning import COMPILE, OPTIMIZERS, make_scheduler
from shrinkage.cli.places import Saved, check_free, draw, free_directory
from shrinkage.comparing import NAMES, Comparison, compare
from shrinkage.comparing.methods import METHODS, check_names
from shrinkage.engine.member.update import MakeOptimizer
from shrinkage.errors import ShrinkageError, choose_from
from shrinkage.parameters import weights
from shrinkage.plots import plot_comparison
from shrinkage.report.comparison import write_comparison

if TYPE_CHECKING:
    from rich.console import Console

FILES = {
    "report.html": "the comparison as one page",
    "comparison.png": "picture of the differences",
    "comparison.svg": "the same, to scale",
    "comparison.csv": "the table, with all intervals",
    "test_losses.csv": "the loss of every test row",
    "manifest.json": "facts and the table",
    "paths": "one run for each method, for shrinkage report",
}
RATES = {"sgd": 0.1}
USUAL_RATE = 1e-3


def run(job: CompareOptions, screen: Console, side: Console, *, started: float) -> None:
    """Check everything, train, save, show.

    Args:
        job: What to do.
        screen: For results.
        side: For progress and notes.
        started: When the command started, by `time.perf_counter`.
    """
    optimizers = read_optimizers(job.optimizer, side)
    methods = [name.strip() for name in job.methods.split(",")] if job.methods else None
    with usage("--methods"):
        check_names(methods or METHODS)
    scheduler = make_scheduler(job)
    train, test, facts = read_data(job, side)
    directory = job.out or free_directory(f"{train.name}-compare", job.overwrite)
    check_free(directory, job.overwrite, NAMES)
    trials = make_trials(job, train, dropout=True)
    header = {
        "Data": data_line(facts, trials.preprocess),
        "Network": network_line(job.model, (row.tensor.numel() for row in trials.explained)),
        "Methods": methods_line(job, methods),
        "Training": training_line(", ".join(map(_with_rate, optimizers)), job),
    }
    screens.show_facts(screen, header)
    with (
        screens.warnings_as_notes(side),
        telling_how_to_go_on(job.checkpoint),
        screens.live_progress(side) as progress,
    ):
        comparison = compare(
            trials.factory,
            train.X,
            train.y,
            test=(test.X, test.y),
            methods=methods,
            optimizers=optimizers,
            values=job.values,
            folds=trials.folds,
            groups=train.groups,
            seeds=range(job.seed * job.seeds, (job.seed + 1) * job.seeds),
            epochs=job.epochs,
            batch_size=job.batch_size,
            scheduler=scheduler,
            preprocess=trials.preprocess,
            select=job.select or weights,
            autocast=torch.bfloat16 if job.bfloat16 else None,
            compile=COMPILE[job.compile],
            progress=progress,
            checkpoint=job.checkpoint,
        )
    comparison = replace(comparison, about={**comparison.about, **about(), "data": facts})
    with screens.busy(side, "Saving"):
        comparison.save(directory, overwrite=job.overwrite)
        fault = _draw(comparison, directory)
    saved = Saved(directory, FILES, time.perf_counter() - started, fault)
    if job.as_json:
        answer = {"answer": comparison.sentence, "rows": comparison.records()}
        saved.print_json({**comparison.about, **answer})
    show_comparison(screen, comparison, len(test.y))
    saved.show(screen)


def read_optimizers(text: str, side: Console) -> dict[str, MakeOptimizer]:
    """Return optimizers by what to call them."""
    found: dict[str, MakeOptimizer] = {}
    with usage("--optimizer"):
        for part in text.split(","):
            name, colon, rate = part.strip().partition(":")
            if name not in OPTIMIZERS:
                raise ShrinkageError(f"{name!r} is unknown; {choose_from(name, OPTIMIZERS)}")
            if part.strip() in found:
                raise ShrinkageError(f"{part.strip()} is given twice.")
            lr = _rate(part, rate) if colon else RATES.get(name, USUAL_RATE)
            found[part.strip()] = functools.partial(OPTIMIZERS[name], lr=lr)
    for label in [label for label in found if label.startswith("adamw")]:
        if label.replace("adamw", "adam") in found:
            del found[label]
            screens.show_note(
                side,
                f"{label} is left out. It is adam with decoupled decay, which is compared with "
                "adam anyway.",
            )
    return found


def _rate(part: str, text: str) -> float:
    try:
        rate = float(text)
    except ValueError:
        rate = 0.0
    if not 0 < rate < float("inf"):
        raise ShrinkageError(f"{part!r} has no learning rate above 0; write sgd:0.05.")
    return rate


def _with_rate(label: str) -> str:
    return label if ":" in label else f"{label}:{RATES.get(label, USUAL_RATE):g}"


def _draw(comparison: Comparison, directory: Path) -> Exception | None:
    def figures() -> None:
        display = plot_comparison(comparison.differences, baseline="none", measure="test loss")
        for name in ("comparison.png", "comparison.svg"):
            display.save(directory / name)

    return draw(figures, functools.partial(write_comparison, comparison, directory / "report.html"))
