"""NumPy archives: what is read, and what is refused. Numbers are those of the fault list."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shrinkage.data import load_data, split_test
from shrinkage.errors import ShrinkageError

X = np.arange(24, dtype=np.float64).reshape(8, 3)
Y = np.array([0, 1, 2, 1, 0, 2, 1, 0])
IMAGES = np.arange(8 * 4, dtype=np.uint8).reshape(8, 2, 2) * 8


def save(path: Path, **arrays: Any) -> Path:
    np.savez_compressed(path, **arrays)
    return path


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "mine.npz"


def test_rows_and_targets(place: Path) -> None:
    data = load_data(save(place, X=X, y=Y))
    assert torch.equal(data.X, torch.tensor(X).float())
    assert (data.y.tolist(), data.classes) == (Y.tolist(), ("0", "1", "2"))
    assert (data.name, data.feature_shape, data.test) == ("mine", (3,), None)


@pytest.mark.parametrize("kind", ["?", "i1", "u2", ">i4", "i8", "f2", ">f4", "f8"])
def test_every_type_of_number(place: Path, kind: str) -> None:
    array = (X % 2).astype(kind)
    data = load_data(save(place, X=array, y=Y))
    assert data.X.tolist() == (X % 2).tolist()


def test_images_are_flat_and_between_0_and_1_as_from_idx_files(place: Path) -> None:
    data = load_data(save(place, x=IMAGES, y=Y))
    assert data.feature_shape == (2, 2)
    torch.testing.assert_close(data.X, torch.tensor(IMAGES.reshape(8, 4) / 255).float())
    table = load_data(save(place, X=IMAGES.reshape(8, 4), y=Y))
    assert torch.equal(table.X, torch.tensor(IMAGES.reshape(8, 4)).float())


def test_keras_names_and_a_test_part_of_its_own(place: Path) -> None:
    save(place, x_train=X[:6], y_train=Y[:6] + 5, x_test=X[6:], y_test=Y[6:] + 5)
    train, test = split_test(load_data(place))
    assert torch.equal(train.X, torch.tensor(X[:6]).float())
    assert torch.equal(test.X, torch.tensor(X[6:]).float())
    assert (train.y.tolist(), test.y.tolist()) == (Y[:6].tolist(), Y[6:].tolist())
    assert train.classes == test.classes == ("5", "6", "7")
    assert (train.name, test.name) == ("mine", "mine test")


def test_a_test_part_without_one_of_the_classes_keeps_their_numbers(place: Path) -> None:
    save(place, X=X[:6], y=Y[:6], X_test=X[6:], y_test=np.array([2, 2]))
    assert split_test(load_data(place))[1].y.tolist() == [2, 2]


def test_target_task_and_texts(place: Path) -> None:
    save(place, X=X, y=Y, price=Y[:, None] / 2, word=np.array(list("baabbaab")))
    assert load_data(place, target="price").task == "regression"
    assert load_data(place, target="word").classes == ("a", "b")
    assert load_data(place, task="regression").y.tolist() == Y.tolist()


def test_missing_values(place: Path) -> None:
    holes = X.copy()
    holes[2, 1] = np.nan
    save(place, X=holes, y=Y)
    with pytest.raises(ShrinkageError, match=r"lacks values in 'column 2' \(1\), 1 of 8 rows"):
        load_data(place)
    assert len(load_data(place, missing="drop").y) == 7
    imputed = load_data(place, missing="mean")
    assert imputed.X.isnan().nonzero().tolist() == [[2, 1]]
    assert imputed.notes == ("1 missing value imputed",)
    save(place, X=holes[:4], y=Y[:4], X_test=X[4:], y_test=Y[4:])
    data = load_data(place, missing="drop")
    assert (len(data.y), len(data.test.y) if data.test else 0) == (3, 4)


def member(content: bytes, name: str = "X.npy", **more: bytes) -> bytes:
    """An archive of one sound target and of ``content``."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("y.npy", array(Y))
        archive.writestr(name, content)
    return packed.getvalue()


def array(values: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, **options)
    return stream.getvalue()


def header(text: str) -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) + 1) + text.encode() + b"\n"


