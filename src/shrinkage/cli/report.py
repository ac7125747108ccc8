"""``shrinkage report``: a saved run as one HTML file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from shrinkage.cli import screens
from shrinkage.cli.exits import one_line_errors
from shrinkage.errors import ShrinkageError

EXAMPLE = "Example: shrinkage report runs/digits-l2"


def report(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", help="A directory that shrinkage path saved.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", show_default="RUN/report.html", help="Where the report goes."),
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an existing file.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print only errors.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Write the report of a run: one HTML file that says whether the penalty helped, and shows why.

    The file needs no network, so you can send it as it is.
    """
    side = screens.make_console(stderr=True, quiet=quiet)
    with one_line_errors(debug):
        _check(run)
        with screens.loading(side):
            from shrinkage.result.path_result import PathResult
        with screens.busy(side, "Reading the run"):
            path = out or run / "report.html"
            result = PathResult.load(run)
            result.report(path, overwrite=overwrite)
            from shrinkage.report.slices import slices

            headline = slices(result, most=1)[0].findings.headline
        screen = screens.make_console(quiet=quiet)
        screens.show_facts(screen, {"Verdict": headline})
        screens.show_files(
            screen, {str(path): f"{path.stat().st_size / 1000:,.0f} kB, opens offline"}
        )


def _check(run: Path) -> None:
    """Refuse what is no run before PyTorch is loaded, which takes longer than all the rest."""
    from shrinkage.disk.run_directory import MANIFEST, check_run

    if (run / "comparison.csv").is_file():
        raise ShrinkageError(
            f"{run} holds a comparison, and its report is {run / 'report.html'}. For the "
            f"report of one method give a directory in {run / 'paths'}."
        )
    inside = sorted(str(place.parent) for place in run.glob(f"*/{MANIFEST}"))
    if inside and not (run / MANIFEST).exists():
        raise ShrinkageError(
            f"{run} is not a run, but it holds some. Give one of {', '.join(inside[:5])}"
            + (" ..." if len(inside) > 5 else ".")
        )
    check_run(run)
