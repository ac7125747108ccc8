"""The ``shrinkage`` command and its options. Torch is loaded only when a run starts."""

from __future__ import annotations

import math
import time
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from shrinkage import __version__
from shrinkage.cli import screens
from shrinkage.cli.exits import Commands, one_line_errors

__all__ = ["app", "main"]

EXAMPLES = (
    "Example: [bold]shrinkage path[/bold] (handwritten digits, L2, 378 small networks)\n\n"
    "Example: [bold]shrinkage path --data breast_cancer --penalty l1[/bold]\n\n"
    "Example: [bold]shrinkage path --strengths 1e-5,1e-4,1e-3 --out runs/mine[/bold]"
)

app = typer.Typer(
    cls=Commands,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EXAMPLES,
)

What: Any = partial(typer.Option, rich_help_panel="What to train")
Grid: Any = partial(typer.Option, rich_help_panel="Strengths, folds, seeds")
Training: Any = partial(typer.Option, rich_help_panel="Training")
Output: Any = partial(typer.Option, rich_help_panel="Output")


def main() -> None:
    """Run the command line."""
    app(prog_name="shrinkage")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"shrinkage {__version__}")
        raise typer.Exit


def _above_zero(value: float) -> float:
    if not 0 < value < math.inf:
        raise typer.BadParameter(f"{value:g} is not a number above 0.")
    return value


@app.callback(invoke_without_command=True)
def shrinkage(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", metavar="", callback=_show_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Regularization for PyTorch: add a penalty, tune its strength, see whether it helped."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command(epilog=EXAMPLES)
def path(
    data: Annotated[
        str,
        What(
            metavar="NAME|DIR",
            help="digits, breast_cancer, wine, iris, diabetes, or a directory of MNIST files. A "
            "fifth of the rows is kept for the test, unless the data bring a test part.",
        ),
    ] = "digits",
    model: Annotated[
        str,
        What(
            metavar="SPEC",
            help="mlp:128 has a hidden layer of 128 units, mlp:64,64 two; linear.",
        ),
    ] = "mlp:128",
    penalty: Annotated[
        str,
        What(
            metavar="NAME",
            help="l2 keeps weights small, l1 makes them zero, elastic_net does both, mcp and scad "
            "make them zero but leave large ones alone. group_lasso drops whole neurons, "
            "sparse_group_lasso also single weights. nuclear_norm lowers the rank of a layer, "
            "spectral_norm its largest gain, orthogonal brings all its gains to 1.",
        ),
    ] = "l2",
    how: Annotated[
        Literal["coupled", "decoupled", "proximal"] | None,
        What(
            metavar="HOW",
            show_default="proximal for l1 and its kin, decoupled with adamw, else coupled",
            help="How the penalty enters a step: coupled adds its gradient to the loss's, "
            "decoupled shrinks before the step, proximal thresholds after it, to exact zeros.",
        ),
    ] = None,
    select: Annotated[
        str | None,
        What(
            metavar="GLOB",
            show_default="every weight, no bias",
            help="Which parameters are penalized, by name: '0.*' is the first layer, '*' is all.",
        ),
    ] = None,
    strengths: Annotated[
        str | None,
        Grid(
            metavar="LIST",
            show_default="automatic",
            help="Such as 1e-5,1e-4,1e-3. Strength 0 is added: the verdict compares with it.",
        ),
    ] = None,
    n_strengths: Annotated[
        int | None,
        Grid(min=2, metavar="N", show_default="20", help="How many strengths, if automatic."),
    ] = None,
    folds: Annotated[
        int,
        Grid(min=2, metavar="N", help="Each fold is held out once, to measure what was learned."),
    ] = 5,
    seeds: Annotated[
        int,
        Grid(min=1, metavar="N", help="Random starts per fold: a mean over starts is less luck."),
    ] = 3,
    epochs: Annotated[
        int, Training(min=1, metavar="N", help="How often each training row is seen.")
    ] = 40,
    batch_size: Annotated[int, Training(min=1, metavar="N", help="Rows per step.")] = 32,
    lr: Annotated[
        float,
        Training(metavar="X", callback=_above_zero, help="Learning rate: the length of a step."),
    ] = 1e-3,
    optimizer: Annotated[
        Literal["adam", "adamw", "sgd", "rmsprop"],
        Training(metavar="NAME", help="adam, adamw, sgd or rmsprop, all without weight decay."),
    ] = "adam",
    compile: Annotated[
        Literal["auto", "on", "off"],
        Training(
            metavar="auto|on|off",
            help="A compiled step is faster, but costs some seconds, once per shape.",
        ),
    ] = "auto",
    out: Annotated[
        Path | None,
        Output(
            metavar="DIR", show_default="runs/DATA-PENALTY", help="Where numbers and pictures go."
        ),
    ] = None,
    overwrite: Annotated[
        bool, Output("--overwrite", metavar="", help="Replace the run that is there.")
    ] = False,
    as_json: Annotated[
        bool, Output("--json", metavar="", help="Print one JSON object, for programs.")
    ] = False,
    quiet: Annotated[
        bool, Output("--quiet", metavar="", help="Print nothing but errors, and --json.")
    ] = False,
    debug: Annotated[
        bool, Output("--debug", metavar="", help="Show the traceback of an error.")
    ] = False,
) -> None:
    """Train at many strengths, cross-validate, choose a strength, and say whether it helped.

    All strengths meet the same folds, starts and batches; no choice ever sees the test rows.
    """
    started = time.perf_counter()
    side = screens.make_console(stderr=True, quiet=quiet)
    with one_line_errors(debug):
        with screens.busy(side, "Loading PyTorch"):
            from shrinkage.cli.inputs import Job
            from shrinkage.cli.job import run
        job = Job(
            data, model, penalty, how, select, strengths, n_strengths, folds, seeds, epochs,
            batch_size, lr, optimizer, compile, out, overwrite,
        )  # fmt: skip
        screen = screens.make_console(quiet=quiet or as_json)
        run(job, screen, side, as_json=as_json, started=started)
