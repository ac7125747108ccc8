"""The options of ``shrinkage path``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from shrinkage.cli import options as shared
from shrinkage.cli.options import HOW_UNLESS_GIVEN, Grid, How, Output, Training, What, command

EXAMPLES = (
    "Example: shrinkage path (handwritten digits, L2, 378 small networks)\n\n"
    "Example: shrinkage path --data breast_cancer --penalty l1\n\n"
    "Example: shrinkage path --strengths 1e-5,1e-4,1e-3 --out runs/mine"
)


@command
class PathOptions:
    """Train at many strengths, cross-validate, choose a strength, and say whether it helped.

    All strengths share folds, starts and batches, and no choice ever sees the test rows.
    """

    data: shared.Data
    target: shared.Target
    task: shared.Task
    missing: shared.Missing
    ignore: shared.Ignore
    groups: shared.Groups
    max_bytes: shared.MaxBytes
    model: shared.Model
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
    select: shared.Select
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
    folds: shared.Folds
    repeats: shared.Repeats
    seeds: shared.Seeds
    seed: shared.Seed
    epochs: shared.Epochs
    batch_size: shared.BatchSize
    scheduler: shared.Scheduler
    lr: shared.LearningRate
    optimizer: shared.Optimizer
    compile: shared.Compile
    solver: Annotated[
        Literal["steps", "exact"],
        Training(
            metavar="steps|exact",
            help="exact finds the minimum itself; it needs --model linear and a convex penalty.",
        ),
    ] = "steps"
    bfloat16: shared.BFloat16
    out: Annotated[
        Path | None,
        Output(
            metavar="DIR",
            show_default="runs/DATA-PENALTY",
            help="Where to save numbers and figures.",
        ),
    ] = None
    overwrite: shared.Overwrite
    checkpoint: Annotated[
        Path | None,
        Output(
            metavar="DIR",
            show_default="nothing is kept",
            help="Keep here what has been trained. After a stop, the same command resumes from it; "
            "with more strengths, seeds or epochs it trains only what is new.",
        ),
    ] = None
    as_json: shared.AsJson
    quiet: shared.Quiet
    debug: shared.Debug
