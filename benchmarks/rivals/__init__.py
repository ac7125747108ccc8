"""The one piece of work that every contender does, and the report that every contender prints.

A contender is a module run as a whole process: ``python -m benchmarks.rivals.tuned --problem
digits --json``. It trains 32 strengths x 5 folds x 1 seed = 160 members of the network D-128-10
and prints how long it took and the validation losses that it reached.

This module imports NumPy only, and it is imported first: its clock starts before torch or JAX.
"""

from __future__ import annotations

import time

STARTED = time.perf_counter()

import argparse  # noqa: E402
import functools  # noqa: E402
import json  # noqa: E402
import math  # noqa: E402
import os  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402

HIDDEN = 128
CLASSES = 10
BATCH = 32
LEARNING_RATE = 1e-3
FOLDS = 5
SEED = 0
STRENGTHS = np.concatenate([[0.0], np.geomspace(1e-5, 3e-2, 31)])
EPOCHS = {"digits": 20, "mnist": 3}
DATA = Path(__file__).resolve().parents[2] / "runs" / "benchmarks"


@dataclass(frozen=True)
class Problem:
    """Rows, targets, the fold of each row, and how long to train."""

    name: str
    X: np.ndarray
    y: np.ndarray
    folds: np.ndarray
    epochs: int

    @property
    def features(self) -> int:
        return self.X.shape[1]

    @property
    def members(self) -> int:
        return len(STRENGTHS) * FOLDS

    @property
    def steps_per_epoch(self) -> int:
        """Steps of one epoch; the last, short batch counts, as in a DataLoader."""
        return math.ceil(max(int((self.folds != f).sum()) for f in range(FOLDS)) / BATCH)

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_per_epoch

    def split(self, fold: int) -> tuple[np.ndarray, np.ndarray]:
        """Row numbers for training and for validation."""
        held_out = self.folds == fold
        return np.flatnonzero(~held_out), np.flatnonzero(held_out)


@functools.cache
def load(name: str, epochs: int | None = None) -> Problem:
    """Read a problem; the first call makes its file, so that no contender is timed doing it."""
    path = DATA / f"{name}.npz"
    if not path.exists():
        DATA.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(f"{name}.{os.getpid()}.npz")
        np.savez(unfinished, **_make(name))
        unfinished.replace(path)
    with np.load(path) as stored:
        return Problem(name, stored["X"], stored["y"], stored["folds"], epochs or EPOCHS[name])


def _make(name: str) -> dict[str, np.ndarray]:
    generator = np.random.default_rng(SEED)
    if name == "digits":
        from sklearn.datasets import load_digits

        raw = load_digits()
        X, y = raw.data / 16.0, raw.target
    else:
        X, y = _mnist_shaped(generator, rows=6000, features=784, latent=24)
    folds = generator.permutation(len(y)) % FOLDS
    return {"X": X.astype(np.float32), "y": y.astype(np.int64), "folds": folds.astype(np.int64)}


def _mnist_shaped(
    generator: np.random.Generator, rows: int, features: int, latent: int
) -> tuple[np.ndarray, np.ndarray]:
    """Ten overlapping clouds in a latent space, seen through noisy, sparse "pixels" in [0, 1]."""
    y = generator.integers(CLASSES, size=rows)
    centers = generator.normal(size=(CLASSES, latent))
    hidden = centers[y] + 2.0 * generator.normal(size=(rows, latent))
    pixels = hidden @ generator.normal(size=(latent, features)) / math.sqrt(latent)
    return np.clip(pixels + 0.5 * generator.normal(size=pixels.shape), 0.0, 2.0) / 2.0, y


def arguments(contender: str, **extra: str) -> argparse.Namespace:
    """Parse the options that all contenders share; ``extra`` maps more option names to help."""
    parser = argparse.ArgumentParser(prog=f"python -m benchmarks.rivals.{contender}")
    parser.add_argument("--problem", choices=list(EPOCHS), default="digits")
    parser.add_argument("--epochs", type=int, default=None, help="instead of the problem's own")
    parser.add_argument("--json", action="store_true", help="print one JSON line")
    for option, text in extra.items():
        parser.add_argument(f"--{option}", type=int, default=None, help=text)
    return parser.parse_args()


def report(
    options: argparse.Namespace,
    problem: Problem,
    valid_loss: np.ndarray,
    *,
    import_s: float,
    compile_s: float,
    run_s: float,
    members_run: int | None = None,
    note: str = "",
) -> None:
    """Print what was measured.

    Args:
        options: The parsed command line.
        problem: The problem that was trained.
        valid_loss: Final validation loss per strength, mean over folds; NaN = not trained.
        import_s: From the start of this package to the end of the imports.
        compile_s: Compilation, or starting workers.
        run_s: Training and validation, of the members that were run.
        members_run: How many members were trained, where it is a sample.
        note: Anything a reader of the figures must know.
    """
    facts = {
        "import_s": import_s,
        "compile_s": compile_s,
        "run_s": run_s,
        "inside_s": time.perf_counter() - STARTED,
        "members": problem.members,
        "members_run": problem.members if members_run is None else members_run,
        "steps": problem.steps,
        "valid_loss": [None if math.isnan(v) else float(v) for v in valid_loss],
        "note": note,
    }
    if options.json:
        print(json.dumps(facts), flush=True)
        return
    member_step = 1e6 * run_s / (facts["members_run"] * problem.steps)
    print(
        f"import {import_s:.2f} s, compile {compile_s:.2f} s, run {run_s:.2f} s "
        f"({facts['members_run']} of {problem.members} members, {member_step:.1f} us per "
        f"member-step)" + (f"; {note}" if note else "")
    )
    for strength, loss in zip(STRENGTHS, valid_loss, strict=True):
        print(f"  strength {strength:9.3g}  validation loss {loss:.4f}")
