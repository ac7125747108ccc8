"""A comparison on disk: the table, the losses of every test row, facts, every path; or nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from shrinkage.disk.files import atomic_write
from shrinkage.disk.replacing import replacing
from shrinkage.disk.run_directory import MANIFEST, write_table
from shrinkage.result.path_result import PathResult

TABLE, LOSSES, PATHS = "comparison.csv", "test_losses.csv", "paths"
PICTURES = ("comparison.png", "comparison.svg", "report.html")
NAMES = frozenset({TABLE, LOSSES, MANIFEST, PATHS, *PICTURES})
"""What the directory may hold; pictures and report are drawn later."""


def save(
    directory: Path,
    about: Mapping[str, Any],
    records: Sequence[Mapping[str, Any]],
    losses: Iterable[Sequence[object]],
    paths: Mapping[tuple[str, str], PathResult],
    *,
    overwrite: bool,
) -> None:
    """Write a comparison beside ``directory``, then rename it into place.

    Args:
        directory: Where it goes.
        about: JSON-able facts.
        records: The ranking, one mapping per contender.
        losses: A table of the loss of every test row, its header first.
        paths: Every path, by optimizer and method.
        overwrite: Replace the comparison that is there.
    """
    facts = {"format": "shrinkage comparison", "format_version": 1, "about": about}
    with replacing(directory, overwrite, NAMES) as temporary:
        write_table(temporary / TABLE, [list(records[0]), *(list(r.values()) for r in records)])
        write_table(temporary / LOSSES, losses)
        for names, path in paths.items():
            tuned = path.slice(**_constant(path))
            tuned.save(temporary / PATHS / directory_name(*names))
        with atomic_write(temporary / MANIFEST) as stream:
            text = json.dumps({**facts, "rows": records}, indent=2, allow_nan=False)
            stream.write(text.encode() + b"\n")


def directory_name(optimizer: str, method: str) -> str:
    """Return what to call the directory of one method with one optimizer."""
    return re.sub(r"[^\w.-]+", "-", f"{optimizer}-{method}")


def _constant(path: PathResult) -> dict[str, float]:
    """Return the knobs that are the same at every point: those the method is not tuned over."""
    knobs = {name: sorted(set(values.tolist())) for name, values in path.knobs.items()}
    return {name: values[0] for name, values in knobs.items() if len(values) == 1}
