"""What a run has trained so far, on disk: checked files, one writer, one set of facts."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from shrinkage.disk.files import atomic_write, leftovers, open_regular, read_regular
from shrinkage.disk.storable import storable
from shrinkage.engine.keep.entry import Entry
from shrinkage.errors import CheckpointError, warn
from shrinkage.identity import differences

FORMAT, VERSION = "shrinkage checkpoint", 1
MANIFEST, LOCK, SUFFIX = "manifest.json", "lock", ".safetensors"
NAMES = (MANIFEST, f"*{SUFFIX}")
MOST_OF_A_MANIFEST = 2**24


class Store:
    """A directory of entries by name; made by :func:`open_store`.

    The name of a file holds the hash of its content, so a file that was cut short or changed is
    found out when it is read. It is left out with a warning, and what it held is trained again.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def put(self, name: str, about: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Write an entry, whole or not at all, in place of an earlier one of this name."""
        from safetensors.torch import save

        own = {
            key: tensor.detach().contiguous().clone() for key, tensor in storable(tensors).items()
        }
        content = save(own, {"about": json.dumps(dict(about), allow_nan=False)})
        target = self._directory / f"{name}.{_digest(content)}{SUFFIX}"
        with atomic_write(target) as stream:
            stream.write(content)
        with _faults_named(self._directory):
            for earlier in self._directory.glob(f"{name}.*{SUFFIX}"):
                if earlier != target:
                    earlier.unlink(missing_ok=True)

    def entries(self) -> Iterator[Entry]:
        """Yield every entry that is whole; where two have one name, only the newer."""
        seen: set[str] = set()
        with _faults_named(self._directory):
            newest_first = sorted(
                self._directory.glob(f"*{SUFFIX}"), key=lambda path: path.lstat().st_mtime_ns
            )[::-1]
        for path in newest_first:
            name, digest, *_ = path.name.split(".")
            if name in seen:
                continue
            try:
                with open_regular(path) as stream:
                    content = stream.read()
                if _digest(content) != digest:
                    raise ValueError("its content is not what was written")
                size = int.from_bytes(content[:8], "little")
                about = json.loads(json.loads(content[8 : 8 + size])["__metadata__"]["about"])
                if not isinstance(about, dict):
                    raise TypeError("nothing is said of its tensors")
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                warn_damaged(path, error)
            else:
                seen.add(name)
                yield Entry(about, path)


def warn_damaged(path: Path, why: object) -> None:
    """Say that a file is not used."""
    warn("damaged", f"{path} ({why}); its members are trained again.")


@contextmanager
def open_store(directory: Path, facts: Mapping[str, str]) -> Iterator[Store]:
    """Open the checkpoint of a run, or begin one, for this process alone.

    Args:
        directory: A new or empty directory, or one that a run with the same facts wrote.
        facts: Everything that the trained numbers depend on, in words or hashes.

    Raises:
        CheckpointError: The directory is another run's (the facts that differ are given), is no
            checkpoint, is in use, or cannot be written.
    """
    with _faults_named(directory):
        _check_names(directory)
        directory.mkdir(parents=True, exist_ok=True)
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        with _faults_named(directory):
            _take(lock, directory)
            for leftover in leftovers(directory, *NAMES):
                leftover.unlink(missing_ok=True)
            _check_facts(directory, facts)
        yield Store(directory)
    finally:
        os.close(lock)


@contextmanager
def _faults_named(directory: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"checkpoint={str(directory)!r} cannot be written: {error.strerror or error}. Choose "
            "another directory."
        ) from error


def _check_names(directory: Path) -> None:
    """Refuse a directory of something else, before anything is written there."""
    if not directory.is_dir() or (directory / MANIFEST).exists():
        return
    ours = {LOCK, *(path.name for path in leftovers(directory, *NAMES))}
    foreign = {path.name for path in directory.iterdir()} - ours
    if foreign:
        raise CheckpointError(
            f"checkpoint={str(directory)!r} holds files that do not belong to a checkpoint: "
            f"{', '.join(sorted(foreign)[:5])}. Give a new or an empty directory."
        )


def _take(lock: int, directory: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        raise CheckpointError(
            f"checkpoint={str(directory)!r} is in use by another run; wait for it, or choose "
            "another directory."
        ) from error


def _check_facts(directory: Path, facts: Mapping[str, str]) -> None:
    path = directory / MANIFEST
    if not path.exists():
        with atomic_write(path) as stream:
            whole = {"format": FORMAT, "version": VERSION, "facts": dict(facts)}
            stream.write(json.dumps(whole, indent=2).encode() + b"\n")
        return
    try:
        manifest = json.loads(read_regular(path, MOST_OF_A_MANIFEST))
        known = (manifest["format"], manifest["version"]) == (FORMAT, VERSION)
        earlier = dict(manifest["facts"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        known, earlier = False, {}
    if not known:
        raise CheckpointError(
            f"{path} is not the manifest of a checkpoint of this version; give a new directory."
        )
    changed = differences(earlier, facts)
    if changed:
        raise CheckpointError(
            f"checkpoint={str(directory)!r} belongs to another run:\n  "
            + "\n  ".join(changed)
            + "\n"
            "Only strengths, seeds and epochs may be added. Give a new directory, or the run as it "
            "was."
        )


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:32]
