"""What does successive halving lose against the full grid?

The paths of ``benchmarks/grid.py``: every bundled data set, four architectures, several ways to
train. Who would be dropped when is read from the full table, since a point that goes on is the same
to the bit. Regret is the cross-validated loss of the strength that is left minus that of the best
one, in percent of the latter. Gain lost is the regret by what the best strength gains over strength
0, where that is more than 0.1%.

    python benchmarks/halving.py [--training adam]
"""

from __future__ import annotations

import argparse
import math
import statistics
import sys
from pathlib import Path

import torch
from torch import Tensor

from shrinkage import PathResult
from shrinkage.engine.halving import rungs

sys.path.insert(0, str(Path(__file__).parent))
from grid import SHORT, paths

FACTORS = (2, 3)


def by_epoch(result: PathResult) -> Tensor:
    """Return the cross-validated loss after each epoch, (K, E), infinite where one diverged."""
    rows = torch.bincount(result.folds).double()
    losses = result.valid_loss.double().mean(2)
    mean = torch.einsum("kfe,f->ke", losses, rows / rows.sum())
    return mean.nan_to_num(nan=math.inf)


def halved(losses: Tensor, factor: int) -> tuple[int, float]:
    """Return the strength that halving would choose, and the share of the epochs it takes."""
    points, left, before, spent = torch.arange(len(losses)), len(losses), 0, 0
    ladder = rungs(losses.shape[1], factor)
    for epochs in ladder:
        spent += len(points) * (epochs - before)
        before = epochs
        if epochs < ladder[-1]:
            left = math.ceil(left / factor)
            best = losses[points, epochs - 1].argsort(stable=True)[:left]
            points = torch.cat([torch.tensor([0]), points[best]]).unique()
    return int(points[losses[points, -1].argmin()]), spent / losses.numel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--training", choices=SHORT, help="only this one")
    only = parser.parse_args().training
    torch.set_num_threads(1)
    print("| training | halving | epochs | same choice | regret: mean, largest | gain lost |")
    print("|---|---|---|---|---|---|")
    for training in [only] if only else SHORT:
        tables = [by_epoch(result) for _, _, result in paths(training)]
        for factor in FACTORS:
            chosen = [halved(losses, factor) for losses in tables]
            ends = [losses[:, -1] for losses in tables]
            regrets = [
                float(end[k] / end.min()) - 1 for end, (k, _) in zip(ends, chosen, strict=True)
            ]
            gains = [float(end[0] / end.min()) - 1 for end in ends]
            lost = [r / g for r, g in zip(regrets, gains, strict=True) if g > 1e-3]
            cells = (
                training,
                factor,
                f"{chosen[0][1]:.0%}",
                f"{sum(r == 0 for r in regrets)} of {len(tables)}",
                f"{statistics.mean(regrets):.1%}, {max(regrets):.1%}",
                f"{statistics.mean(lost):.0%} of {len(lost)}",
            )
            print(f"| {' | '.join(map(str, cells))} |", flush=True)
