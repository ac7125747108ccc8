"""What a run's manifest and header say of command, versions and data."""

from __future__ import annotations

import math
import platform
import re
import shlex
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from shrinkage._version import __version__
from shrinkage.errors import counted
from shrinkage.labels import printable


def data_line(facts: dict[str, Any]) -> str:
    """Return the data in a line."""
    outputs = f"{facts['outputs']} classes" if facts["task"] == "classification" else "regression"
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
        ]
    )


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
