"""The options of ``shrinkage train`` that no other command has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from shrinkage.cli.options import (
    HOW_UNLESS_GIVEN,
    DataOptions,
    How,
    ModelOptions,
    Output,
    Overwrite,
    PrecisionOption,
    ScreenOptions,
    Training,
    TrainingOptions,
    What,
)


@dataclass(frozen=True)
class TrainPenaltyOptions:
    """Which penalties, on which tensors, and how."""

    penalty: Annotated[
        list[str] | None,
        What(
            metavar="NAME:STRENGTH",
            show_default="none",
            help="A penalty such as l2:1e-3; l1:0.1@0.* is for the parameters whose names match "
            "0.*. May be repeated: the first matching pattern wins; one without is for all "
            "other weights.",
        ),
    ] = None
    how: Annotated[
        How | None,
        What(
            metavar="HOW",
            show_default=HOW_UNLESS_GIVEN,
            help="How the penalties enter a step; see shrinkage path --help.",
        ),
    ] = None


@dataclass(frozen=True)
class WatchOptions:
    """What is watched, and when it ends."""

    valid: Annotated[
        float,
        Training(metavar="X", help="Fraction of the training rows to hold out for validation."),
    ] = 0.2
    patience: Annotated[
        int | None,
        Training(
            min=1,
            metavar="N",
            show_default="never",
            help="Stop after N epochs without a smaller validation loss.",
        ),
    ] = None


@dataclass(frozen=True)
class TrainSeedOption:
    """Which random numbers."""

    seed: Annotated[
        int,
        Training(
            min=0,
            metavar="N",
            help="Another seed draws other test and validation rows, weights and batches.",
        ),
    ] = 0


@dataclass(frozen=True)
class TrainOutputOptions:
    """Where results go."""

    out: Annotated[
        Path | None,
        Output(
            metavar="DIR", show_default="runs/DATA-train", help="Where to save weights and figures."
        ),
    ] = None
    resume: Annotated[bool, Output("--resume", help="Resume the run in --out, bit for bit.")] = (
        False
    )
    overwrite: Overwrite = False
    tensorboard: Annotated[bool, Output("--tensorboard", help="Also log for TensorBoard.")] = False


@dataclass(frozen=True)
class TrainOptions(
    ScreenOptions,
    TrainOutputOptions,
    TrainSeedOption,
    WatchOptions,
    PrecisionOption,
    TrainingOptions,
    TrainPenaltyOptions,
    ModelOptions,
    DataOptions,
):
    """The options of ``shrinkage train``."""
