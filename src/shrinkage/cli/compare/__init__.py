"""``shrinkage compare``: what is loaded, and when."""

from __future__ import annotations

import time

from shrinkage.cli import screens
from shrinkage.cli.compare.options import CompareOptions

EXAMPLES = (
    "Example: shrinkage compare (handwritten digits, Adam)\n\n"
    "Example: shrinkage compare --data wine --methods l2,l1,dropout,best_pair\n\n"
    "Example: shrinkage compare --data diabetes --optimizer adam,sgd:0.05,rmsprop"
)


def compare(options: CompareOptions) -> None:
    """Tune regularization methods with equal effort, and judge them on test rows none has seen.

    All methods share folds, starts and batches, and are tuned over the same number of values.
    """
    started = time.perf_counter()
    side = screens.make_console(stderr=True, quiet=options.quiet)
    with screens.loading(side):
        from shrinkage.cli.compare.job import run
    screen = screens.make_console(quiet=options.quiet or options.as_json)
    run(options, screen, side, started=started)
