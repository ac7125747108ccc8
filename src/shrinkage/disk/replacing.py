"""A whole directory or none: written beside its place, then exchanged with what stood there."""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

from shrinkage.disk.files import leftovers
from shrinkage.errors import ShrinkageError

NEW, OLD = ".new", ".old"


@contextmanager
def replacing(directory: Path, overwrite: bool, names: frozenset[str]) -> Iterator[Path]:
    """Yield an empty sibling that takes the place of ``directory`` if the block ends well.

    Whenever the process is killed, ``directory`` is what it was or what it becomes, at the latest
    after `put_back`, and what is left beside it is removed when something is written there again.

    Args:
        directory: The place; its parents are made.
        overwrite: Replace what is there.
        names: What may be there.
    """
    check_target(directory, overwrite, names)
    directory = directory.resolve()
    place = f".{directory.name}.{secrets.token_hex(8)}"
    temporary = directory.parent / (place + NEW)
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        _sweep(directory)
        temporary.mkdir()
        with _locked(temporary):
            yield temporary
            check_target(directory, overwrite, names)
            _put(temporary, directory, directory.parent / (place + OLD))
    except OSError as error:
        raise ShrinkageError(
            f"cannot write the run {directory}: {error.strerror or error}. Free the disk or choose "
            "another place; what was there before is untouched."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def check_target(directory: Path, overwrite: bool, names: frozenset[str]) -> None:
    """Refuse a directory that holds other names than these, or a run that is to be kept."""
    put_back(directory)
    present, foreign, _ = inventory(directory, names)
    if foreign:
        raise ShrinkageError(
            f"{directory} holds files that do not belong to a run: "
            f"{', '.join(sorted(foreign)[:5])}. Give a new or an empty directory."
        )
    if present and not overwrite:
        raise ShrinkageError(
            f"{directory} holds another run. Choose another directory, or pass overwrite=True to "
            "replace it."
        )


def inventory(directory: Path, names: Collection[str]) -> tuple[set[str], set[str], set[str]]:
    """Return what is in a directory: files of these names, others, and leftovers of killed writes.

    Raises:
        ShrinkageError: It is a link or a file.
    """
    if directory.is_symlink() or (directory.exists() and not directory.is_dir()):
        raise ShrinkageError(f"{directory} is a link or a file. Give a directory of its own.")
    present = {path.name for path in directory.iterdir()} if directory.exists() else set()
    left = {path.name for path in leftovers(directory, *names)}
    return present & set(names), present - set(names) - left, left


def put_back(directory: Path) -> None:
    """Put back a directory that a killed process had moved aside and not yet replaced."""
    with suppress(OSError):
        directory = directory.resolve()
        for old in [] if directory.exists() else _beside(directory, OLD):
            if not _in_use(old.with_suffix(NEW), if_unknown=False):
                old.rename(directory)


def _put(temporary: Path, directory: Path, aside: Path) -> None:
    if not directory.exists():
        temporary.rename(directory)
    elif not _exchanged(temporary, directory):
        directory.rename(aside)
        try:
            temporary.rename(directory)
        except OSError:
            aside.rename(directory)
            raise
        shutil.rmtree(aside, ignore_errors=True)


def _exchanged(one: Path, other: Path) -> bool:
    """Let two paths change places at once, where the system can."""
    change, at_this_path, exchange = _renameat2(), -100, 2
    if change is None:
        return False
    return bool(
        change(at_this_path, os.fsencode(one), at_this_path, os.fsencode(other), exchange) == 0
    )


@cache
def _renameat2() -> Any:
    """Return the C library's function of this name, or None where there is none."""
    function = getattr(ctypes.CDLL(None), "renameat2", None)
    if function is not None:
        path, number = ctypes.c_char_p, ctypes.c_int
        function.argtypes = (number, path, number, path, ctypes.c_uint)
    return function


def _sweep(directory: Path) -> None:
    """Remove what killed processes have left beside ``directory``."""
    with suppress(OSError):
        old = _beside(directory, OLD) if directory.exists() else []
        for left in [*old, *_beside(directory, NEW)]:
            if not _in_use(left.with_suffix(NEW), if_unknown=True):
                shutil.rmtree(left, ignore_errors=True)


def _beside(directory: Path, suffix: str) -> list[Path]:
    mine = re.compile(rf"\.{re.escape(directory.name)}\.[0-9a-f]{{16}}{re.escape(suffix)}")
    return sorted(
        path
        for path in directory.parent.iterdir()
        if mine.fullmatch(path.name) and path.is_dir() and not path.is_symlink()
    )


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Mark a directory as one that a living process is writing."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def _in_use(directory: Path, *, if_unknown: bool) -> bool:
    """Return whether a living process is writing this directory, as far as it can be known."""
    if not directory.exists():
        return False
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return if_unknown
    finally:
        os.close(handle)
    return False
