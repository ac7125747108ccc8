"""``shrinkage path``: what is loaded, and when."""

from __future__ import annotations

import time

from shrinkage.cli import screens
from shrinkage.cli.path.options import PathOptions

EXAMPLES = (
    "Example: shrinkage path (handwritten digits, L2, 378 small networks)\n\n"
    "Example: shrinkage path --data breast_cancer --penalty l1\n\n"
    "Example: shrinkage path --strengths 1e-5,1e-4,1e-3 --out runs/mine"
)


def path(options: PathOptions) -> None:
    """Train at many strengths, cross-validate, choose a strength, and say whether it helped.

    All strengths share folds, starts and batches, and no choice ever sees the test rows.
    """
    started = time.perf_counter()
    side = screens.make_console(stderr=True, quiet=options.quiet)
    with screens.loading(side):
        from shrinkage.cli.path.job import run
    screen = screens.make_console(quiet=options.quiet or options.as_json)
    run(options, screen, side, started=started)
