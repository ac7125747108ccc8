"""Whole files or none: write beside the target, flush to disk, then rename; read what is a file."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import IO

from shrinkage.errors import ShrinkageError


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file that becomes ``path`` only if the block ends without an error."""
    temporary: Path | None = None
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(descriptor, "wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
        _sync_directory(path.parent)
    except OSError as error:
        raise ShrinkageError(
            f"cannot write {path}: {error.strerror or error}. Free the disk or choose another "
            "place; what was there before is untouched."
        ) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def is_temporary(name: str, targets: Collection[str]) -> bool:
    """Return whether a file is what a killed `atomic_write` of one of these names leaves.

    Example:
        >>> is_temporary(".run.json.k3_x9ab2", ["run.json"]), is_temporary("run.json", ["run.json"])
        (True, False)
    """
    target, _, mark = name.removeprefix(".").rpartition(".")
    return name.startswith(".") and target in targets and bool(mark)


@contextmanager
def open_regular(path: Path) -> Iterator[BufferedReader]:
    """Open a regular file for reading; refuse pipes and devices, which may never end."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise ShrinkageError(f"{path} is not a regular file; give one.")
        with path.open("rb") as stream:
            yield stream
    except OSError as error:
        raise ShrinkageError(
            f"cannot read {path}: {error.strerror or error}; check the file and its permissions."
        ) from error


def read_regular(path: Path, max_bytes: int) -> bytes:
    """Return what a file holds, if that is not more than ``max_bytes``."""
    with open_regular(path) as stream:
        content = stream.read(max_bytes + 1)
    if len(content) > max_bytes:
        raise ShrinkageError(
            f"{path} holds more than {max_bytes:,} bytes, the most that is read from such a file."
        )
    return content


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
