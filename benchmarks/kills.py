"""Runs that are killed at random moments and started again: do they end with the same bits?

A run is started with a checkpoint, ended by SIGKILL after a random part of the time that an
undisturbed one takes, and started again with the same call, until it is done. Then every number on
disk is compared with that of the undisturbed run. Whenever it is killed, the directory of an
earlier result that it is about to replace has to be whole.

    python benchmarks/kills.py [--what path alone train compare] [--kills 30] [--seed 0]
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import inspect
import os
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from shrinkage import L2, PathResult, compare, fit_path, train
from shrinkage.disk.replacing import put_back, replacing

Run = Callable[[Path, Path], None]
"""Trains with a checkpoint at the first place and writes its result to the second."""

ADAGRAD = partial(torch.optim.Adagrad, lr=0.1)
SGD = partial(torch.optim.SGD, lr=0.1, momentum=0.9)
TRAINED = frozenset({"weights.safetensors", "curves.csv"})


def data() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    X = torch.randn(120, 6, generator=generator)
    return X, (X[:, 0] + 0.5 * torch.randn(120, generator=generator) > 0).long()


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 2))


def path(checkpoint: Path, out: Path, **changes: Any) -> None:
    settings: dict[str, Any] = {"strengths": [1e-3, 1e-2, 1e-1], "folds": 3, "seeds": 2}
    settings |= {"epochs": 8, "batch_size": 8, "optimizer": SGD, "compile": False, "chunk": 2}
    torch.set_num_threads(2)  # for two processes
    result = fit_path(net, *data(), L2(1.0), **settings | changes, checkpoint=checkpoint)
    result.save(out, overwrite=True)


def one(checkpoint: Path, out: Path) -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    checkpoint.mkdir(exist_ok=True)
    trained = train(
        net(), *data(), L2(1e-3), epochs=20, batch_size=8, checkpoint=checkpoint / "training"
    )
    with replacing(out, True, TRAINED) as place:
        save_file(trained.model.state_dict(), place / "weights.safetensors")
        with (place / "curves.csv").open("w", newline="") as stream:
            csv.writer(stream).writerows(row.values() for row in trained.curves)


def comparison(checkpoint: Path, out: Path) -> None:
    X, y = data()
    result = compare(
        net, X[:90], y[:90], test=(X[90:], y[90:]), methods=["l2"], folds=3, seeds=1,
        values=4, epochs=12, batch_size=8, checkpoint=checkpoint,
    )  # fmt: skip
    result.save(out, overwrite=True)


RUNS: dict[str, Run] = {
    "path": path,
    "alone": partial(path, optimizer=ADAGRAD, seeds=1),
    "train": one,
    "compare": comparison,
}


@dataclass
class Tally:
    """What came of the runs of one kind."""

    runs: int = 0
    kills: int = 0
    equal: int = 0
    seconds: float = 0.0
    faults: int = 0


def attempt(run: Run, checkpoint: Path, out: Path, until: float | None, log: Path) -> int:
    """Let a child process run, and kill it after so many seconds; return its exit code."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            run(checkpoint, out)
            code = 0
        except BaseException:
            log.write_text(traceback.format_exc())
        os._exit(code)
    end = None if until is None else time.monotonic() + until
    while True:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if end is not None and time.monotonic() > end:
            os.kill(child, signal.SIGKILL)
            end = None
        time.sleep(0.002)


def numbers(directory: Path) -> dict[str, str]:
    """Return the hashes of all files with numbers."""
    files = [*directory.rglob("*.safetensors"), *directory.rglob("*.csv")]
    return {
        str(file.relative_to(directory)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
    }


def check_whole(out: Path) -> None:
    """Fail where a result is neither whole nor missing."""
    put_back(out)
    if (out / "path.safetensors").exists():
        PathResult.load(out)


def killed(run: Run, kills: int, chance: random.Random, place: Path) -> Tally:
    """Kill runs until there are enough kills; every run is brought to its end."""
    tally, log = Tally(), place / "log"
    started = time.monotonic()
    if attempt(run, place / "whole", place / "undisturbed", None, log):
        sys.exit(log.read_text())
    tally.seconds = time.monotonic() - started
    wanted = numbers(place / "undisturbed")
    while tally.kills < kills:
        checkpoint, out = place / f"kept{tally.runs}", place / "result"
        code = -signal.SIGKILL
        while code == -signal.SIGKILL:
            code = attempt(run, checkpoint, out, chance.uniform(0, tally.seconds), log)
            tally.kills += code == -signal.SIGKILL
            check_whole(out)
        tally.runs += 1
        tally.equal += code == 0 and numbers(out) == wanted
        if code != 0:
            tally.faults += 1
            print(log.read_text(), flush=True)
        shutil.rmtree(checkpoint, ignore_errors=True)
        print(f"{tally.kills} kills, {tally.equal} of {tally.runs} equal", file=sys.stderr)
    return tally


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--what", nargs="+", choices=RUNS, default=["path", "train"])
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    if "compare" in given.what and "checkpoint" not in inspect.signature(compare).parameters:
        parser.error("this version of compare() keeps no checkpoint")
    print("| what | seconds undisturbed | runs | kills | equal to the bit | errors |")
    print("|---|---|---|---|---|---|")
    wrong = False
    for what in given.what:
        with tempfile.TemporaryDirectory() as place:
            chance = random.Random(f"{given.seed} {what}")
            tally = killed(RUNS[what], given.kills, chance, Path(place))
        wrong |= tally.equal < tally.runs
        print(
            f"| {what} | {tally.seconds:.1f} | {tally.runs} | {tally.kills} | {tally.equal} "
            f"| {tally.faults} |",
            flush=True,
        )
    sys.exit(wrong)


if __name__ == "__main__":
    main()
