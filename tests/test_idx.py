from __future__ import annotations

import gzip
import os
import struct
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shrinkage.data import load_data
from shrinkage.data.idx import read_idx
from shrinkage.errors import ShrinkageError

MEGABYTE = 1 << 20
TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
IMAGES = np.arange(10 * 3 * 2, dtype=np.uint8).reshape(10, 3, 2) * 4
LABELS = np.array([3, 1, 0, 2, 2, 0, 1, 3, 3, 0], dtype=np.uint8)


def idx(array: np.ndarray[Any, Any], kind: int = 0x08) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, kind, array.ndim, *array.shape)
    return header + array.astype(TYPES[kind]).tobytes()


def put(directory: Path, part: str = "t10k", end: str = "", **replaced: bytes) -> Path:
    """A directory with one part; ``images=`` or ``labels=`` replaces the bytes of a file."""
    pack = gzip.compress if end else bytes
    images = replaced.get("images", pack(idx(IMAGES)))
    labels = replaced.get("labels", pack(idx(LABELS)))
    (directory / f"{part}-images-idx3-ubyte{end}").write_bytes(images)
    (directory / f"{part}-labels-idx1-ubyte{end}").write_bytes(labels)
    return directory


# Bytes of every kind


def test_gzip_name_with_plain_content_and_plain_name_with_gzip_content(tmp_path: Path) -> None:
    put(tmp_path, end=".gz", images=idx(IMAGES), labels=gzip.compress(idx(LABELS)))
    put(tmp_path, "train", images=gzip.compress(idx(IMAGES)))
    data = load_data(tmp_path)
    assert data.test is not None
    assert torch.equal(data.X, data.test.X)


def test_two_gzip_members_are_one_file(tmp_path: Path) -> None:
    whole = idx(IMAGES)
    put(tmp_path, end=".gz", images=gzip.compress(whole[:31]) + gzip.compress(whole[31:]))
    assert len(load_data(tmp_path).X) == 10


@pytest.mark.parametrize("kind", TYPES)
def test_every_type_is_read_big_endian(tmp_path: Path, kind: int) -> None:
    limits = np.iinfo(TYPES[kind]) if kind < 0x0D else np.finfo(TYPES[kind])
    array = np.array([[limits.min, 1, 0], [limits.max, 2, 3]], dtype=TYPES[kind])
    path = tmp_path / "array"
    path.write_bytes(idx(array, kind))
    read = read_idx(path, 1000)
    assert read.tolist() == array.tolist()
    assert read.numpy().dtype == array.dtype.newbyteorder("=")


