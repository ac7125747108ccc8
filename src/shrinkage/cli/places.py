"""Where results go: a free directory, checked before the training, and what was written there."""

from __future__ import annotations

import importlib.util
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import typer

from shrinkage.cli import screens
from shrinkage.cli.facts import without_nan
from shrinkage.disk.replacing import check_target, inventory
from shrinkage.disk.run_directory import RUN
from shrinkage.errors import ShrinkageError

if TYPE_CHECKING:
    from rich.console import Console


def check_free(directory: Path, overwrite: bool, names: frozenset[str] = RUN) -> None:
    """Refuse an output directory that could not be written, before the training.

    Args:
        directory: Where results will go.
        overwrite: Whether they may replace others.
        names: What of theirs it may hold.
    """
    present, foreign, _ = inventory(directory, names)
    if (present or foreign) and not overwrite:
        raise ShrinkageError(
            f"{directory} is in use. Choose another --out, or pass --overwrite to replace the run "
            "in it."
        )
    check_target(directory, overwrite, names)
    parent = next(place for place in directory.absolute().parents if place.exists())
    try:
        with TemporaryDirectory(dir=parent, prefix=".shrinkage-"):
            pass
    except OSError as error:
        raise ShrinkageError(
            f"{parent} cannot be written to ({error.strerror}). Choose another --out."
        ) from error


def free_directory(name: str, overwrite: bool) -> Path:
    """Return the first directory of this name, perhaps numbered, that is not there yet."""
    base = re.sub(r"[^\w.-]+", "-", name)
    names = (base if n == 1 else f"{base}-{n}" for n in count(1))
    places = (Path("runs") / name for name in names)
    return next(place for place in places if overwrite or not os.path.lexists(place))


def draw(
    figures: Callable[[], object], page: Callable[[], object] | None = None
) -> Exception | None:
    """Draw a page, and figures if matplotlib is there; a fault is handed back, not raised."""
    fault = None
    drawn = importlib.util.find_spec("matplotlib") is not None
    for step in (page, figures if drawn else None):
        try:
            if step is not None:
                step()
        except Exception as error:
            fault = error
    return fault


@dataclass(frozen=True)
class Saved:
    """What a job left behind.

    Attributes:
        directory: Where.
        contents: What each file that may be there holds.
        seconds: How long the command took.
        fault: What went wrong with the pictures: results are shown first.
    """

    directory: Path
    contents: Mapping[str, str]
    seconds: float
    fault: Exception | None

    @property
    def files(self) -> list[str]:
        """The names of the files that are there."""
        return [name for name in self.contents if (self.directory / name).exists()]

    def print_json(self, facts: Mapping[str, Any]) -> None:
        """Print where results are and what they say, as one JSON object."""
        places = {"directory": str(self.directory), "files": self.files}
        whole = {**places, "seconds": round(self.seconds, 3), **facts}
        typer.echo(json.dumps(without_nan(whole), indent=2))

    def show(self, screen: Console, more: str = "") -> None:
        """Print the paths of the files, and raise the fault if there is one."""
        screens.show_title(screen, "Saved", f"after {screens.show_time(self.seconds)}{more}")
        files = {str(self.directory / name): self.contents[name] for name in self.files}
        screens.show_files(screen, files)
        if self.fault is not None:
            raise self.fault
