"""The options of ``shrinkage compare`` that no other command has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from shrinkage.cli.options import (
    CompileOption,
    DataOptions,
    FoldOptions,
    Grid,
    LearningOptions,
    ModelOptions,
    Output,
    PrecisionOption,
    ScreenOptions,
    SeedOption,
    Seeds,
    SelectOption,
    Training,
    What,
)


@dataclass(frozen=True)
class MethodOptions:
    """What is compared."""

    methods: Annotated[
        str | None,
        What(
            metavar="LIST",
            show_default="all",
            help="Any of l2, l1, elastic_net, group_lasso, decoupled_decay (AdamW's), dropout, "
            "label_smoothing, early_stopping and best_pair, which joins the two best. No "
            "regularization is always included.",
        ),
    ] = None


@dataclass(frozen=True)
class ValueOptions:
    """How hard each method is tuned."""

    values: Annotated[
        int,
        Grid(min=4, metavar="N", help="How many values each method is tuned over, including none."),
    ] = 8


@dataclass(frozen=True)
class OptimizerOptions:
    """With which optimizers."""

    optimizer: Annotated[
        str,
        Training(
            metavar="LIST",
            help="Any of adam, adamw, sgd and rmsprop, each with an optional learning rate: "
            "adam,sgd:0.05. The rate is not tuned; without one it is 0.001, for sgd 0.1.",
        ),
    ] = "adam"


@dataclass(frozen=True)
class CompareOutputOptions:
    """Where results go."""

    out: Annotated[
        Path | None,
        Output(
            metavar="DIR",
            show_default="runs/DATA-compare",
            help="Where to save numbers and figures.",
        ),
    ] = None
    overwrite: Annotated[bool, Output("--overwrite", help="Replace an existing comparison.")] = (
        False
    )


@dataclass(frozen=True)
class FewerSeeds(FoldOptions):
    """How many members a value."""

    seeds: Seeds = 2


@dataclass(frozen=True)
class CompareOptions(
    ScreenOptions,
    CompareOutputOptions,
    PrecisionOption,
    CompileOption,
    OptimizerOptions,
    LearningOptions,
    SeedOption,
    FewerSeeds,
    ValueOptions,
    SelectOption,
    MethodOptions,
    ModelOptions,
    DataOptions,
):
    """The options of ``shrinkage compare``."""
