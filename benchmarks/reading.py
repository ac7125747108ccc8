"""Reading a table: ours against pandas and Arrow, which only parse it.

    python -m benchmarks.reading                  # two tables, five rounds, about a minute
    python -m benchmarks.reading --rounds 3 --vast

In every round each reader reads each file in a process of its own, in a new order; printed are the
medians over rounds of the processor time, of its ratio to pandas' in the same round, and of the
memory that reading added to that of the imports. Ours is ``load_data``, to the tensors and their
hash; the others end with a table of float64. ``--vast`` adds a million columns, read by us alone.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

SHAPES = {"200,000 x 9": (200_000, 8), "60 x 20,001": (60, 20_000)}
VAST = {"12 x 1,000,001": (12, 1_000_000)}


def write(path: Path, rows: int, columns: int) -> None:
    """Write a table of normal numbers with four decimals, and of two classes."""
    values = np.random.default_rng(0).standard_normal((rows, columns))
    with path.open("w") as stream:
        stream.write(",".join(f"x{i}" for i in range(columns)) + ",y\n")
        for row in values:
            cells = ",".join(f"{value:.4f}" for value in row.tolist())
            stream.write(f"{cells},{'ab'[int(row[0] > 0)]}\n")


def ours(path: str) -> Callable[[], object]:
    """Return what reads a file by this package."""
    import pyarrow.compute
    import pyarrow.csv  # noqa: F401
    import torch  # noqa: F401

    from shrinkage.data import load_data

    return lambda: load_data(path, target="y")


def pandas(path: str) -> Callable[[], object]:
    """Return what reads a file by pandas."""
    from pandas import read_csv

    return lambda: read_csv(path)


def arrow(path: str) -> Callable[[], object]:
    """Return what reads a file by Arrow, in one thread."""
    from pyarrow.csv import ReadOptions, read_csv

    size = min(Path(path).stat().st_size + 1, 2**30)
    return lambda: read_csv(path, ReadOptions(use_threads=False, block_size=size))


READERS = {make.__name__: make for make in (ours, pandas, arrow)}


def measure(reader: str, path: str) -> None:
    """Print seconds of the processor and MiB of one reading."""
    import resource
    import time

    def memory() -> float:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

    with tempfile.TemporaryDirectory() as place:
        small = Path(place) / "small.csv"
        write(small, 8, 2)
        READERS[reader](str(small))()  # imports what is imported on use
    read = READERS[reader](path)
    before, start = memory(), time.process_time()
    read()
    print(json.dumps([time.process_time() - start, memory() - before]))


def apart(reader: str, path: Path) -> tuple[float, float]:
    """Return what ``measure`` prints in a new process."""
    command = [sys.executable, "-m", "benchmarks.reading", "--one", reader, str(path)]
    seconds, memory = json.loads(subprocess.check_output(command))
    return seconds, memory


def main() -> None:
    """Compare the readers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--vast", action="store_true")
    parser.add_argument("--one", nargs=2)
    options = parser.parse_args()
    if options.one:
        measure(*options.one)
        return
    with tempfile.TemporaryDirectory() as place:
        for name, shape in (SHAPES | (VAST if options.vast else {})).items():
            path = Path(place) / "table.csv"
            write(path, *shape)
            readers = ["ours"] if name in VAST else [*READERS]
            rounds = []
            for _ in range(1 if name in VAST else options.rounds):
                random.shuffle(readers)
                rounds.append({reader: apart(reader, path) for reader in readers})
            print(f"\n{name}, {path.stat().st_size / 2**20:.0f} MiB")
            for reader in sorted(readers):
                seconds = statistics.median(r[reader][0] for r in rounds)
                memory = statistics.median(r[reader][1] for r in rounds)
                line = f"{reader:8}{seconds:8.2f} s{memory:8.0f} MiB"
                if name not in VAST:
                    ratio = statistics.median(r[reader][0] / r["pandas"][0] for r in rounds)
                    more = statistics.median(r[reader][1] / r["pandas"][1] for r in rounds)
                    line += f"   {ratio:5.2f} x pandas' time, {more:5.2f} x its memory"
                print(line, flush=True)


if __name__ == "__main__":
    main()
