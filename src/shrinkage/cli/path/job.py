"""The job behind ``shrinkage path``: from options to a saved run."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from shrinkage.choose.choices import best_path, choice_by
from shrinkage.choose.overview import as_plain, overview, rows_of
from shrinkage.cli import screens
from shrinkage.cli.exits import telling_how_to_go_on
from shrinkage.cli.facts import about, data_line
from shrinkage.cli.inputs import class_labels, make_trials, read_data
from shrinkage.cli.learning import COMPILE
from shrinkage.cli.path.arguments import (
    check_solver,
    combinations_of,
    make_penalty,
    read_grid,
    read_strengths,
    training_of,
)
from shrinkage.cli.path.lines import show_path
from shrinkage.cli.path.options import PathOptions
from shrinkage.cli.path.screen import (
    grid_line,
    member_line,
    members_line,
    model_line,
    penalty_line,
    show_summary,
)
from shrinkage.cli.places import Saved, check_free, draw, free_directory
from shrinkage.engine import fit_path
from shrinkage.parameters import weights
from shrinkage.plots import save_figures
from shrinkage.result.path_result import PathResult

if TYPE_CHECKING:
    from rich.console import Console

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
    train, test, facts = read_data(job, side)
    name = f"{train.name}-{job.penalty}"
    check_free(job.out or free_directory(name, job.overwrite), job.overwrite)
    trials = make_trials(job, train, dropout="dropout" in grid)
    lines = {
        "Data": data_line(facts, trials.preprocess),
        "Network": model_line(job, grid, trials.explained),
        "Penalty": penalty_line(penalty, how, trials.explained),
        "Knobs": grid_line(grid, job.draws),
        "Training": member_line(job, grid),
        "Members": members_line(job, strengths, combinations_of(grid, job.draws)),
    }
    screens.show_facts(screen, {label: line for label, line in lines.items() if line})
    with (
        screens.warnings_as_notes(side),
        telling_how_to_go_on(job.checkpoint),
        screens.live_progress(side) as progress,
    ):
        result = fit_path(
            trials.factory,
            train.X,
            train.y,
            penalty,
            test=(test.X, test.y),
            classes=class_labels(train),
            strengths=strengths,
            grid=grid or None,
            draws=job.draws,
            refine=job.refine,
            folds=trials.folds,
            preprocess=trials.preprocess,
            select=job.select or weights,
            **training,
            compile=COMPILE[job.compile],
            progress=progress,
            checkpoint=job.checkpoint,
        )
    result = replace(result, about={**result.about, **about(), "data": facts})
    seen = overview(best_path(result), result)
    if not seen.choices:
        screen.print()
        show_path(screen, rows_of(seen.columns), {})
    best = choice_by("minimum", result)  # says why where there is none
    summary = as_plain(seen)
    directory = job.out or free_directory(name, job.overwrite)
    with screens.busy(side, "Saving"):
        result.save(directory, overwrite=job.overwrite, choice=best)
        fault = _draw(result, directory)
    saved = Saved(directory, FILES, time.perf_counter() - started, fault)
    if job.as_json:
        saved.print_json({**result.about, **summary})
    show_summary(screen, summary, len(test.y))
    saved.show(screen, f"; engine {result.about.get('engine', '')}")


def _draw(result: PathResult, directory: Path) -> Exception | None:
    page = partial(result.report, directory / "report.html", overwrite=True)
    return draw(partial(save_figures, result, directory), page)
