"""The options of ``shrinkage compare``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from shrinkage.cli import options as shared
from shrinkage.cli.options import Grid, Output, Training, What, command

EXAMPLES = (
    "Example: shrinkage compare (handwritten digits, Adam)\n\n"
    "Example: shrinkage compare --data wine --methods l2,l1,dropout,best_pair\n\n"
    "Example: shrinkage compare --data diabetes --optimizer adam,sgd:0.05,rmsprop"
)


@command
class CompareOptions:
    """Tune regularization methods with equal effort, and judge them on test rows none has seen.

    All methods share folds, starts and batches, and are tuned over the same number of values.
    """

    data: shared.Data
    target: shared.Target
    task: shared.Task
    missing: shared.Missing
    ignore: shared.Ignore
    groups: shared.Groups
    max_bytes: shared.MaxBytes
    model: shared.Model
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
    select: shared.Select
    values: Annotated[
        int,
        Grid(min=4, metavar="N", help="How many values each method is tuned over, including none."),
    ] = 8
    folds: shared.Folds
    repeats: shared.Repeats
    seeds: shared.Seeds = 2
    seed: shared.Seed
    epochs: shared.Epochs
    batch_size: shared.BatchSize
    scheduler: shared.Scheduler
    optimizer: Annotated[
        str,
        Training(
            metavar="LIST",
            help="Any of adam, adamw, sgd and rmsprop, each with an optional learning rate: "
            "adam,sgd:0.05. The rate is not tuned; without one it is 0.001, for sgd 0.1.",
        ),
    ] = "adam"
    compile: shared.Compile
    bfloat16: shared.BFloat16
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
    checkpoint: Annotated[
        Path | None,
        Output(
            metavar="DIR",
            show_default="nothing is kept",
            help="Keep here what has been trained. After a stop, the same command resumes from it; "
            "with more methods or seeds it trains only what is new.",
        ),
    ] = None
    as_json: shared.AsJson
    quiet: shared.Quiet
    debug: shared.Debug
