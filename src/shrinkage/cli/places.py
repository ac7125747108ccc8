"""Where results go: a free directory, checked before the training."""

from __future__ import annotations

import os
import re
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from shrinkage.disk.replacing import check_target
from shrinkage.disk.run_directory import RUN
from shrinkage.errors import ShrinkageError


def check_free(directory: Path, overwrite: bool, names: frozenset[str] = RUN) -> None:
    """Refuse an output directory that could not be written, before the training.

    Args:
        directory: Where results will go.
        overwrite: Whether they may replace others.
        names: What of theirs it may hold.
    """
    ours = directory.is_dir() and not directory.is_symlink()
    if ours and not overwrite and any(directory.iterdir()):
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
