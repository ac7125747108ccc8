"""The job behind ``shrinkage compare``: from options to a saved comparison."""

from __future__ import annotations

import functools
import importlib.util
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
import typer

from shrinkage.cli import screens
from shrinkage.cli.compare.options import CompareOptions
from shrinkage.cli.compare.screen import notes, show_comparison
from shrinkage.cli.exits import usage
from shrinkage.cli.facts import about, data_line, without_nan
from shrinkage.cli.inputs import folds_of, make_factory, make_preprocessing, read_data
from shrinkage.cli.learning import OPTIMIZERS, make_scheduler
from shrinkage.cli.notes import warnings_as_notes
from shrinkage.cli.path.job import COMPILE
from shrinkage.cli.places import check_free, free_directory
from shrinkage.comparing import NAMES, Comparison, compare
from shrinkage.comparing.methods import METHODS, check_names
from shrinkage.engine.member.update import MakeOptimizer
from shrinkage.errors import ShrinkageError, choose_from
from shrinkage.parameters import explain_selection, weights
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
    with screens.busy(side, "Reading the data"):
        train, test, data_facts = read_data(job, side)
    directory = job.out or free_directory(f"{train.name}-compare", job.overwrite)
    check_free(directory, job.overwrite, NAMES)
    with usage("--model"):
        factory = make_factory(job, train, dropout=True)
        first = factory()
    with usage("--select"):
        explain_selection(first, job.select or weights)
    with usage("--folds"):
        folds = folds_of(job, train)
    preprocess = make_preprocessing(train)
    seeds = f"{job.seeds} seed{'s' * (job.seeds > 1)}"
    folds_line = f"{job.folds} folds" + f" x {job.repeats} repeats" * (job.repeats > 1)
    header = {
        "Data": data_line(data_facts) + (", standardized" if preprocess else ""),
        "Network": f"{job.model}, {sum(p.numel() for p in first.parameters()):,} parameters",
        "Methods": ", ".join(methods or ["all"])
        + f", each at {job.values} values x {folds_line} x {seeds}, plus refits on all rows",
        "Training": f"{', '.join(map(_with_rate, optimizers))}, batches of {job.batch_size}, "
        f"{job.epochs} epochs"
        + (f", {job.scheduler}" if job.scheduler else "")
        + ", bfloat16" * job.bfloat16,
    }
    screens.show_facts(screen, header)
    with warnings_as_notes(side), screens.live_progress(side) as progress:
        comparison = compare(
            factory,
            train.X,
            train.y,
            test=(test.X, test.y),
            methods=methods,
            optimizers=optimizers,
            values=job.values,
            folds=folds,
            groups=train.groups,
            seeds=range(job.seed * job.seeds, (job.seed + 1) * job.seeds),
            epochs=job.epochs,
            batch_size=job.batch_size,
            scheduler=scheduler,
            preprocess=preprocess,
            select=job.select or weights,
            autocast=torch.bfloat16 if job.bfloat16 else None,
            compile=COMPILE[job.compile],
            progress=progress,
        )
    comparison = replace(comparison, about={**comparison.about, **about(), "data": data_facts})
    with screens.busy(side, "Saving"):
        comparison.save(directory, overwrite=job.overwrite)
        fault = _draw(comparison, directory)
    files = [name for name in FILES if (directory / name).exists()]
    seconds = time.perf_counter() - started
    if job.as_json:
        places = {"directory": str(directory), "files": files, "seconds": round(seconds, 3)}
        facts = {"answer": comparison.sentence, "rows": comparison.records()}
        typer.echo(json.dumps(without_nan({**places, **comparison.about, **facts}), indent=2))
    show_comparison(screen, comparison, len(test.y))
    for note in notes(comparison):
        screen.print(f"Note: {note}", style="yellow")
    screen.print()
    screens.show_facts(screen, {"Answer": comparison.sentence})
    screens.show_title(screen, "Saved", f"after {screens.show_time(seconds)}")
    screens.show_files(screen, {str(directory / name): FILES[name] for name in files})
    if fault is not None:
        raise fault


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
            side.print(
                f"Note: {label} is left out. It is adam with decoupled decay, which is compared "
                "with adam anyway.",
                style="yellow",
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
    """Write page and pictures; a fault is handed back, for the results come first."""
    fault: Exception | None = None
    try:
        write_comparison(comparison, directory / "report.html")
    except Exception as error:
        fault = error
    if importlib.util.find_spec("matplotlib") is None:
        return fault
    try:
        display = plot_comparison(comparison.differences, baseline="none", measure="test loss")
        for name in ("comparison.png", "comparison.svg"):
            display.save(directory / name)
    except Exception as error:
        fault = error
    return fault
