"""How time and memory grow with members, width and epochs.

    python -m benchmarks.growth --out growth.png

Each point is one ``fit_path`` in a fresh process with a warm compile cache, digits, MLP 64-H-10;
one of the three is varied, the others stay. Seconds are those of ``fit_path`` alone; memory is
the largest resident set of the process plus that of its largest worker.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

SIZES = {
    "members": [40, 80, 160, 320, 640],
    "width": [32, 64, 128, 256, 512],
    "epochs": [5, 10, 20, 40, 80],
}
USUAL = {"members": 160, "width": 128, "epochs": 20}


def one(members: int, width: int, epochs: int) -> dict[str, float]:
    import torch
    from torch import nn

    from benchmarks import rivals
    from shrinkage import L2, fit_path

    problem = rivals.load("digits")
    model = nn.Sequential(nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
    run = partial(
        fit_path,
        model,
        torch.from_numpy(problem.X),
        torch.from_numpy(problem.y),
        L2(1.0),
        strengths=members // rivals.FOLDS - 1,
        folds=problem.folds,
        seeds=1,
        batch_size=rivals.BATCH,
        refit=False,
        compile=True,
    )
    run(epochs=1)
    start = time.perf_counter()
    run(epochs=epochs)
    seconds = time.perf_counter() - start
    who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    kilobytes = sum(resource.getrusage(w).ru_maxrss for w in who)
    return {"seconds": seconds, "megabytes": kilobytes / 1024}


def draw(found: dict[str, list[dict[str, float]]], path: Path) -> None:
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator

    figure = Figure(figsize=(10, 3.4), layout="constrained")
    for axes, (name, sizes) in zip(figure.subplots(1, 3, sharey=True), SIZES.items(), strict=True):
        seconds = [point["seconds"] for point in found[name]]
        axes.loglog(sizes, seconds, "o-", label="measured")
        axes.loglog(
            sizes,
            [seconds[-1] * size / sizes[-1] for size in sizes],
            "--",
            color="gray",
            label="proportional",
        )
        axes.set_xlabel(name)
        axes.set_xticks(sizes, map(str, sizes))
        axes.minorticks_off()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:g} s")
        axes.legend(frameon=False)
    figure.savefig(path, dpi=150)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, help="PNG file")
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(**options.one)))
        return
    found: dict[str, list[dict[str, float]]] = {}
    for name, sizes in SIZES.items():
        found[name] = []
        for size in sizes:
            chosen = json.dumps(USUAL | {name: size})
            command = [sys.executable, "-m", "benchmarks.growth", "--one", chosen]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[name].append(json.loads(done.stdout.splitlines()[-1]))
            point = found[name][-1]
            print(
                f"{name} {size}: {point['seconds']:.2f} s, {point['megabytes']:.0f} MB", flush=True
            )
    if options.out:
        draw(found, options.out)


if __name__ == "__main__":
    main()
