"""The job behind ``shrinkage path``: from options to a saved run."""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from shrinkage.choose.choices import best_path, choice_by
from shrinkage.choose.overview import path_rows, summarize
from shrinkage.cli import screens
from shrinkage.cli.exits import usage
from shrinkage.cli.facts import about, data_line, without_nan
from shrinkage.cli.inputs import (
    folds_of,
    make_factory,
    make_penalty,
    make_preprocessing,
    read_data,
    read_strengths,
)
from shrinkage.cli.learning import check_solver, training_of
from shrinkage.cli.notes import warnings_as_notes
from shrinkage.cli.path.knobs import combinations_of, grid_line, read_grid
from shrinkage.cli.path.lines import show_path
from shrinkage.cli.path.options import PathOptions
from shrinkage.cli.path.screen import (
    members_line,
    model_line,
    penalty_line,
    show_summary,
    training_line,
)
from shrinkage.cli.places import check_free, free_directory
from shrinkage.engine import fit_path
from shrinkage.errors import ShrinkageError
from shrinkage.parameters import explain_selection, weights
from shrinkage.plots import save_figures
from shrinkage.result.path_result import PathResult

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
    check_solver(job, penalty)
    grid = read_grid(job, penalty)
    strengths = read_strengths(job, side)
    training = training_of(job, how)
    with screens.busy(side, "Reading the data"):
        train, test, data_facts = read_data(job, side)
    check_free(
        job.out or free_directory(f"{train.name}-{job.penalty}", job.overwrite), job.overwrite
    )
    with usage("--model"):
        factory = make_factory(job, train, dropout="dropout" in grid)
        first = factory()
    with usage("--select"):
        explained = explain_selection(first, job.select or weights)
    with usage("--folds"):
        folds = folds_of(job, train)
    preprocess = make_preprocessing(train)
    lines = {
        "Data": data_line(data_facts) + (", standardized" if preprocess else ""),
        "Network": model_line(job, grid, explained),
        "Penalty": penalty_line(penalty, how, explained),
        "Knobs": grid_line(grid, job.draws),
        "Training": training_line(job, grid),
        "Members": members_line(job, strengths, combinations_of(grid, job.draws)),
    }
    screens.show_facts(screen, {label: line for label, line in lines.items() if line})
    with (
        warnings_as_notes(side),
        _telling_how_to_go_on(job),
        screens.live_progress(side) as progress,
    ):
        result = fit_path(
            factory,
            train.X,
            train.y,
            penalty,
            test=(test.X, test.y),
            strengths=strengths,
            grid=grid or None,
            draws=job.draws,
            refine=job.refine,
            folds=folds,
            preprocess=preprocess,
            select=job.select or weights,
            **training,
            compile=COMPILE[job.compile],
            progress=progress,
            checkpoint=job.checkpoint,
        )
    result = replace(result, about={**result.about, **about(), "data": data_facts})
    try:
        best = choice_by("minimum", result)
    except ShrinkageError:
        screen.print()
        show_path(screen, path_rows(best_path(result)), {})
        raise
    summary = summarize(result)
    directory = job.out or free_directory(f"{train.name}-{job.penalty}", job.overwrite)
    with screens.busy(side, "Saving"):
        result.save(directory, overwrite=job.overwrite, choice=best)
        fault = _draw(result, directory)
    files = [name for name in FILES if (directory / name).exists()]
    seconds = time.perf_counter() - started
    if job.as_json:
        run_facts = {"directory": str(directory), "files": files, "seconds": round(seconds, 3)}
        typer.echo(json.dumps(without_nan({**run_facts, **result.about, **summary}), indent=2))
    show_summary(screen, summary, len(test.y))
    engine = result.about.get("engine", "")
    screens.show_title(screen, "Saved", f"after {screens.show_time(seconds)}; engine {engine}")
    screens.show_files(screen, {str(directory / name): FILES[name] for name in files})
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
        typer.echo(f"Stopped. The same command resumes from {job.checkpoint}.", err=True)
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
