"""The options of ``shrinkage path`` that no other command has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from shrinkage.cli.options import (
    HOW_UNLESS_GIVEN,
    CompileOption,
    DataOptions,
    FoldOptions,
    Grid,
    How,
    ModelOptions,
    Output,
    OutputOptions,
    PrecisionOption,
    ScreenOptions,
    SeedOption,
    SelectOption,
    Training,
    TrainingOptions,
    What,
)


@dataclass(frozen=True)
class PenaltyOptions:
    """Which penalty, and how."""

    penalty: Annotated[
        str,
        What(
            metavar="NAME",
            help="l2 keeps weights small, l1 makes them zero, elastic_net does both, mcp and scad "
            "make them zero but leave large ones alone. group_lasso drops whole neurons, "
            "sparse_group_lasso single weights too. nuclear_norm lowers the rank of a layer, "
            "spectral_norm its largest gain; orthogonal brings all its gains to 1.",
        ),
    ] = "l2"
    how: Annotated[
        How | None,
        What(
            metavar="HOW",
            show_default=HOW_UNLESS_GIVEN,
            help="How the penalty enters a step: coupled adds its gradient to that of the loss, "
            "decoupled shrinks before the step, proximal thresholds after it to exact zeros.",
        ),
    ] = None


@dataclass(frozen=True)
class StrengthOptions:
    """Which strengths."""

    strengths: Annotated[
        str | None,
        Grid(
            metavar="LIST",
            show_default="automatic",
            help="Strengths such as 1e-5,1e-4,1e-3. Strength 0 is added, for the verdict to "
            "compare with.",
        ),
    ] = None
    n_strengths: Annotated[
        int | None,
        Grid(min=2, metavar="N", show_default="20", help="How many automatic strengths."),
    ] = None
    refine: Annotated[
        int,
        Grid(min=0, metavar="N", help="How many more strengths to add around the best one."),
    ] = 0


@dataclass(frozen=True)
class KnobOptions:
    """What the strengths are crossed with."""

    grid: Annotated[
        list[str] | None,
        Grid(
            metavar="NAME=VALUES",
            show_default="the strength alone",
            help="A knob to cross the strengths with, such as dropout=0,0.2,0.5; may be repeated. "
            "With --draws also a range, such as lr=1e-4..1e-2. Knobs: lr, weight_decay, dropout, "
            "label_smoothing, epochs, and arguments of the penalty, such as l1_ratio.",
        ),
    ] = None
    draws: Annotated[
        int | None,
        Grid(
            min=1,
            metavar="N",
            show_default="every combination",
            help="How many combinations of knobs to draw, each with a whole path of strengths.",
        ),
    ] = None


@dataclass(frozen=True)
class SolverOptions:
    """How a member is fit."""

    solver: Annotated[
        Literal["steps", "exact"],
        Training(
            metavar="steps|exact",
            help="exact finds the minimum itself; it needs --model linear and a convex penalty.",
        ),
    ] = "steps"


@dataclass(frozen=True)
class CheckpointOption:
    """What is kept while training."""

    checkpoint: Annotated[
        Path | None,
        Output(
            metavar="DIR",
            show_default="nothing is kept",
            help="Keep here what has been trained. After a stop, the same command resumes from it; "
            "with more strengths, seeds or epochs it trains only what is new.",
        ),
    ] = None


@dataclass(frozen=True)
class PathOptions(
    ScreenOptions,
    CheckpointOption,
    OutputOptions,
    PrecisionOption,
    SolverOptions,
    CompileOption,
    TrainingOptions,
    SeedOption,
    FoldOptions,
    KnobOptions,
    StrengthOptions,
    SelectOption,
    PenaltyOptions,
    ModelOptions,
    DataOptions,
):
    """The options of ``shrinkage path``."""