SOUND = member(array(X))
HUGE = "{'descr': '<f8', 'fortran_order': False, 'shape': (10000, 1000000000)}"
BAD: dict[str, tuple[bytes, str]] = {
    "7-text": (
        b"1,2,3\n" * 30,
        "damaged or not an .npz file: File is not a zip file. Write it with numpy",
    ),
    "7-empty": (b"", "damaged or not an .npz file"),
    "7-truncated": (SOUND[:-30], "damaged or not an .npz file"),
    "7-object": (member(array(np.array([{}, []], object), allow_pickle=True)), "array of object"),
    "7-complex": (member(array(X + 1j)), "array of complex128"),
    "7-dates": (member(array(X.astype("M8[s]"))), "array of datetime64"),
    "7-no-X": (member(array(X), "Z.npy"), "no array 'X'; it holds Z, y"),
    "7-traversal": (member(array(X), "../../X.npy"), "no array 'X'"),
    "7-plain-member": (member(b"not an array"), "damaged or not an .npz file"),
    "8-80-TB": (member(header(HUGE)), r"X: its header says 80,000,000,000,000 bytes"),
    "8-negative": (member(header(HUGE.replace("10000,", "-1,"))), "holds no rows"),
    "8-short": (member(array(X)[:-8]), "damaged or not an .npz file"),
    "8-long": (member(array(X) + b"more"), "holds more than its header says"),
    "16-no-rows": (member(array(X[:0])), "holds no rows"),
    "16-fewer-rows": (member(array(X[:5])), r"has 5 rows and targets of shape \(8,\)"),
    "15-float32": (member(array(X * 1e39)), r"'column 1' holds 3e\+39 in row 2"),
    "12-inf": (member(array(np.where(X == 5, np.inf, X))), "'column 3' holds inf in row 2"),
    "13-flat": (member(array(Y)), r"X holds int64 \(8,\); give rows of numbers"),
    "13-texts": (member(array(X.astype(str))), "X holds <U"),
}


@pytest.mark.parametrize("fault", BAD)
def test_bad_archive_is_one_error(place: Path, fault: str) -> None:
    content, said = BAD[fault]
    place.write_bytes(content)
    with pytest.raises(ShrinkageError, match=said) as caught:
        load_data(place)
    assert str(place) in str(caught.value)
    assert "pickle" not in str(caught.value)
    assert list(place.parent.iterdir()) == [place]


def test_flipped_byte_is_noticed(place: Path) -> None:
    np.savez(place, X=X, y=Y)
    content = bytearray(place.read_bytes())
    content[content.index(X.tobytes()[8:32]) + 3] ^= 1
    place.write_bytes(content)
    with pytest.raises(ShrinkageError, match=r"damaged .*: Bad CRC-32"):
        load_data(place)


def test_two_arrays_of_one_name(place: Path) -> None:
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("X.npy", array(X))
        with pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("X.npy", array(X))
    with pytest.raises(ShrinkageError, match="two arrays of the same name"):
        load_data(place)


def test_fault_6_a_bomb_is_refused_before_it_is_held(place: Path) -> None:
    save(place, X=np.zeros((8, 1 << 20)), y=Y)
    assert place.stat().st_size < 100_000
    tracemalloc.start()
    with pytest.raises(ShrinkageError, match="67,108,864 bytes, but max_bytes allows 1,000,000"):
        load_data(place, max_bytes=1_000_000)
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_options_that_mean_nothing_here(place: Path) -> None:
    save(place, X=X, y=Y)
    with pytest.raises(ShrinkageError, match="no array 'z'; it holds X, y"):
        load_data(place, target="z")
    with pytest.raises(ShrinkageError, match=r"no columns to choose from, so ignore=\['a'\]"):
        load_data(place, ignore=["a"])
    with pytest.raises(ShrinkageError, match="so target='a' has no meaning"):
        load_data("iris", target="a")


def test_a_pipe_is_refused(place: Path) -> None:
    os.mkfifo(place)
    with pytest.raises(ShrinkageError, match="not a regular file"):
        load_data(place)


@given(data=st.data())
@settings(max_examples=300, derandomize=True, deadline=None, database=None)
def test_only_a_shrinkage_error_escapes_from_any_bytes(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.npz"
    np.savez(path, X=X, y=Y)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] or content)
    with contextlib.suppress(ShrinkageError):
        load_data(path, missing="mean", max_bytes=1 << 20)


@given(text=st.text("{}()[],:'<f8desrotan_hp0123456789 -", max_size=80))
@settings(max_examples=200, derandomize=True, deadline=None, database=None)
def test_only_a_shrinkage_error_escapes_from_any_header(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "header.npz"
    path.write_bytes(member(header(text)))
    with contextlib.suppress(ShrinkageError):
        load_data(path, max_bytes=1 << 20)
