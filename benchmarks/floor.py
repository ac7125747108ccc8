"""What this machine could do at best: the products and the memory traffic of one member-step.

    python -m benchmarks.floor --problem mnist

All cores at once, one thread each, as the engine works: batched products of the shapes of the
forward and backward pass, and a triad over arrays far larger than the caches. A member-step
makes 4·B·D·H + 6·B·H·C operations (the first layer needs no gradient of its input) and moves its
weights nine times: read forward, gradient written and read, weight and two moments read and
written. Where products and traffic overlap fully the floor is the larger of the two; a member
that stays in a cache can beat the traffic of DRAM.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import statistics
import time
from multiprocessing.synchronize import Barrier

import torch

from benchmarks import rivals

MEMBERS, ROUNDS, PASSES = 8, 5, 9
TRIAD_NUMBERS = 16_000_000


def products(features: int) -> float:
    """Time the products of one step of a chunk; return operations per second of one thread."""
    x = torch.randn(rivals.BATCH, features)
    w = torch.randn(MEMBERS, rivals.HIDDEN, features)
    error = torch.randn(MEMBERS, rivals.BATCH, rivals.HIDDEN)
    out, gradient = torch.empty_like(error), torch.empty_like(w)
    xs = x.expand(MEMBERS, -1, -1)
    repeats = max(1, int(3e9 / (4 * MEMBERS * rivals.BATCH * features * rivals.HIDDEN)))
    start = time.perf_counter()
    for _ in range(repeats):
        torch.bmm(xs, w.transpose(1, 2), out=out)
        torch.bmm(error.transpose(1, 2), xs, out=gradient)
    seconds = time.perf_counter() - start
    return repeats * 4 * MEMBERS * rivals.BATCH * features * rivals.HIDDEN / seconds


def triad() -> float:
    """Return bytes per second of one thread."""
    a, b = torch.ones(TRIAD_NUMBERS), torch.ones(TRIAD_NUMBERS)
    out = torch.empty_like(a)
    start = time.perf_counter()
    torch.add(a, b, alpha=2.0, out=out)
    return 3 * 4 * TRIAD_NUMBERS / (time.perf_counter() - start)


def work(features: int, together: Barrier, rates: multiprocessing.Queue) -> None:
    torch.set_num_threads(1)
    products(features)
    triad()
    for _ in range(ROUNDS):
        together.wait()
        own = products(features)
        together.wait()
        rates.put((own, triad()))


def measure(features: int) -> tuple[float, float]:
    """Return operations and bytes per second of all cores together, medians over rounds."""
    cores = len(os.sched_getaffinity(0))
    context = multiprocessing.get_context("fork")
    together, rates = context.Barrier(cores), context.Queue()
    workers = [context.Process(target=work, args=(features, together, rates)) for _ in range(cores)]
    for worker in workers:
        worker.start()
    found = [rates.get() for _ in range(ROUNDS * cores)]
    for worker in workers:
        worker.join()
    speed, traffic = zip(*found, strict=True)
    return cores * statistics.median(speed), cores * statistics.median(traffic)


def floor(features: int) -> tuple[float, float, str]:
    """Return microseconds per member-step of the products and of the traffic, and a line."""
    speed, traffic = measure(features)
    b, h, c = rivals.BATCH, rivals.HIDDEN, rivals.CLASSES
    operations = 4 * b * features * h + 6 * b * h * c
    moved = PASSES * 4 * (features * h + h * c + h + c)
    compute, memory = 1e6 * operations / speed, 1e6 * moved / traffic
    line = (
        f"floor: {operations / 1e6:.2f} Mflop at {speed / 1e9:.0f} Gflop/s = {compute:.1f} us, "
        f"{moved / 1e6:.2f} MB at {traffic / 1e9:.1f} GB/s = {memory:.1f} us per member-step"
    )
    return compute, memory, line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--problem", choices=list(rivals.EPOCHS), default="digits")
    problem = rivals.load(parser.parse_args().problem)
    print(floor(problem.features)[2])


if __name__ == "__main__":
    main()
