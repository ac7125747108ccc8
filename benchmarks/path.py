"""A whole path of strengths, ours against the loops and frameworks one would use instead.

    python -m benchmarks.path --problem digits --repeats 5

Every contender runs as a whole fresh process, and the contenders alternate within each repeat, so
that a slow spell of the machine hits all of them; read the ratios, not the seconds. Cold means an
empty compile cache, warm the cache of one earlier run. The validation losses of all contenders
are compared at the same strengths: where they do not agree, the exit status is 1.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import rivals
from benchmarks.floor import floor

ROOT = Path(__file__).resolve().parents[1]
MODULES = {
    "ours-warm": "ours",
    "ours-cold": "ours",
    "jax-warm": "jax_vmap",
    "jax-curves-warm": "jax_curves",
    "jax-cold": "jax_vmap",
    "tuned": "tuned",
    "tutorial": "tutorial",
    "sklearn": "sklearn_grid",
    "skorch": "skorch_grid",
    "optuna": "optuna_grid",
    "ray": "ray_tune",
}
REFERENCE = "tuned"
MEDIAN_TOLERANCE, WORST_TOLERANCE = 0.06, 0.12


@dataclass
class Contender:
    """What the runs of one contender measured, in the order of the repeats."""

    name: str
    whole: list[float] = field(default_factory=list)
    run: list[float] = field(default_factory=list)
    compile: list[float] = field(default_factory=list)
    member_step: list[float] = field(default_factory=list)
    valid_loss: list[float | None] = field(default_factory=list)
    sampled: bool = False
    note: str = ""

    def add(self, seconds: float, facts: dict[str, Any]) -> None:
        """Record one run; a sample of the members is extrapolated to all of them."""
        run = facts["run_s"] * facts["members"] / facts["members_run"]
        self.whole.append(seconds - facts["run_s"] + run)
        self.run.append(run)
        self.compile.append(facts["compile_s"])
        self.member_step.append(1e6 * run / (facts["members"] * facts["steps"]))
        self.valid_loss = facts["valid_loss"]
        self.sampled = facts["members_run"] < facts["members"]
        self.note = facts["note"]


def environment(cache: Path) -> dict[str, str]:
    """Point every compile cache, torch's own included, into one directory.

    Python may keep the bytecode of what it imports, as it does of installed packages.
    """
    kept = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return kept | {
        "SHRINKAGE_CACHE": str(cache / "shrinkage"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "inductor"),
        "TRITON_CACHE_DIR": str(cache / "triton"),
        "JAX_COMPILATION_CACHE_DIR": str(cache / "jax"),
    }


def launch(name: str, problem: str, epochs: int | None, cache: Path) -> tuple[float, dict]:
    """Run one contender as a process; return its wall clock and the JSON that it printed."""
    command = [sys.executable, "-m", f"benchmarks.rivals.{MODULES[name]}", "--problem", problem]
    command += ["--json"] + (["--epochs", str(epochs)] if epochs else [])
    start = time.perf_counter()
    done = subprocess.run(
        command, cwd=ROOT, env=environment(cache), capture_output=True, text=True, check=False
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr}")
    return seconds, json.loads(done.stdout.splitlines()[-1])


def measure(
    names: list[str], problem: str, epochs: int | None, repeats: int
) -> dict[str, Contender]:
    """Warm the caches, then run all contenders, one after another, ``repeats`` times."""
    contenders = {name: Contender(name) for name in names}
    with tempfile.TemporaryDirectory() as directory:
        warm = Path(directory) / "warm"
        for name in names:
            if name.endswith("-warm"):
                say(f"warming the cache: {name}")
                launch(name, problem, epochs, warm)
        for repeat in range(repeats):
            for name in names[repeat % len(names) :] + names[: repeat % len(names)]:
                cold = Path(directory) / f"{name}-{repeat}"
                cache = cold if name.endswith("-cold") else warm
                seconds, facts = launch(name, problem, epochs, cache)
                contenders[name].add(seconds, facts)
                say(f"repeat {repeat + 1}/{repeats}: {name} {contenders[name].whole[-1]:.2f} s")
    return contenders


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def machine() -> str:
    packages = []
    for package in ("torch", "jax", "joblib", "scikit-learn", "skorch", "optuna", "ray"):
        packages.append(f"{package} {version(package)}")
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        text = ""
    vectors = next((v for v in ("avx512f", "avx2") if f" {v} " in text), "unknown vector units")
    load = " ".join(f"{x:.1f}" for x in os.getloadavg())
    cores = len(os.sched_getaffinity(0))
    return (
        f"{cores} cores, {platform.machine()}, {vectors}, Python {platform.python_version()}, "
        + ", ".join(packages)
        + f", load before the runs {load}"
    )


def table(contenders: dict[str, Contender]) -> str:
    """One line per contender; ratios are medians of the ratios within each repeat."""
    base = next(iter(contenders.values()))
    lines = [
        f"{'contender':<10} {'whole s (min - max)':>24} {'run s':>8} {'compile s':>9} "
        f"{'us/member-step':>14} {'whole / ' + base.name:>18} {'run / ' + base.name:>16}"
    ]
    for c in contenders.values():
        whole = f"{statistics.median(c.whole):.2f} ({min(c.whole):.2f} - {max(c.whole):.2f})"
        lines.append(
            f"{c.name:<10} {whole:>24} {statistics.median(c.run):8.2f} "
            f"{statistics.median(c.compile):9.2f} {statistics.median(c.member_step):14.1f} "
            f"{paired_ratio(c.whole, base.whole):>17.2f}x {paired_ratio(c.run, base.run):>15.2f}x"
        )
    return "\n".join(lines + [f"  {c.name}: {c.note}" for c in contenders.values() if c.note])


def paired_ratio(seconds: list[float], base: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(seconds, base, strict=True))


def disagreements(contenders: dict[str, Contender]) -> list[str]:
    """Print how far each contender's validation losses lie from the reference; return failures."""
    base = contenders.get(REFERENCE) or next(iter(contenders.values()))
    failures = []
    for c in contenders.values():
        if c is base:
            continue
        pairs = [
            (loss, reference)
            for loss, reference in zip(c.valid_loss, base.valid_loss, strict=True)
            if loss is not None and reference is not None
        ]
        if not pairs or (len(pairs) < len(c.valid_loss) and not c.sampled):
            failures.append(f"{c.name} or {base.name} has strengths without a finite loss")
            continue
        apart = [abs(loss / reference - 1) for loss, reference in pairs]
        line = (
            f"{c.name} against {base.name}: validation losses differ by "
            f"{statistics.median(apart):.1%} (median of {len(apart)} strengths), "
            f"{max(apart):.1%} at worst"
        )
        print(line)
        if statistics.median(apart) > MEDIAN_TOLERANCE or max(apart) > WORST_TOLERANCE:
            failures.append(line)
    return failures


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.path", description=__doc__)
    parser.add_argument("--problem", choices=list(rivals.EPOCHS), default="digits")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--contenders", default=",".join(MODULES), help="separated by commas")
    parser.add_argument("--epochs", type=int, help="instead of the problem's own")
    parser.add_argument("--quick", action="store_true", help="one repeat with few epochs")
    options = parser.parse_args()
    names = options.contenders.split(",")
    unknown = [name for name in names if name not in MODULES]
    if unknown:
        parser.error(f"unknown contenders {unknown}; there are {list(MODULES)}")
    epochs = {"digits": 4, "mnist": 1}[options.problem] if options.quick else options.epochs
    problem = rivals.load(options.problem, epochs)
    print(machine())
    print(
        f"{problem.name}: {problem.members} members (32 strengths x 5 folds), "
        f"{problem.features}-{rivals.HIDDEN}-{rivals.CLASSES}, {problem.epochs} epochs = "
        f"{problem.steps} steps of {rivals.BATCH} rows",
        flush=True,
    )
    contenders = measure(names, options.problem, epochs, 1 if options.quick else options.repeats)
    print(table(contenders))
    compute, memory, line = floor(problem.features)
    print(line)
    bound = max(compute, memory)
    for c in contenders.values():
        whole, products = (part / statistics.median(c.member_step) for part in (bound, compute))
        print(f"  {c.name}: {whole:.0%} of the floor, {products:.0%} by products alone")
    failures = disagreements(contenders)
    if failures:
        raise SystemExit("THE CONTENDERS DID NOT TRAIN THE SAME THING:\n" + "\n".join(failures))


if __name__ == "__main__":
    main()
