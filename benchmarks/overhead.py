"""What a penalty adds to a training step: ours, the optimizer's own, and the tutorial's.

    python -m benchmarks.overhead                 # four models, three optimizers, a few minutes
    python -m benchmarks.overhead --models tutorial --optimizers sgd --rounds 40

A step is zero_grad, forward, loss, backward, step. Each contender trains its own copy of the model;
in every round all of them run for a few hundredths of a second, in a new order, so that a slow
spell of the machine hits all of them. One thread is timed by its processor time, which other
processes disturb least; several by the clock. Printed: the median over rounds of the ratio to the
run without penalty in the same round, its quartiles, and the operations dispatched in one step
beyond those without penalty. ``none again`` is the same run twice: no ratio within its quartiles
says anything.
"""

from __future__ import annotations

import argparse
import random
import statistics
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer
from torch.utils._python_dispatch import TorchDispatchMode

from shrinkage import L1, L2, regularize
from shrinkage.parameters import selected_parameters

STRENGTH = 1e-4
Step = Callable[[], None]


class Block(nn.Module):
    """Two convolutions around a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(),
            nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False),
            nn.BatchNorm2d(outputs),
        )
        self.shortcut = nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.shortcut(x))


def tutorial() -> tuple[nn.Module, Tensor]:
    """Return the network of the tutorial, 784-128-10, and a batch of 32."""
    return nn.Sequential(nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10)), torch.randn(32, 784)


def wide() -> tuple[nn.Module, Tensor]:
    """Return 784-2048-2048-10 and a batch of 128."""
    layers = nn.Linear(784, 2048), nn.ReLU(), nn.Linear(2048, 2048), nn.ReLU(), nn.Linear(2048, 10)
    return nn.Sequential(*layers), torch.randn(128, 784)


def resnet() -> tuple[nn.Module, Tensor]:
    """Return a small residual network of 8 blocks and 32 images of 32 x 32."""
    widths = (16, 16, 32, 32, 64, 64, 128, 128)
    blocks = [
        Block(before, after, stride=1 if before == after else 2)
        for before, after in zip((16, *widths), widths, strict=False)
    ]
    stem = nn.Conv2d(3, 16, 3, 1, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU()
    head = nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 10)
    return nn.Sequential(*stem, *blocks, *head), torch.randn(32, 3, 32, 32)


class Transformer(nn.Module):
    """Six layers of width 128 and a head."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(128, 4, 512, dropout=0.0, batch_first=True)
        self.body = nn.TransformerEncoder(layer, 6, enable_nested_tensor=False)
        self.head = nn.Linear(128, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean(1))


def transformer() -> tuple[nn.Module, Tensor]:
    """Return a transformer of six layers and 16 sequences of 64."""
    return Transformer(), torch.randn(16, 64, 128)


MODELS = {make.__name__: make for make in (tutorial, wide, resnet, transformer)}
OPTIMIZERS: dict[str, Callable[..., Optimizer]] = {
    "sgd": partial(SGD, lr=1e-3, momentum=0.9),
    "adam-foreach": partial(Adam, lr=1e-4, foreach=True),
    "adam-fused": partial(Adam, lr=1e-4, fused=True),
}


def plain(model: nn.Module, make: Callable[..., Optimizer]) -> tuple[Optimizer, Any]:
    """No penalty."""
    return make(model.parameters()), None


def weight_decay(
    model: nn.Module, make: Callable[..., Optimizer], **options: Any
) -> tuple[Optimizer, Any]:
    """The optimizer's own, on the weights only."""
    weights = list(selected_parameters(model).values())
    chosen = {id(w) for w in weights}
    others = [w for w in model.parameters() if id(w) not in chosen]
    groups = [{"params": weights, "weight_decay": 2 * STRENGTH}, {"params": others}]
    return make(groups, **options), None


def in_loss(formula: Callable[[Tensor], Tensor], model: nn.Module, make: Any) -> Any:
    """A formula over the weights, added to the loss."""
    weights = list(selected_parameters(model).values())
    return make(model.parameters()), lambda: STRENGTH * sum(formula(w) for w in weights)


def ours(penalty: Any, how: str, model: nn.Module, make: Any) -> Any:
    """A penalty on the optimizer."""
    optimizer = make(model.parameters())
    regularize(model, optimizer, penalty, how=how)
    return optimizer, None


