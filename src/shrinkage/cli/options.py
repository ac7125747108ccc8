"""Every option, defined once: its field is the option, its help, its default and its TOML key."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

Missing = Literal["refuse", "drop", "mean"]

What: Any = partial(typer.Option, rich_help_panel="What to train")
Grid: Any = partial(typer.Option, rich_help_panel="Strengths, folds, seeds")
Training: Any = partial(typer.Option, rich_help_panel="Training")
Output: Any = partial(typer.Option, rich_help_panel="Output")


How = Literal["coupled", "decoupled", "proximal"]
HOW_UNLESS_GIVEN = "proximal for l1 and its kin, decoupled with adamw, else coupled"
Seeds = Annotated[
    int,
    Grid(
        min=1, metavar="N", help="Random starts per fold; a mean over several depends less on luck."
    ),
]
Overwrite = Annotated[bool, Output("--overwrite", help="Replace an existing run.")]


def _above_zero(value: float) -> float:
    if not 0 < value < math.inf:
        raise typer.BadParameter(f"{value:g} is not a number above 0.")
    return value


@dataclass(frozen=True)
class DataOptions:
    """Which rows."""

    data: Annotated[
        str,
        What(
            metavar="NAME|FILE",
            help="digits, breast_cancer, wine, iris, diabetes; a .csv, .tsv, .parquet or .npz "
            "file; or a directory of MNIST files. A fifth of the rows is kept for the test, unless "
            "the data have a test part of their own.",
        ),
    ] = "digits"
    target: Annotated[
        str | None,
        What(
            metavar="NAME",
            show_default="y of an .npz",
            help="The column of a table to predict. The other columns become features; a column of "
            "texts becomes one 0/1 feature for each text.",
        ),
    ] = None
    task: Annotated[
        Literal["classification", "regression"] | None,
        What(
            metavar="TASK",
            show_default="classes if text, or at most 20 whole numbers",
            help="classification or regression, where the target could be either.",
        ),
    ] = None
    missing: Annotated[
        Missing,
        What(
            metavar="POLICY",
            help="What to do about missing values: refuse them; drop their rows; or mean, which "
            "fills in the mean of the training rows.",
        ),
    ] = "refuse"
    ignore: Annotated[
        list[str] | None,
        What(metavar="NAME", show_default="none", help="A column to leave out; may be repeated."),
    ] = None
    groups: Annotated[
        str | None,
        What(
            metavar="NAME",
            show_default="each row by itself",
            help="The column that says which rows belong together, such as those of one patient. "
            "They stay in one fold, or all in the test part. The column is not used as a "
            "feature.",
        ),
    ] = None
    max_bytes: Annotated[
        int,
        What(
            min=1,
            metavar="N",
            show_default="2 GiB",
            help="Largest size of an unpacked file in bytes: a guard against damaged files.",
        ),
    ] = 2 * 1024**3


@dataclass(frozen=True)
class ModelOptions:
    """Which model."""

    model: Annotated[
        str,
        What(
            metavar="SPEC",
            help="mlp:128 has a hidden layer of 128 units, mlp:64,64 two, mlp:64,dropout=0.5 "
            "drops half of them at random; linear; cnn for images; or your own module:factory, "
            "called with the numbers of inputs and outputs.",
        ),
    ] = "mlp:128"


@dataclass(frozen=True)
class SelectOption:
    """Which tensors are penalized."""

    select: Annotated[
        str | None,
        What(
            metavar="GLOB",
            show_default="every weight, no bias",
            help="Which parameters to penalize, by name: '0.*' is the first layer, '*' is all.",
        ),
    ] = None


@dataclass(frozen=True)
class FoldOptions:
    """How many members a strength."""

    folds: Annotated[
        int,
        Grid(
            min=2,
            metavar="N",
            help="How many parts the rows are split into; each is held out once.",
        ),
    ] = 5
    repeats: Annotated[
        int,
        Grid(
            min=1,
            metavar="N",
            help="How many times the rows are split into folds; a mean depends less on luck.",
        ),
    ] = 1
    seeds: Seeds = 3


@dataclass(frozen=True)
class LearningOptions:
    """How long a member learns, and how fast."""

    epochs: Annotated[
        int, Training(min=1, metavar="N", help="How often each training row is seen.")
    ] = 40
    batch_size: Annotated[int, Training(min=1, metavar="N", help="Rows per step.")] = 32
    scheduler: Annotated[
        str | None,
        Training(
            metavar="SPEC",
            show_default="constant",
            help="How the learning rate falls: step:5,0.7 multiplies it by 0.7 every 5 epochs, "
            "exponential:0.9 by 0.9 every epoch; cosine lowers it to 0 at the last epoch.",
        ),
    ] = None


@dataclass(frozen=True)
class TrainingOptions(LearningOptions):
    """How a member learns."""

    lr: Annotated[
        float,
        Training(metavar="X", callback=_above_zero, help="Learning rate: the length of a step."),
    ] = 1e-3
    optimizer: Annotated[
        Literal["adam", "adamw", "sgd", "rmsprop"],
        Training(metavar="NAME", help="adam, adamw, sgd or rmsprop, all without weight decay."),
    ] = "adam"


@dataclass(frozen=True)
class PrecisionOption:
    """In which type forward passes compute."""

    bfloat16: Annotated[
        bool,
        Training("--bfloat16", help="Compute forward passes in bfloat16, as torch.autocast does."),
    ] = False


@dataclass(frozen=True)
class CompileOption:
    """How a step runs."""

    compile: Annotated[
        Literal["auto", "on", "off"],
        Training(
            metavar="auto|on|off",
            help="A compiled step is faster, but compiling takes some seconds, once per shape.",
        ),
    ] = "auto"


@dataclass(frozen=True)
class SeedOption:
    """Which random numbers."""

    seed: Annotated[
        int,
        Grid(
            min=0,
            metavar="N",
            help="Another seed draws other test rows, folds, starts and batches.",
        ),
    ] = 0


@dataclass(frozen=True)
class OutputOptions:
    """Where results go."""

    out: Annotated[
        Path | None,
        Output(
            metavar="DIR",
            show_default="runs/DATA-PENALTY",
            help="Where to save numbers and figures.",
        ),
    ] = None
    overwrite: Overwrite = False


@dataclass(frozen=True)
class ScreenOptions:
    """What is shown."""

    as_json: Annotated[bool, Output("--json", help="Print one JSON object, for programs.")] = False
    quiet: Annotated[bool, Output("--quiet", help="Print only errors, and --json.")] = False
    debug: Annotated[bool, Output("--debug", help="Show the traceback of an error.")] = False
