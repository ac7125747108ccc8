"""Parquet: what is read, and what is refused. Numbers are those of the fault list."""

from __future__ import annotations

import contextlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from shrinkage.data import load_data
from shrinkage.errors import ShrinkageError


def write(path: Path, **columns: Any) -> Path:
    parquet.write_table(pyarrow.table(columns), path, write_page_checksum=True)
    return path


def test_parquet_is_read_as_the_same_table_in_csv(tmp_path: Path) -> None:
    path = write(
        tmp_path / "table.parquet",
        size=pyarrow.array([1, 2.5, -3, 0.5]),
        color=pyarrow.array(["red", "blue", "red", "green"]).dictionary_encode(),
        kind=["u", "v", "u", "v"],
    )
    text = tmp_path / "table.csv"
    text.write_text("size,color,kind\n1,red,u\n2.5,blue,v\n-3,red,u\n0.5,green,v\n")
    data, same = load_data(path, target="kind"), load_data(text, target="kind")
    assert data.feature_names == same.feature_names
    assert (data.sha256, data.classes) == (same.sha256, same.classes)


def test_parquet_numbers_truths_and_holes(tmp_path: Path) -> None:
    path = write(
        tmp_path / "t.parquet",
        whole=pyarrow.array([1, None, 3, 4], pyarrow.int64()),
        half=np.array([1, 2, 3, 4], np.float16),
        true=pyarrow.array([True, False, None, True]),
        y=[True, False, True, False],
    )
    data = load_data(path, target="y", missing="mean")
    torch.testing.assert_close(data.X[:, 0], torch.tensor([1, torch.nan, 3, 4]), equal_nan=True)
    torch.testing.assert_close(data.X[:, 2], torch.tensor([1, 0, torch.nan, 1]), equal_nan=True)
    assert data.classes == ("False", "True")
    with pytest.raises(ShrinkageError, match=r"'whole' \(1\), 'true' \(1\)"):
        load_data(path, target="y")


@pytest.mark.parametrize(
    ("column", "said"),
    [
        (pyarrow.array([[1], [2]]), "'a' holds list<"),
        (pyarrow.array([1, 2]).cast(pyarrow.decimal128(19)), "'a' holds decimal128"),
        (pyarrow.array([1, 2]).cast(pyarrow.timestamp("s")), "'a' holds timestamp"),
        (pyarrow.array([b"1", b"2"]), "'a' holds binary"),
        (pyarrow.nulls(2), r"lacks values in 'a' \(2\)"),
    ],
)
def test_fault_14_columns_of_other_things(tmp_path: Path, column: Any, said: str) -> None:
    path = write(tmp_path / "t.parquet", a=column, b=[1, 2], y=["u", "v"])
    with pytest.raises(ShrinkageError, match=said):
        load_data(path, target="y")
    with pytest.raises(ShrinkageError, match="2 different values in 2 rows"):
        load_data(path, target="y", ignore=["a"])


def test_fault_14_damaged_files(tmp_path: Path) -> None:
    path = write(tmp_path / "t.parquet", a=[1.5, 2.5] * 50, y=["u", "v"] * 50)
    whole = path.read_bytes()
    assert len(load_data(path, target="y").y) == 100
    flipped = bytearray(whole)
    flipped[60] ^= 1
    for content in (b"", b"PAR1", whole[:-20], whole[: len(whole) // 2], bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(ShrinkageError, match="damaged or not a Parquet file"):
            load_data(path, target="y")
    empty = write(tmp_path / "e.parquet", a=pyarrow.array([], pyarrow.int8()))
    with pytest.raises(ShrinkageError, match="holds no rows"):
        load_data(empty, target="a")
    path.write_bytes(whole)
    with pytest.raises(ShrinkageError, match="needs 1,600 bytes, but max_bytes allows 100"):
        load_data(path, target="y", max_bytes=100)


def test_fault_14_a_flipped_number_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    table = pyarrow.table({"a": [1.5, 2.5, 3.5, 4.5], "y": ["u", "v", "u", "v"]})
    plain = {"use_dictionary": False, "compression": "none", "write_statistics": False}
    parquet.write_table(table, path, write_page_checksum=True, **plain)
    content = bytearray(path.read_bytes())
    content[content.index(struct.pack("<2d", 1.5, 2.5)) + 5] ^= 1
    path.write_bytes(content)
    with pytest.raises(ShrinkageError, match=r"damaged or not a Parquet file: .*(checksum|CRC)"):
        load_data(path, target="y")


def test_fault_10_two_columns_of_one_name(tmp_path: Path) -> None:
    twice = pyarrow.table([[1, 2], [3, 4]], names=["a", "a"])
    parquet.write_table(twice, tmp_path / "t.parquet")
    with pytest.raises(ShrinkageError, match="two columns 'a'"):
        load_data(tmp_path / "t.parquet", target="a")


@given(data=st.data())
@settings(max_examples=200, derandomize=True, deadline=None, database=None)
def test_only_a_shrinkage_error_escapes_from_parquet(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "fuzzed.parquet"
    write(path, a=[1.5, 2.5, 3.5, 4.5], b=["u", "v", "u", None], y=["p", "q", "p", "q"])
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] or content)
    with contextlib.suppress(ShrinkageError):
        load_data(path, target="y", missing="mean", max_bytes=1 << 20)
