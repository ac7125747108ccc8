"""What a run's manifest and header say of command, versions and data."""

from __future__ import annotations

import math
import platform
import re
import shlex
import sys
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from shrinkage._version import __version__
from shrinkage.errors import counted
from shrinkage.labels import printable

if TYPE_CHECKING:
    from shrinkage.cli.compare.options import CompareOptions
    from shrinkage.cli.path.options import PathOptions
    from shrinkage.cli.train.options import TrainOptions


def data_line(facts: dict[str, Any], preprocess: Any) -> str:
    """Return the data in a line."""
    outputs = f"{facts['outputs']:,} classes" if facts["task"] == "classification" else "regression"
    features = counted(facts["features"], "feature")
    if facts["columns"] not in (0, facts["features"]):
        features += f" from {counted(facts['columns'], 'column')}"
    return ", ".join(
        [
            f"{printable(facts['name'])}: {counted(facts['rows'], 'training row')}",
            counted(facts["test_rows"], "test row"),
            features,
            outputs,
            *map(printable, facts["notes"]),
            *["standardized"] * (preprocess is not None),
        ]
    )


def network_line(name: str, sizes: Iterable[int]) -> str:
    """Return the model in a line, from the sizes of its parameters."""
    return f"{name}, {sum(sizes):,} parameters"


def training_line(by: str, job: PathOptions | CompareOptions | TrainOptions, *more: str) -> str:
    """Return in a line how a model is trained by an optimizer."""
    epochs = counted(job.epochs, "epoch")
    parts = [by, f"batches of {job.batch_size}", epochs, job.scheduler, *more]
    return ", ".join(part for part in parts if part) + ", bfloat16" * job.bfloat16


def about() -> dict[str, Any]:
    """Return the command as it was typed, and the versions that ran it."""
    typed = shlex.join(["shrinkage", *sys.argv[1:]])
    home = re.escape(str(Path.home()))
    return {
        "command": re.sub(rf"{home}(?![\w.-])", "~", typed) if len(home) > 1 else typed,
        "versions": {
            "shrinkage": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
            "numpy": version("numpy"),
            "scikit-learn": version("scikit-learn"),
        },
    }


def without_nan(value: Any) -> Any:
    """Replace what JSON cannot say by null."""
    if isinstance(value, dict):
        return {name: without_nan(part) for name, part in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
