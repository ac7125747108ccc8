"""The options that several commands have, each defined once: its type, its default, its help."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal, TypeVar, dataclass_transform, get_type_hints

import typer

What: Any = partial(typer.Option, rich_help_panel="What to train")
Grid: Any = partial(typer.Option, rich_help_panel="Strengths, folds, seeds")
Training: Any = partial(typer.Option, rich_help_panel="Training")
Output: Any = partial(typer.Option, rich_help_panel="Output")

HOW_UNLESS_GIVEN = "proximal for l1 and its kin, decoupled with adamw, else coupled"

Command = TypeVar("Command")


@dataclass_transform(kw_only_default=True, frozen_default=True)
def command(options: type[Command]) -> type[Command]:
    """Make a dataclass of a command's options, in the order of its help.

    Its docstring is the help of the command. A field is annotated by one of the types below, whose
    default it has unless it gives its own.
    """
    for name, kind in get_type_hints(options, include_extras=True).items():
        if not hasattr(options, name):
            setattr(options, name, kind.__metadata__[0])
    return dataclass(frozen=True, kw_only=True)(options)


def _above_zero(value: float) -> float:
    if not 0 < value < math.inf:
        raise typer.BadParameter(f"{value:g} is not a number above 0.")
    return value


How = Literal["coupled", "decoupled", "proximal"]
Data = Annotated[
    str,
    "digits",
    What(
        metavar="NAME|FILE",
        help="digits, breast_cancer, wine, iris, diabetes; a .csv, .tsv, .parquet or .npz "
        "file; or a directory of MNIST files. A fifth of the rows is kept for the test, unless "
        "the data have a test part of their own.",
    ),
]
Target = Annotated[
    str | None,
    None,
    What(
        metavar="NAME",
        show_default="y of an .npz",
        help="The column of a table to predict. The other columns become features; a column of "
        "texts becomes one 0/1 feature for each text.",
    ),
]
Task = Annotated[
    Literal["classification", "regression"] | None,
    None,
    What(
        metavar="TASK",
        show_default="classes if text, or at most 20 whole numbers",
        help="classification or regression, where the target could be either.",
    ),
]
Missing = Annotated[
    Literal["refuse", "drop", "mean"],
    "refuse",
    What(
        metavar="POLICY",
        help="What to do about missing values: refuse them; drop their rows; or mean, which "
        "fills in the mean of the training rows.",
    ),
]
Ignore = Annotated[
    list[str] | None,
    None,
    What(metavar="NAME", show_default="none", help="A column to leave out; may be repeated."),
]
Groups = Annotated[
    str | None,
    None,
    What(
        metavar="NAME",
        show_default="each row by itself",
        help="The column that says which rows belong together, such as those of one patient. "
        "They stay in one fold, or all in the test part. The column is not used as a "
        "feature.",
    ),
]
MaxBytes = Annotated[
    int,
    2 * 1024**3,
    What(
        min=1,
        metavar="N",
        show_default="2 GiB",
        help="Largest size of an unpacked file in bytes: a guard against damaged files.",
    ),
]
Model = Annotated[
    str,
    "mlp:128",
    What(
        metavar="SPEC",
        help="mlp:128 has a hidden layer of 128 units, mlp:64,64 two, mlp:64,dropout=0.5 "
        "drops half of them at random; linear; cnn for images; or your own module:factory, "
        "called with the numbers of inputs and outputs.",
    ),
]
Select = Annotated[
    str | None,
    None,
    What(
        metavar="GLOB",
        show_default="every weight, no bias",
        help="Which parameters to penalize, by name: '0.*' is the first layer, '*' is all.",
    ),
]
Folds = Annotated[
    int,
    5,
    Grid(
        min=2,
        metavar="N",
        help="How many parts the rows are split into; each is held out once.",
    ),
]
Repeats = Annotated[
    int,
    1,
    Grid(
        min=1,
        metavar="N",
        help="How many times the rows are split into folds; a mean depends less on luck.",
    ),
]
Seeds = Annotated[
    int,
    3,
    Grid(
        min=1, metavar="N", help="Random starts per fold; a mean over several depends less on luck."
    ),
]
Seed = Annotated[
    int,
    0,
    Grid(min=0, metavar="N", help="Another seed draws other test rows, folds, starts and batches."),
]
Epochs = Annotated[
    int, 40, Training(min=1, metavar="N", help="How often each training row is seen.")
]
BatchSize = Annotated[int, 32, Training(min=1, metavar="N", help="Rows per step.")]
Scheduler = Annotated[
    str | None,
    None,
    Training(
        metavar="SPEC",
        show_default="constant",
        help="How the learning rate falls: step:5,0.7 multiplies it by 0.7 every 5 epochs, "
        "exponential:0.9 by 0.9 every epoch; cosine lowers it to 0 at the last epoch.",
    ),
]
LearningRate = Annotated[
    float,
    1e-3,
    Training(metavar="X", callback=_above_zero, help="Learning rate: the length of a step."),
]
Optimizer = Annotated[
    Literal["adam", "adamw", "sgd", "rmsprop"],
    "adam",
    Training(metavar="NAME", help="adam, adamw, sgd or rmsprop, all without weight decay."),
]
Compile = Annotated[
    Literal["auto", "on", "off"],
    "auto",
    Training(
        metavar="auto|on|off",
        help="A compiled step is faster, but compiling takes some seconds, once per shape.",
    ),
]
BFloat16 = Annotated[
    bool,
    False,
    Training("--bfloat16", help="Compute forward passes in bfloat16, as torch.autocast does."),
]
Overwrite = Annotated[bool, False, Output("--overwrite", help="Replace an existing run.")]
AsJson = Annotated[bool, False, Output("--json", help="Print one JSON object, for programs.")]
Quiet = Annotated[bool, False, Output("--quiet", help="Print only errors, and --json.")]
Debug = Annotated[bool, False, Output("--debug", help="Show the traceback of an error.")]
