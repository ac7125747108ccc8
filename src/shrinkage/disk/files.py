"""Whole files or none: write beside the target, flush to disk, then rename; read what is a file."""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from shrinkage.errors import ShrinkageError, shown

TEMPORARY = re.compile(r"\.(.+)\.[a-z0-9_]{8}")
"""The name under which a file is written before it gets its own."""


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


def leftovers(directory: Path, *patterns: str) -> list[Path]:
    """Return what killed processes have left of files of these names in a directory.

    Args:
        directory: The directory.
        patterns: Names of files that `atomic_write` writes there, such as ``"*.safetensors"``.
    """
    return [
        path
        for path in directory.glob(".*")
        if (name := TEMPORARY.fullmatch(path.name))
        and any(fnmatchcase(name[1], pattern) for pattern in patterns)
        and path.is_file()
        and not path.is_symlink()
    ]


def as_path(name: str, value: Any) -> Path:
    """Return the path that an argument names.

    Raises:
        ShrinkageError: It is no path, or an empty one, which would be the current directory.
    """
    text = os.fspath(value) if isinstance(value, str | os.PathLike) else None
    if not isinstance(text, str) or not text or "\0" in text:
        raise ShrinkageError(f"{name}={shown(value)}: give a path, such as 'runs/{name}'.")
    return Path(text)


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
