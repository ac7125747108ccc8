"""A run on disk: ``manifest.json``, ``results.csv`` and safetensors files, whole or not at all.

This file knows names, bytes and checksums and nothing of what the tensors mean. Nothing is ever
pickled, and no name found inside a file is followed: only the four names below are opened.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from shrinkage.disk.files import atomic_write, open_regular, read_regular
from shrinkage.disk.replacing import put_back, replacing
from shrinkage.errors import ShrinkageError

if TYPE_CHECKING:
    from torch import Tensor

FORMAT = "shrinkage run"
FORMAT_VERSION = 1
MANIFEST, TABLE, PATH, WEIGHTS = (
    "manifest.json",
    "results.csv",
    "path.safetensors",
    "weights.safetensors",
)
RUN = frozenset({MANIFEST, TABLE, PATH, WEIGHTS, "path.png", "path.svg", "report.html"})
"""The names of the files that a run may hold; pictures and report are drawn later."""

MOST_OF_A_MANIFEST = 2**30
"""Bytes; it holds facts, and one number for each strength."""


def write(
    directory: Path,
    facts: Mapping[str, Any],
    rows: Iterable[Sequence[object]],
    tensors: Mapping[str, Tensor],
    weights: Mapping[str, Tensor] | None,
    *,
    overwrite: bool,
) -> None:
    """Write a run beside ``directory``, then rename it into place; on any error nothing changes.

    Args:
        directory: Where the run goes; its parents are made.
        facts: The JSON-able content of the manifest; format, version and checksums are added here.
        rows: The table, its header first. Floats are written so that they read back exactly.
        tensors: The content of ``path.safetensors``.
        weights: The content of ``weights.safetensors``; ``None`` leaves the file out.
        overwrite: Replace a run that is already there.
    """
    with replacing(directory, overwrite, RUN) as temporary:
        write_table(temporary / TABLE, rows)
        _write_tensors(temporary / PATH, tensors)
        if weights is not None:
            _write_tensors(temporary / WEIGHTS, weights)
        files = {path.name: _sha256(path) for path in sorted(temporary.iterdir())}
        manifest = {"format": FORMAT, "format_version": FORMAT_VERSION, **facts, "files": files}
        with atomic_write(temporary / MANIFEST) as stream:
            stream.write(_encode({**manifest, "sha256": _digest(manifest)}, indent=2) + b"\n")


def read(directory: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read the manifest and the tensors of a run, after every checksum has been verified."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    from shrinkage.disk.storable import restored

    check_run(directory)
    manifest = _read_manifest(directory / MANIFEST)
    files = manifest.pop("files")
    if not {TABLE, PATH} <= set(files) <= {TABLE, PATH, WEIGHTS}:
        raise ShrinkageError(
            f"{directory / MANIFEST}: the list of files in it is not that of a run."
        )
    for name, digest in files.items():
        if not (directory / name).is_file():
            raise ShrinkageError(
                f"{directory / name} is missing: the run is incomplete. Restore or rerun it."
            )
        if _sha256(directory / name) != digest:
            raise ShrinkageError(
                f"{directory / name} is not the file that was saved (its sha256 differs from the "
                "manifest's). Restore it from a copy or rerun."
            )
    try:
        return manifest, restored(load_file(directory / PATH))
    except (SafetensorError, OSError, ValueError) as error:
        raise ShrinkageError(f"{directory / PATH} is not a safetensors file: {error}.") from error


def check_run(directory: Path) -> None:
    """Refuse what is no run directory, without loading torch."""
    put_back(directory)
    if not (directory / MANIFEST).is_file():
        raise ShrinkageError(
            f"{directory} is not a run directory: it has no {MANIFEST}. Give a directory that "
            "shrinkage path or PathResult.save wrote."
        )


def write_table(path: Path, rows: Iterable[Sequence[object]]) -> None:
    """Write a CSV file, its header first; floats are written so that they read back exactly."""
    with atomic_write(path) as stream:
        text = io.TextIOWrapper(stream, encoding="utf-8", newline="")
        csv.writer(text, lineterminator="\n").writerows(rows)
        text.detach()


def _write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    from shrinkage.disk.storable import storable

    seen: set[int] = set()
    separate: dict[str, Tensor] = {}
    for name, tensor in storable(tensors).items():
        storage = tensor.untyped_storage().data_ptr()
        tensor = tensor.detach().contiguous()
        separate[name] = tensor.clone() if storage in seen else tensor
        seen.add(storage)
    try:
        save_file(separate, path)
    except (SafetensorError, RuntimeError, ValueError, KeyError) as error:
        raise ShrinkageError(f"cannot write {path.name}: {error}. Nothing was saved.") from error
    path.chmod(0o644)
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        text = read_regular(path, MOST_OF_A_MANIFEST)
        manifest = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_no_duplicates)
    except (OSError, ValueError, RecursionError) as error:
        raise ShrinkageError(f"{path} is not a readable manifest: {error}.") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ShrinkageError(f"{path} is not the manifest of a {FORMAT}.")
    version = manifest.get("format_version")
    if version != FORMAT_VERSION:
        raise ShrinkageError(
            f"{path} has format version {str(version)[:20]}; this shrinkage reads version "
            f"{FORMAT_VERSION}. Load it with the shrinkage that wrote it, or a newer one."
        )
    digest = manifest.pop("sha256", None)
    if digest != _digest(manifest) or not isinstance(manifest.get("files"), dict):
        raise ShrinkageError(
            f"{path} was changed after it was saved (its sha256 differs). Restore it or rerun."
        )
    return manifest


def _no_constant(text: str) -> NoReturn:
    raise ValueError(f"{text} is not a JSON number")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        raise ValueError("a key occurs twice")
    return content


def _encode(content: Mapping[str, Any], indent: int | None = None) -> bytes:
    return json.dumps(content, allow_nan=False, indent=indent).encode()


def _digest(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(_encode(manifest)).hexdigest()


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with open_regular(path) as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
