"""The job behind ``shrinkage path``: from options to a saved run."""

from __future__ import annotations

import importlib.util
import json
import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from shrinkage.choose import minimum, one_standard_error
from shrinkage.cli import screens
from shrinkage.cli.exits import usage
from shrinkage.cli.facts import about, data_line, without_nan
from shrinkage.cli.inputs import (
    check_classes,
    make_penalty,
    make_preprocessing,
    read_data,
    read_strengths,
)
from shrinkage.cli.options import PathOptions
from shrinkage.cli.places import check_free, free_directory
from shrinkage.cli.summary import path_rows, summarize
from shrinkage.cli.training import make_optimizer, make_scheduler
from shrinkage.data import Dataset
from shrinkage.engine import fit_path
from shrinkage.engine.folds import make_folds
from shrinkage.errors import ShrinkageError
from shrinkage.models import make_model
from shrinkage.parameters import explain_selection, weights
from shrinkage.plots import save_figures
from shrinkage.result import PathResult

if TYPE_CHECKING:
    from rich.console import Console

COMPILE: dict[str, Any] = {"auto": "auto", "on": True, "off": False}
FILES = {
    "path.png": "picture of the path",
    "path.svg": "the same, to scale",
    "results.csv": "losses of every epoch",
    "weights.safetensors": "model at the minimum",
    "path.safetensors": "every number, exact",
    "manifest.json": "facts and checksums",
    "report.html": "the report: open it, send it",
}


def run(job: PathOptions, screen: Console, side: Console, *, started: float) -> None:
    """Check everything, train, save, show.

    Args:
        job: What to do.
        screen: For results.
        side: For progress and notes.
        started: When the command started, by `time.perf_counter`.
    """
    penalty, how = make_penalty(job)
    strengths = read_strengths(job, side)
    with screens.busy(side, "Reading the data"):
        train, test, data_facts = read_data(job)
    check_free(
        job.out or free_directory(f"{train.name}-{job.penalty}", job.overwrite), job.overwrite
    )
    with usage("--model"):
        factory = make_model(job.model, train.X.shape[1], train.outputs, train.feature_shape)
        first = factory()
    with usage("--select"):
        explained = explain_selection(first, job.select or weights)
    with usage("--folds"):
        check_classes(job, train)
        folds = make_folds(job.folds, train.X, train.y, seed=job.seed, groups=train.groups)
    scheduler = make_scheduler(job)
    preprocess = make_preprocessing(train)
    names = [row.name for row in explained if row.selected]
    size = sum(row.tensor.numel() for row in explained)
    header = {
        "Data": data_line(data_facts) + (", standardized" if preprocess else ""),
        "Network": f"{job.model}, {size:,} parameters",
        "Penalty": f"{type(penalty).__name__} on {_listed(names)}, {how}",
        "Training": f"{job.optimizer}, learning rate {job.lr:g}, batches of {job.batch_size}, "
        f"{job.epochs} epochs" + (f", {job.scheduler}" if job.scheduler else ""),
        "Members": _members_line(job, strengths),
    }
    screens.show_facts(screen, header)
    with _telling_how_to_go_on(job), screens.live_progress(side) as progress:
        result = fit_path(
            factory,
            train.X,
            train.y,
            penalty,
            test=(test.X, test.y),
            strengths=strengths,
            refine=job.refine,
            folds=folds.of_rows.tolist(),
            seeds=range(job.seed * job.seeds, (job.seed + 1) * job.seeds),
            epochs=job.epochs,
            batch_size=job.batch_size,
            optimizer=make_optimizer(job),
            scheduler=scheduler,
            preprocess=preprocess,
            select=job.select or weights,
            how=how,
            compile=COMPILE[job.compile],
            progress=progress,
            checkpoint=job.checkpoint,
        )
    result = replace(result, about={**result.about, **about(), "data": data_facts})
    try:
        choices = minimum(result), one_standard_error(result)
    except ShrinkageError:
        screen.print()
        screens.show_path(screen, path_rows(result), {})
        raise
    summary = summarize(result, *choices)
    directory = job.out or free_directory(f"{train.name}-{job.penalty}", job.overwrite)
    with screens.busy(side, "Saving"):
        result.save(directory, overwrite=job.overwrite, choice=choices[0])
        fault = _draw(result, directory)
    files = [name for name in FILES if (directory / name).exists()]
    seconds = time.perf_counter() - started
    if job.as_json:
        run_facts = {"directory": str(directory), "files": files, "seconds": round(seconds, 3)}
        typer.echo(json.dumps(without_nan({**run_facts, **result.about, **summary}), indent=2))
    _show(screen, summary, test, directory, files, seconds, result.about.get("engine", ""))
    if fault is not None:
        raise fault


