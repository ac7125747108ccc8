"""Native code kept between runs: private, regular and whole, or as good as not there.

What is found here is run. So the folder and the file have to belong to this user and to be writable
by nobody else, and the name of a file holds the hash of its content: a file that was cut short or
changed is no longer what its name says.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

SCRATCH = ".making."
ABANDONED_AFTER = 24 * 3600.0
"""Seconds after which what is still being made is taken for a killed process's."""


def is_private_folder(path: Path) -> bool:
    """Return whether ``path`` is a directory that nobody but this user can write to."""
    status = path.lstat()
    return stat.S_ISDIR(status.st_mode) and _is_own(status)


def is_private_file(path: Path) -> bool:
    """Return whether ``path`` is a regular file that nobody but this user can write to."""
    status = path.lstat()
    return stat.S_ISREG(status.st_mode) and _is_own(status)


def _is_own(status: os.stat_result) -> bool:
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


@dataclass(frozen=True)
class Shelf:
    """The place of one file in a private folder.

    Attributes:
        folder: The folder.
        key: All that the content depends on, as a hash.
        suffix: What the name ends in.
    """

    folder: Path
    key: str
    suffix: str

    def found(self) -> Path | None:
        """Return the file, or None if there is none that is private and whole."""
        for path in self._all():
            with suppress(OSError):
                if is_private_file(path) and path.name == self._name(path):
                    return path
        return None

    def make(self, write: Callable[[Path], object]) -> Path:
        """Let ``write`` make a file at the path that it is given; keep it, and return its place."""
        _sweep(self.folder)
        with TemporaryDirectory(dir=self.folder, prefix=SCRATCH) as scratch:
            made = Path(scratch, f"made{self.suffix}")
            write(made)
            made.chmod(0o600)
            name = self._name(made)
            self.clear()
            return made.replace(self.folder / name)

    def clear(self) -> None:
        """Remove the file, and whatever else stands in its place."""
        for path in self._all():
            with suppress(OSError):
                _remove(path)

    def _all(self) -> list[Path]:
        return sorted(self.folder.glob(f"{self.key}.*{self.suffix}"))

    def _name(self, path: Path) -> str:
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        return f"{self.key}.{digest[:32]}{self.suffix}"


def _sweep(folder: Path) -> None:
    """Remove what processes that were killed long ago had begun to make."""
    for path in folder.glob(f"{SCRATCH}*"):
        with suppress(OSError):
            if time.time() - path.lstat().st_mtime > ABANDONED_AFTER:
                _remove(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
