"""IDX, the file format of MNIST: plain or gzip, read without trusting what the header says."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from io import BufferedIOBase
from pathlib import Path

import torch
from torch import Tensor

from shrinkage.disk.files import open_regular
from shrinkage.errors import ShrinkageError

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_GZIP_MAGIC = b"\x1f\x8b"
_CHUNK = 1 << 18
_HIGHEST_LABEL = 65535


def read_idx(path: Path, max_bytes: int) -> Tensor:
    """Return the array of an IDX file, in the shape and the number type that its header names.

    Gzip is recognized by content, not by name. A header that promises too much is refused before
    anything is allocated, and a small file that expands without end is never held.

    Args:
        path: A regular file.
        max_bytes: Largest size of the uncompressed values.

    Raises:
        ShrinkageError: The file is not readable, not IDX, damaged, or larger than ``max_bytes``.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as directory:
        ...     path = Path(directory) / "labels-idx1-ubyte"
        ...     _ = path.write_bytes(bytes([0, 0, 0x08, 1, 0, 0, 0, 3, 7, 2, 1]))
        ...     read_idx(path, max_bytes=1000)
        tensor([7, 2, 1], dtype=torch.uint8)
    """
    with open_regular(path) as file:
        try:
            packed = file.read(len(_GZIP_MAGIC)) == _GZIP_MAGIC
            file.seek(0)
            if not packed:
                return _parse(file, path, max_bytes)
            with gzip.GzipFile(fileobj=file) as unpacked:
                return _parse(unpacked, path, max_bytes)
        except (EOFError, zlib.error, gzip.BadGzipFile) as error:
            raise ShrinkageError(
                f"{path}: the gzip data is cut short or damaged ({error}); fetch the file again."
            ) from error


def read_pair(
    directory: Path, names: set[str], prefix: str, max_bytes: int
) -> tuple[Tensor, Tensor] | None:
    """Return images and labels of one part of a directory, None if neither file is there.

    Args:
        directory: Where the files are.
        names: The names in that directory.
        prefix: "train" or "t10k".
        max_bytes: Largest uncompressed size of one file.

    Returns:
        uint8 images (N, height, width) and int64 labels (N,).

    Raises:
        ShrinkageError: One file of the two is missing, bad, or does not fit the other.

    Example:
        >>> read_pair(Path("."), {"notes.txt"}, "train", max_bytes=1000) is None
        True
    """
    images_path = _find(directory, names, f"{prefix}-images", "idx3")
    labels_path = _find(directory, names, f"{prefix}-labels", "idx1")
    if images_path is None and labels_path is None:
        return None
    if images_path is None:
        raise _no_partner(labels_path, f"{prefix}-images-idx3-ubyte")
    if labels_path is None:
        raise _no_partner(images_path, f"{prefix}-labels-idx1-ubyte")
    labels = _labels(labels_path, max_bytes)
    images = read_idx(images_path, max_bytes)
    if images.ndim != 3 or images.dtype != torch.uint8:
        raise ShrinkageError(
            f"{images_path} holds {images.dtype} in {images.ndim} dimensions, but images are "
            "torch.uint8 in 3; give the file of images under this name."
        )
    if len(images) != len(labels):
        raise ShrinkageError(
            f"{images_path} holds {len(images):,} images and {labels_path} {len(labels):,} labels; "
            "use two files of one data set."
        )
    return images, labels


def _find(directory: Path, names: set[str], stem: str, rank: str) -> Path | None:
    allowed = (f"{stem}{dot}{rank}-ubyte{end}" for dot in "-." for end in ("", ".gz"))
    return next((directory / name for name in allowed if name in names), None)


def _no_partner(present: Path | None, missing: str) -> ShrinkageError:
    return ShrinkageError(
        f"{present} is incomplete: {missing} or {missing}.gz is missing; put it beside the other."
    )


def _labels(path: Path, max_bytes: int) -> Tensor:
    labels = read_idx(path, max_bytes)
    if labels.ndim != 1 or labels.is_floating_point():
        raise ShrinkageError(
            f"{path} holds {labels.dtype} in {labels.ndim} dimensions, but labels are whole "
            "numbers in 1; give the file of labels under this name."
        )
    low, high = int(labels.min()), int(labels.max())
    if low < 0 or high > _HIGHEST_LABEL:
        raise ShrinkageError(
            f"{path} holds labels from {low} to {high}; allowed are classes from 0 to "
            f"{_HIGHEST_LABEL}. Number the classes from 0."
        )
    return labels.long()


def _parse(stream: BufferedIOBase, path: Path, max_bytes: int) -> Tensor:
    import numpy as np

    dtype, shape = _header(stream, path)
    promised = math.prod(shape) * np.dtype(dtype).itemsize
    sizes = " x ".join(map(str, shape))
    if promised == 0:
        raise ShrinkageError(f"{path} is empty: its header says {sizes}; fetch the file again.")
    if promised > max_bytes:
        raise ShrinkageError(
            f"{path}: its header says {sizes}, {promised:,} bytes, but max_bytes allows "
            f"{max_bytes:,}; raise max_bytes if the file is sound."
        )
    array = np.empty(shape, dtype)
    room = array.reshape(-1).view("u1").data
    found = 0
    while found < promised and (taken := stream.readinto(room[found : found + _CHUNK])):
        found += taken
    found, more = _count(stream, found, max_bytes)
    if found != promised:
        raise ShrinkageError(
            f"{path}: its header says {sizes}, {promised:,} bytes, and {more}{found:,} bytes "
            "follow it; fetch the file again."
        )
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), copy=False))


def _header(stream: BufferedIOBase, path: Path) -> tuple[str, tuple[int, ...]]:
    magic = stream.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0":
        raise ShrinkageError(
            f"{path} is not an IDX file: it begins with the bytes [{magic.hex(' ')}], an IDX file "
            "with 00 00, a type and a number of dimensions; give an MNIST-style file."
        )
    kind, dimensions = magic[2], magic[3]
    if kind not in _TYPES:
        raise ShrinkageError(
            f"{path}: unknown IDX type 0x{kind:02x}; allowed are "
            f"{', '.join(f'0x{known:02x}' for known in _TYPES)}. Fetch the file again."
        )
    if not 1 <= dimensions <= 3:
        raise ShrinkageError(
            f"{path}: its header says {dimensions} dimensions; allowed are 1, 2 and 3. "
            "Fetch the file again."
        )
    sizes = stream.read(4 * dimensions)
    if len(sizes) < 4 * dimensions:
        raise ShrinkageError(
            f"{path}: the header needs {4 + 4 * dimensions} bytes and has {4 + len(sizes)}; "
            "fetch the file again."
        )
    return _TYPES[kind], struct.unpack(f">{dimensions}I", sizes)


def _count(stream: BufferedIOBase, found: int, max_bytes: int) -> tuple[int, str]:
    """Bytes up to the end of the stream or to ``max_bytes``; "more than " if it goes on."""
    while chunk := stream.read(_CHUNK):
        if found + len(chunk) > max_bytes:
            return max(found, max_bytes), "more than "
        found += len(chunk)
    return found, ""
