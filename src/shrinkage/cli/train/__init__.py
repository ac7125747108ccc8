"""``shrinkage train``: what is loaded, and when."""

from __future__ import annotations

import time

from shrinkage.cli import screens
from shrinkage.cli.train.options import TrainOptions

EXAMPLES = (
    "Example: shrinkage train --penalty l2:1e-3 --patience 10\n\n"
    "Example: shrinkage train --penalty 'group_lasso:3e-3@0.*' --penalty l2:1e-4\n\n"
    "Example: shrinkage train --epochs 500 --out runs/long (Ctrl-C), then again with --resume"
)


def train(options: TrainOptions) -> None:
    """Train one model, with validation, early stopping and checkpoints.

    The weights of the epoch with the lowest validation loss are kept. The test rows are used once,
    at the end.
    """
    started = time.perf_counter()
    side = screens.make_console(stderr=True, quiet=options.quiet)
    with screens.loading(side):
        from shrinkage.cli.train.job import run
    screen = screens.make_console(quiet=options.quiet or options.as_json)
    run(options, screen, side, started=started)