@contextmanager
def _telling_how_to_go_on(job: PathOptions) -> Iterator[None]:
    """End a stopped training that has a checkpoint with 130, or what the signal asks for."""
    try:
        yield
    except (KeyboardInterrupt, SystemExit) as stop:
        if job.checkpoint is None:
            raise
        typer.echo(f"Stopped. The same command goes on from {job.checkpoint}.", err=True)
        code = stop.code if isinstance(stop, SystemExit) else 130
        raise typer.Exit(int(code or 0)) from None


def _draw(result: PathResult, directory: Path) -> Exception | None:
    """Write the report, and figures if matplotlib is there; a fault is handed back, not raised."""
    fault = None
    try:
        result.report(directory / "report.html", overwrite=True)
    except Exception as error:
        fault = error
    if importlib.util.find_spec("matplotlib") is None:
        return fault
    try:
        save_figures(result, directory)
    except Exception as error:
        fault = error
    return fault


def _show(
    screen: Console,
    summary: dict[str, Any],
    test: Dataset,
    directory: Path,
    files: list[str],
    seconds: float,
    engine: str,
) -> None:
    rows = summary["strengths"]
    screens.show_title(screen, "Cross-validation", "mean and standard error (SE) over the folds")
    screens.show_path(screen, rows, {"no_penalty": {"index": 0}, **summary["choices"]})
    for advice in _advice(summary):
        screen.print(f"Note: {advice}", style="yellow")
    spread = summary["test"][0]["loss_sd"]
    kept = f"{len(test.y):,} rows that no choice has seen"
    kept += "; mean and deviation over the seeds" if math.isfinite(spread) else ""
    screens.show_title(screen, "Test", kept)
    screens.show_test(screen, summary["test"])
    screen.print()
    screens.show_facts(screen, {"Verdict": screens.color_verdict(summary["verdict"])})
    screens.show_title(screen, "Saved", f"after {screens.show_time(seconds)}; engine {engine}")
    screens.show_files(screen, {str(directory / name): FILES[name] for name in files})


def _members_line(job: PathOptions, strengths: int | list[float]) -> str:
    n = (strengths + 1 if isinstance(strengths, int) else len(strengths)) + job.refine
    more = f" ({job.refine} around the best)" if job.refine else ""
    seeds = f"{job.seeds} seed{'s' * (job.seeds > 1)}"
    return (
        f"{n} strengths{more} x {job.folds} folds x {seeds} = {n * job.folds * job.seeds:,}, "
        f"plus {n * job.seeds:,} refits on all rows"
    )


def _listed(names: list[str], most: int = 4) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _advice(summary: dict[str, Any]) -> list[str]:
    """What to do about a choice at the edge of the grid."""
    last = len(summary["strengths"]) - 1
    ends: dict[int, tuple[str, tuple[float, ...]]] = {
        1: ("smallest", (0.01, 0.1, 1)),
        last: ("largest", (1, 10, 100)),
    }
    if last == 1:
        ends = {1: ("only one", (0.01, 0.1, 1, 10, 100))}
    places = {choice["index"] for choice in summary["choices"].values() if choice["at_edge"]}
    advice = []
    for place in sorted(places):
        word, factors = ends[place]
        strength = summary["strengths"][place]["strength"]
        tries = ",".join(f"{strength * factor:.0e}" for factor in factors)
        advice.append(
            f"a chosen strength is the {word} of the grid; a better one may lie beyond. "
            f"Try --strengths {tries}"
        )
    return advice
