"""The options of ``shrinkage train``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from shrinkage.cli import options as shared
from shrinkage.cli.options import HOW_UNLESS_GIVEN, How, Output, Training, What, command

EXAMPLES = (
    "Example: shrinkage train --penalty l2:1e-3 --patience 10\n\n"
    "Example: shrinkage train --penalty 'group_lasso:3e-3@0.*' --penalty l2:1e-4\n\n"
    "Example: shrinkage train --epochs 500 --out runs/long (Ctrl-C), then again with --resume"
)


@command
class TrainOptions:
    """Train one model, with validation, early stopping and checkpoints.

    The weights of the epoch with the lowest validation loss are kept. The test rows are used once,
    at the end.
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
    epochs: shared.Epochs
    batch_size: shared.BatchSize
    scheduler: shared.Scheduler
    lr: shared.LearningRate
    optimizer: shared.Optimizer
    bfloat16: shared.BFloat16
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
    seed: Annotated[
        int,
        Training(
            min=0,
            metavar="N",
            help="Another seed draws other test and validation rows, weights and batches.",
        ),
    ] = 0
    out: Annotated[
        Path | None,
        Output(
            metavar="DIR", show_default="runs/DATA-train", help="Where to save weights and figures."
        ),
    ] = None
    resume: Annotated[
        bool, Output("--resume", help="Resume the run in --out, bit for bit, or start it there.")
    ] = False
    overwrite: shared.Overwrite
    tensorboard: Annotated[bool, Output("--tensorboard", help="Also log for TensorBoard.")] = False
    as_json: shared.AsJson
    quiet: shared.Quiet
    debug: shared.Debug