def prune_optimizer(model: nn.Module, make: Any) -> Any:
    """The proximal L1 of torchao."""
    from torchao.prototype.pat.optim import PruneOptimizer

    weights = list(selected_parameters(model).values())
    chosen = {id(w) for w in weights}
    others = [w for w in model.parameters() if id(w) not in chosen]
    lasso = {"group_type": "ElemGrouper", "prox_type": "ProxLasso", "reg_lambda": STRENGTH}
    return PruneOptimizer(make([{"params": weights, **lasso}, {"params": others}])), None


def contenders(optimizer: str) -> dict[str, Callable[..., Any]]:
    """Return what is compared, by name; the first is what the others are divided by."""
    found: dict[str, Callable[..., Any]] = {
        "none": plain,
        "none again": plain,
        "L2 weight_decay": weight_decay,
        "L2 coupled": partial(ours, L2(STRENGTH), "coupled"),
        "L2 decoupled": partial(ours, L2(STRENGTH), "decoupled"),
        "L2 in the loss": partial(in_loss, lambda w: (w**2).sum()),
        "L1 coupled": partial(ours, L1(STRENGTH), "coupled"),
        "L1 proximal": partial(ours, L1(STRENGTH), "proximal"),
        "L1 in the loss": partial(in_loss, lambda w: w.abs().sum()),
    }
    if optimizer.startswith("adam"):
        decoupled = partial(weight_decay, decoupled_weight_decay=True)
        found["L2 AdamW"] = decoupled
    try:
        import torchao.prototype.pat.optim  # noqa: F401
    except ImportError:
        return found
    return {**found, "L1 torchao": prune_optimizer}


def training(make_model: Any, make: Callable[..., Optimizer], attach: Callable[..., Any]) -> Step:
    """Return one step of training."""
    torch.manual_seed(0)
    model, x = make_model()
    y = torch.randint(0, 10, (len(x),))
    optimizer, penalty = attach(model, make)

    def step() -> None:
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        if penalty is not None:
            loss = loss + penalty()
        loss.backward()
        optimizer.step()

    return step


class Counter(TorchDispatchMode):
    """Counts dispatched operations."""

    count = 0

    def __torch_dispatch__(
        self, function: Any, types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.count += 1
        return function(*args, **(kwargs or {}))


def operations(step: Step) -> int:
    """Count the operations that one step dispatches."""
    with Counter() as counter:
        step()
    return counter.count


def compare(steps: dict[str, Step], rounds: int, slot: float) -> dict[str, list[float]]:
    """Return the ratios of every contender's time to the first one's, round by round."""
    first, *_ = steps
    for step in steps.values():
        timed(step, 3)
    repeats = max(1, round(slot / timed(steps[first], 5)))
    ratios: dict[str, list[float]] = {name: [] for name in steps}
    order = list(steps)
    for _ in range(rounds):
        random.shuffle(order)
        seconds = {name: timed(steps[name], repeats) for name in order}
        for name in steps:
            ratios[name].append(seconds[name] / seconds[first])
    return ratios


def timed(step: Step, repeats: int) -> float:
    """Return the seconds of one of ``repeats`` steps."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    for _ in range(repeats):
        step()
    return (clock() - start) / repeats


def report(ratios: dict[str, list[float]], counts: dict[str, int], milliseconds: float) -> None:
    """Print one table."""
    base, *others = ratios
    print(f"  {base}: {milliseconds:.3f} ms a step, {counts[base]} operations")
    for name in others:
        low, middle, high = statistics.quantiles(ratios[name], n=4)
        more = counts[name] - counts[base]
        print(f"  {name:16} {middle:6.3f}  [{low:.3f}, {high:.3f}]  {more:+4d} operations")


def main(arguments: Iterable[str] | None = None) -> None:
    """Run the benchmark from the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS))
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS))
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--slot", type=float, default=0.03, help="seconds of one run in a round")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args(None if arguments is None else list(arguments))
    torch.set_num_threads(options.threads)
    random.seed(0)
    print(f"torch {torch.__version__}, {options.threads} threads, {options.rounds} rounds")
    for model in options.models:
        for optimizer in options.optimizers:
            make = partial(training, MODELS[model], OPTIMIZERS[optimizer])
            steps = {name: make(attach) for name, attach in contenders(optimizer).items()}
            ratios = compare(steps, options.rounds, options.slot)
            counts = {name: operations(step) for name, step in steps.items()}
            print(f"\n{model}, {optimizer}")
            report(ratios, counts, 1000 * timed(steps["none"], 5))


if __name__ == "__main__":
    main()