@given(data=st.data())
@settings(max_examples=300, derandomize=True, deadline=None, database=None)
def test_only_a_shrinkage_error_escapes_from_damaged_bytes(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    sound = data.draw(st.sampled_from([idx(LABELS), idx(IMAGES), idx(IMAGES, 0x0E), PACKED, b""]))
    content = bytearray(sound[: data.draw(st.integers(0, len(sound)))])
    for _ in range(data.draw(st.integers(0, 3)) if content else 0):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content += data.draw(st.binary(max_size=20))
    path = tmp_path_factory.getbasetemp() / "fuzzed"
    path.write_bytes(bytes(content))
    try:
        read = read_idx(path, MEGABYTE)
    except ShrinkageError:
        return
    assert 0 < read.numel() * read.element_size() <= MEGABYTE


# Bad files


def header(kind: int, *sizes: int) -> bytes:
    return struct.pack(f">BBBB{len(sizes)}I", 0, 0, kind, len(sizes), *sizes)


PACKED = gzip.compress(idx(IMAGES))
FLIPPED = bytearray(PACKED)
FLIPPED[-6] ^= 0x10


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (b"", r"not an IDX file: it begins with the bytes \[\]"),
        (b"\x89PNG\r\n", r"not an IDX file: it begins with the bytes \[89 50 4e 47\]"),
        (header(0x07, 1, 1, 1) + b"0", "unknown IDX type 0x07; allowed are 0x08, .* 0x0e"),
        (header(0x08) + b"0", "says 0 dimensions"),
        (header(0x08, 1, 1, 1, 1) + b"0", "says 4 dimensions"),
        (header(0x08, 10, 3, 2)[:-3], "header needs 16 bytes and has 13"),
        (header(0x08, 0, 3, 2), "is empty: its header says 0 x 3 x 2"),
        (idx(IMAGES)[:-5], "says 10 x 3 x 2, 60 bytes, and 55 bytes follow"),
        (idx(IMAGES) + b"more", "says 10 x 3 x 2, 60 bytes, and 64 bytes follow"),
        (
            header(0x08, 1 << 31, 1 << 31, 1),
            r"4,611,686,018,427,387,904 bytes, but max_bytes allows",
        ),
        (header(0x0E, *[2**32 - 1] * 3), "raise max_bytes"),
        (gzip.compress(header(0x08, 1 << 31, 1 << 31)), "raise max_bytes"),
        (gzip.compress(idx(IMAGES)[:-5]), "60 bytes, and 55 bytes follow"),
        (PACKED[:-20], "gzip data is cut short or damaged"),
        (PACKED[:-2], "gzip data is cut short or damaged"),
        (PACKED[:5], "gzip data is cut short or damaged"),
        (bytes(FLIPPED), "gzip data is cut short or damaged"),
        (PACKED + b"garbage", "gzip data is cut short or damaged"),
        (idx(LABELS), "holds torch.uint8 in 1 dimensions, but images are torch.uint8 in 3"),
        (idx(IMAGES, 0x0D), "holds torch.float32 in 3 dimensions"),
        (idx(IMAGES[:9]), "holds 9 images and .*t10k-labels-idx1-ubyte 10 labels"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_images_are_refused_by_name(tmp_path: Path, images: bytes, message: str) -> None:
    put(tmp_path, images=images)
    with pytest.raises(ShrinkageError, match=f"t10k-images-idx3-ubyte.*{message}"):
        load_data(tmp_path)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (idx(IMAGES), "holds torch.uint8 in 3 dimensions, but labels are whole numbers in 1"),
        (idx(LABELS, 0x0E), "holds torch.float64 in 1 dimensions"),
        (idx(LABELS.astype("i1") - 1, 0x09), "labels from -1 to 2"),
        (idx(LABELS.astype("i4") * 30000, 0x0C), "labels from 0 to 90000"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_bad_labels_are_refused_by_name(tmp_path: Path, labels: bytes, message: str) -> None:
    put(tmp_path, labels=labels)
    with pytest.raises(ShrinkageError, match=f"t10k-labels-idx1-ubyte.*{message}"):
        load_data(tmp_path)


def test_labels_of_a_wider_type_are_read(tmp_path: Path) -> None:
    data = load_data(put(tmp_path, labels=idx(LABELS.astype("i4") + 300, 0x0C)))
    assert data.y.tolist() == (LABELS.astype(int) + 300).tolist()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no FIFO on this system")
def test_a_fifo_is_refused_without_waiting_for_it(tmp_path: Path) -> None:
    images = put(tmp_path) / "t10k-images-idx3-ubyte"
    images.unlink()
    os.mkfifo(images)
    with pytest.raises(ShrinkageError, match="t10k-images-idx3-ubyte is not a regular file"):
        load_data(tmp_path)
    with pytest.raises(ShrinkageError, match="unknown ending"):
        load_data(images)


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("nowhere")])
def test_a_directory_or_a_dead_link_in_place_of_a_file(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    images = put(tmp_path) / "t10k-images-idx3-ubyte"
    images.unlink()
    make(images)
    with pytest.raises(ShrinkageError, match="t10k-images-idx3-ubyte"):
        load_data(tmp_path)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads all files")
def test_an_unreadable_file_is_refused(tmp_path: Path) -> None:
    (put(tmp_path) / "t10k-images-idx3-ubyte").chmod(0)
    with pytest.raises(ShrinkageError, match=r"cannot read .*t10k-images-idx3-ubyte"):
        load_data(tmp_path)


@pytest.mark.parametrize(
    "promised", [60, 60 * MEGABYTE, 4 * MEGABYTE], ids=["less", "over", "more"]
)
def test_a_gzip_bomb_stays_under_the_cap(tmp_path: Path, promised: int) -> None:
    bomb = gzip.compress(header(0x08, promised) + bytes(50 * MEGABYTE))
    assert len(bomb) < 60_000
    path = tmp_path / "bomb.gz"
    path.write_bytes(bomb)
    cap = 8 * MEGABYTE
    tracemalloc.start()
    try:
        with pytest.raises(ShrinkageError, match=r"more than 8,388,608 bytes|raise max_bytes"):
            read_idx(path, cap)
        assert tracemalloc.get_traced_memory()[1] < cap
    finally:
        tracemalloc.stop()


def test_a_file_as_large_as_the_cap_is_read_and_one_byte_more_is_not(tmp_path: Path) -> None:
    assert len(load_data(put(tmp_path), max_bytes=60).X) == 10
    with pytest.raises(ShrinkageError, match="60 bytes, but max_bytes allows 59"):
        load_data(tmp_path, max_bytes=59)
