"""A network trained to 90% exact zeros is as good as the dense one, and `shrink` makes it small.

    python examples/sparse_network.py                  # handwritten digits, under two minutes
    python examples/sparse_network.py --data DIR       # a directory of MNIST files
    python examples/sparse_network.py --seeds 8 --out DIR

One convolutional network is trained three times from the same weights, on the same batches: without
a penalty, with L1, and with group lasso, whose groups are the filters and neurons. Both penalties
are proximal, so zeros are exact. Each seed draws its own split, start and batches. Accuracies are
means over seeds, with their standard errors; inference is timed in turns, one thread, the smaller
model against the very model it was made from.
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor, nn

from shrinkage import L1, GroupLasso, Penalty, Shrunk, regularize, shrink
from shrinkage.data import Dataset, load_data, split_test

PENALTIES: dict[str, Penalty | None] = {
    "no penalty": None,
    "L1": L1(0.003),
    "group lasso": GroupLasso(0.008),
}
LAYERS = r"(1|6|8)\.weight"  # all but the last: its neurons are the classes
PENALIZED = ("L1", "group lasso")
COLORS = {"no penalty": "#6b6b6b", "L1": "#0072b2", "group lasso": "#d55e00"}
LR, BATCH = 0.1, 64
TIMED_ROWS, TURNS = 512, 40


@dataclass(frozen=True)
class Trained:
    """What one training came to."""

    accuracy: float
    zeros: float
    model: nn.Sequential
    shrunk: Shrunk
    speedup: float


def network(side: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Unflatten(1, (1, side, side)),
        nn.Conv2d(1, 16, 3, padding=1),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        nn.MaxPool2d(side // 4),
        nn.Flatten(),
        nn.Linear(16 * 16, 512),
        nn.ReLU(),
        nn.Linear(512, 256),
        nn.ReLU(),
        nn.Linear(256, classes),
    )


def train(penalty: Penalty | None, train_rows: Dataset, seed: int, epochs: int) -> nn.Sequential:
    torch.manual_seed(seed)
    model = network(train_rows.feature_shape[0], train_rows.outputs)
    optimizer = torch.optim.SGD(model.parameters(), lr=LR, momentum=0.9)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, epochs)
    if penalty is not None:
        regularize(model, optimizer, penalty, select=re.compile(LAYERS))
    for _ in range(epochs):
        for rows in torch.randperm(len(train_rows.y)).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(model(train_rows.X[rows]), train_rows.y[rows]).backward()
            optimizer.step()
        schedule.step()
    return model.eval()


def examine(model: nn.Sequential, test_rows: Dataset) -> Trained:
    with torch.no_grad():
        right = model(test_rows.X).argmax(1) == test_rows.y
    weights = [p for name, p in model.named_parameters() if p.dim() > 1]
    zeros = sum(int((w == 0).sum()) for w in weights) / sum(w.numel() for w in weights)
    shrunk = shrink(model, test_rows.X[:64])
    return Trained(
        right.double().mean().item(),
        zeros,
        model,
        shrunk,
        speedup(model, shrunk.model, test_rows.X),
    )


def speedup(before: nn.Module, after: nn.Module, X: Tensor) -> float:
    """Time both models in turns; return the ratio of their medians."""
    X = X[torch.arange(TIMED_ROWS) % len(X)]
    seconds: dict[nn.Module, list[float]] = {before: [], after: []}
    with torch.inference_mode():
        for _ in range(TURNS):
            for model, times in seconds.items():
                start = time.perf_counter()
                model(X)
                times.append(time.perf_counter() - start)
    return statistics.median(seconds[before]) / statistics.median(seconds[after])


def mean_and_error(values: list[float]) -> tuple[float, float]:
    return statistics.mean(values), statistics.stdev(values) / len(values) ** 0.5


def show(runs: dict[str, list[Trained]], console: Console) -> None:
    dense, error = mean_and_error([run.accuracy for run in runs["no penalty"]])
    table = Table(
        "trained with", "test accuracy", "zeros", "parameters", "after shrink", "faster", box=None
    )
    for name, trained in runs.items():
        accuracy, own_error = mean_and_error([run.accuracy for run in trained])
        sizes = [parameters(run) for run in trained]
        table.add_row(
            name,
            f"{accuracy:.2%} ± {own_error:.2%}",
            f"{statistics.mean(run.zeros for run in trained):.1%}",
            f"{sizes[0][0]:,}",
            f"{statistics.mean(after for _, after in sizes):,.0f}",
            f"{statistics.median(run.speedup for run in trained):.1f}x",
        )
    console.print(table)
    for name, trained in ((name, runs[name]) for name in PENALIZED):
        change = statistics.mean(run.accuracy for run in trained) - dense
        within = "within" if change >= -error else "NOT within"
        console.print(
            f"{name}: {change:+.2%} against no penalty, {within} its standard error of {error:.2%}"
        )
    console.print("\nThe first network of group lasso:")
    console.print(runs["group lasso"][0].shrunk)


def parameters(run: Trained) -> tuple[int, int]:
    before, after = (sum(p.numel() for p in m.parameters()) for m in (run.model, run.shrunk.model))
    return before, after


def draw(runs: dict[str, list[Trained]], path: Path) -> None:
    look = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False}
    with plt.rc_context(look):
        figure = plt.figure(figsize=(10, 3.8), layout="constrained")
        left, middle, right = figure.subfigures(1, 3, width_ratios=[1, 1.35, 1], wspace=0.06)
        draw_accuracy(left.subplots(), runs)
        middle.suptitle("Weights of the large layer that are not zero\n", fontsize=10)
        for axes, (name, trained) in zip(middle.subplots(1, 3), runs.items(), strict=True):
            draw_zeros(axes, name, trained[0])
        draw_sizes(right.subplots(), runs)
        figure.savefig(path, dpi=150)
        plt.close(figure)


def draw_accuracy(axes: Axes, runs: dict[str, list[Trained]]) -> None:
    mean, error = mean_and_error([100 * run.accuracy for run in runs["no penalty"]])
    axes.axhspan(mean - error, mean + error, color="#eeeeee")
    axes.set_xlabel("band: one standard error around no penalty", color="#6b6b6b")
    for place, (name, trained) in enumerate(runs.items()):
        values = [100 * run.accuracy for run in trained]
        spread = torch.linspace(-0.14, 0.14, len(values)).tolist()
        axes.scatter([place + s for s in spread], values, s=14, color=COLORS[name], alpha=0.6)
        center, width = mean_and_error(values)
        axes.errorbar(place, center, width, marker="_", ms=26, capsize=4, color=COLORS[name])
    axes.set_title("Test accuracy in %, one dot per seed", fontsize=10)
    axes.set_xticks(range(len(runs)), list(runs))
    axes.set_xlim(-0.5, 2.5)


def draw_zeros(axes: Axes, name: str, run: Trained) -> None:
    alive = run.model[8].weight.detach() != 0
    colors = ListedColormap(["white", COLORS[name]])
    axes.imshow(alive.numpy(), cmap=colors, aspect="auto", interpolation="nearest", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[], xlabel=f"{1 - alive.double().mean():.0%} zeros")
    axes.set_title(name, color=COLORS[name], fontsize=9)
    axes.spines[:].set_visible(True)
    if name == "no penalty":
        axes.set_ylabel("256 neurons")


def draw_sizes(axes: Axes, runs: dict[str, list[Trained]]) -> None:
    names = list(runs)[::-1]
    sizes = [statistics.mean(parameters(run)[1] for run in runs[name]) for name in names]
    bars = axes.barh(names, [size / 1000 for size in sizes], color=[COLORS[n] for n in names])
    faster = [statistics.median(run.speedup for run in runs[name]) for name in names]
    labels = [
        f" {size / 1000:.0f} thousand" + (f",\n {times:.1f}x as fast" if name in PENALIZED else "")
        for name, size, times in zip(names, sizes, faster, strict=True)
    ]
    axes.bar_label(bars, labels)
    axes.set_title("Parameters after shrink", fontsize=10)
    axes.spines.bottom.set_visible(False)
    axes.set_xticks([])
    axes.set_xlim(0, 1.8 * max(sizes) / 1000)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits", help="digits, or a directory of MNIST files")
    parser.add_argument("--seeds", type=int, default=5, help="at least 2")
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--out", type=Path, default=Path("runs/sparse_network"))
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    data = load_data(options.data)
    jobs = [(name, seed) for seed in range(options.seeds) for name in PENALTIES]
    runs: dict[str, list[Trained]] = {name: [] for name in PENALTIES}
    console = Console()
    for name, seed in track(jobs, "Training", console=Console(stderr=True), transient=True):
        train_rows, test_rows = split_test(data, seed=seed)
        model = train(PENALTIES[name], train_rows, seed, options.epochs)
        runs[name].append(examine(model, test_rows))
    show(runs, console)
    options.out.mkdir(parents=True, exist_ok=True)
    draw(runs, options.out / "sparse_network.png")
    console.print(f"\nPicture: {options.out / 'sparse_network.png'}")


if __name__ == "__main__":
    main()
