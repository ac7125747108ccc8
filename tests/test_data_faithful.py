"""Tables are never silently wrong: row numbers, labels, spellings, rows left out, exact numbers."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from shrinkage.data import cells, load_data
from shrinkage.errors import ShrinkageError, ShrinkageWarning

ROWS = 60


def write(path: Path, column: list[str], name: str = "amount") -> Path:
    rows = [f"{cell},{'ab'[i % 2]}" for i, cell in enumerate(column)]
    path.write_text("\n".join([f"{name},y", *rows]), encoding="utf-8")
    return path


def frame(**more: Any) -> pd.DataFrame:
    return pd.DataFrame({"u": np.linspace(0, 1, 40), "y": list("ab") * 20, **more})


def save(table: pd.DataFrame, path: Path) -> Path:
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False)
    return path


# The number of a row is no feature


@pytest.mark.parametrize("name", [None, "row"])
def test_the_index_of_pandas_is_left_out_with_a_note(tmp_path: Path, name: str | None) -> None:
    table = frame()
    table.index.name = name
    data = load_data(save(table[table.index % 3 > 0], tmp_path / "t.parquet"), target="y")
    assert data.feature_names == ("u",)
    assert data.notes == (f"index {name or '__index_level_0__'!r} left out",)


def test_an_index_that_is_only_a_range_leaves_no_trace(tmp_path: Path) -> None:
    assert load_data(save(frame(), tmp_path / "t.parquet"), target="y").notes == ()


def test_an_index_may_name_the_groups(tmp_path: Path) -> None:
    table = frame(who=[f"p{i // 4}" for i in range(40)]).set_index("who")
    data = load_data(save(table, tmp_path / "t.parquet"), target="y", groups="who")
    assert data.notes == ("10 groups by who",)
    assert data.feature_names == ("u",)


def test_damaged_metadata_of_pandas_is_refused(tmp_path: Path) -> None:
    table = pyarrow.table({"u": [1, 2], "y": ["a", "b"]})
    for content in (b"{", b"[]", json.dumps({"index_columns": 3}).encode()):
        parquet.write_table(
            table.replace_schema_metadata({"pandas": content}), tmp_path / "t.parquet"
        )
        with pytest.raises(ShrinkageError, match="what pandas noted in it is damaged"):
            load_data(tmp_path / "t.parquet", target="y")


@pytest.mark.parametrize("end", ["csv", "parquet"])
@pytest.mark.parametrize("name", ["Unnamed: 0", "Unnamed: 0.1", "__index_level_0__", "...1"])
def test_an_unnamed_column_is_refused_unless_it_is_ignored(
    tmp_path: Path, name: str, end: str
) -> None:
    path = save(frame(**{name: range(40)}), tmp_path / f"t.{end}")
    with pytest.raises(ShrinkageError, match=f"column '{name}' has no name.*index=False"):
        load_data(path, target="y")
    assert load_data(path, target="y", ignore=[name]).feature_names == ("u",)


# Labels stay what they are

LONG = [1234567890123456701, 1234567890123456702, 2057613150205761166, 18446744073709551615]


@pytest.mark.parametrize("end", ["csv", "parquet"])
def test_long_labels_stay_apart_as_classes_and_as_groups(tmp_path: Path, end: str) -> None:
    labels = np.array(LONG, np.uint64)[np.arange(40) % 4]
    path = save(frame(long=labels), tmp_path / f"t.{end}")
    data = load_data(path, target="long", task="classification")
    assert data.classes == tuple(map(str, LONG))
    assert data.y.bincount().tolist() == [10] * 4
    groups = load_data(path, target="y", groups="long").groups
    assert groups is not None
    assert groups.bincount().tolist() == [10] * 4


def test_a_long_label_beside_a_missing_one_stays_exact(tmp_path: Path) -> None:
    cells = [str(LONG[i % 2]) if i else "" for i in range(21)]
    rows = "\n".join(f"{cell},{i}" for i, cell in enumerate(cells))
    (tmp_path / "t.csv").write_text("long,u\n" + rows)
    data = load_data(tmp_path / "t.csv", target="long")
    assert data.classes == tuple(map(str, LONG[:2]))
    assert data.notes == ("1 row left out without a target",)


@pytest.mark.parametrize("end", ["csv", "parquet", "npz"])
def test_neighbors_beyond_float32_are_two_classes(tmp_path: Path, end: str) -> None:
    for first in (1_000_000_001, 2**53):
        labels = np.array([first, first + 1])[np.arange(40) % 2]
        path = tmp_path / f"t.{end}"
        if end == "npz":
            np.savez(path, X=np.eye(40), y=labels)
            data = load_data(path)
        else:
            data = load_data(save(frame(id=labels), path), target="id")
        assert data.classes == (str(first), str(first + 1))


@pytest.mark.parametrize("end", ["csv", "parquet", "npz"])
@pytest.mark.parametrize(
    "column",
    [
        np.uint64(2**63) + np.arange(40, dtype=np.uint64),
        2**53 + 1000 * np.arange(40),
        2**53 + np.zeros(40, int),
        np.arange(40) * 2**50,
        np.r_[0, 2**25 + np.arange(39)],
    ],
    ids=["merged", "long", "constant", "spread", "blurred"],
)
def test_whole_numbers_that_blur_are_no_feature(tmp_path: Path, end: str, column: Any) -> None:
    path = tmp_path / f"t.{end}"
    if end == "npz":
        np.savez(path, X=column[:, None], y=np.arange(40) % 2)
    else:
        save(frame(id=column), path)
    with pytest.raises(ShrinkageError, match=r"'(id|column 1)' holds .*(whole numbers|tell apart)"):
        load_data(path, target=None if end == "npz" else "y")


def test_labels_that_floats_may_have_merged_are_refused(tmp_path: Path) -> None:
    path = save(frame(id=np.array([2.0**53, 2.0**53 + 2] * 20)), tmp_path / "t.parquet")
    with pytest.raises(ShrinkageError, match=r"'id' holds .*store these labels as integers"):
        load_data(path, target="id", task="classification")
    with pytest.raises(ShrinkageError, match=r"'id' holds .*store these labels as integers"):
        load_data(path, target="y", groups="id")


# Numbers and dates in a spelling of their own

SPELLED = {
    "1,234.50": [f'"{i + 1},{7 * i % 1000:03d}.50"' for i in range(ROWS)],
    "1.234,50": [f'"{i + 1}.{7 * i % 1000:03d},50"' for i in range(ROWS)],
    "1.234.567": [f"{i + 1}.234.{i:03d}" for i in range(ROWS)],
    "1 234": [f"{i + 1} {i:03d}" for i in range(ROWS)],
    "12.5%": [f"{i}.5%" for i in range(ROWS)],
    "12.5%, few": [f"{i % 3}.5%" for i in range(ROWS)],
    "$1234.50": [f"${i * 3}.50" for i in range(ROWS)],
    "-$5": [f"-${i}" for i in range(ROWS)],
    "5 €": [f"{i} €" for i in range(ROWS)],
    "55 kg": [f"{20 + i % 30} kg" for i in range(ROWS)],
    "minus sign": [f"\u2212{i}.5" for i in range(ROWS)],
    "(12.5)": [f"({i}.5)" for i in range(ROWS)],
    "2024/03/05": [f"2024/0{1 + i // 28}/{1 + i % 28:02d}" for i in range(ROWS)],
    "05-03-2024": [f"{1 + i % 28:02d}-0{1 + i // 28}-2024" for i in range(ROWS)],
    "Mar 5, 2024": [f'"Mar {1 + i % 28}, 20{10 + i // 28}"' for i in range(ROWS)],
    "5 March 2024": [f"{1 + i % 28} March 20{10 + i // 28}" for i in range(ROWS)],
    "2024-03": [f"20{10 + i // 12}-{1 + i % 12:02d}" for i in range(ROWS)],
    "12:30": [f"{i // 10}:{10 + i % 10}" for i in range(ROWS)],
    "3 pm": [f"{1 + i % 11} pm" for i in range(ROWS)],
    "one a row": [f"X-{i}-{7 * i}" for i in range(ROWS)],
}


@pytest.mark.parametrize("spelling", SPELLED)
def test_numbers_and_dates_in_other_spellings_are_refused_with_their_place(
    tmp_path: Path, spelling: str
) -> None:
    path = write(tmp_path / "t.csv", ["", *SPELLED[spelling]])
    with pytest.raises(ShrinkageError, match="line 3, column 'amount': '") as said:
        load_data(path, target="y", missing="mean")
    cells = next(csv.reader([SPELLED[spelling][0]]))
    assert repr(cells[0]) in str(said.value)
    table = frame(amount=[next(csv.reader([cell]))[0] for cell in SPELLED[spelling][:40]])
    with pytest.raises(ShrinkageError, match="row 1, column 'amount': '"):
        load_data(save(table, tmp_path / "t.parquet"), target="y")


@pytest.mark.parametrize(
    "names",
    [
        ["Genus1 species", "Genus2 species"],
        ["A12", "B7"],
        ["D-12345", "D-54321"],
        ["20-29", "30-39", "65+"],
        ["<=50K", ">50K"],
        ["36 months", "60 months"],
        ["1st floor", "2nd floor"],
        ["v1.2.3", "v1.2.4"],
        ["red", "blue"],
    ],
)
def test_names_with_digits_stay_categories(tmp_path: Path, names: list[str]) -> None:
    path = write(tmp_path / "t.csv", [names[i % len(names)] for i in range(ROWS)])
    data = load_data(path, target="y")
    assert data.feature_names == tuple(f"amount={name}" for name in sorted(names))
    assert data.columns == 1


def test_a_target_in_another_spelling_is_refused(tmp_path: Path) -> None:
    rows = "\n".join(f'"1,00{i % 5}.5",{i}' for i in range(ROWS))
    (tmp_path / "t.csv").write_text("price,u\n" + rows)
    with pytest.raises(ShrinkageError, match=r"line 2, column 'price': '1,000\.5' is a number in"):
        load_data(tmp_path / "t.csv", target="price")


# Rows that are left out

HOLES = "a,b,y\n1,1,p\n2,2,q\n3,,\n4,,p\n,5,q\n6,,p\n7,7,q\n8,8,p\n"


def test_rows_without_a_target_are_left_out_under_any_policy(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,y\n1,p\n2,q\n3,\n4,p\n5,q\n")
    for missing in ("refuse", "drop", "mean"):
        data = load_data(tmp_path / "t.csv", target="y", missing=missing)  # type: ignore[arg-type]
        assert data.X.flatten().tolist() == [1, 2, 4, 5]
        assert data.notes == ("1 row left out without a target",)


def test_dropping_many_rows_warns_and_names_the_worst_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text(HOLES)
    said = "many rows dropped: 3 of 7 rows .* lack a value, 2 of them in column 'b'; ignore"
    with pytest.warns(ShrinkageWarning, match=said):
        data = load_data(tmp_path / "t.csv", target="y", missing="drop")
    assert data.notes == (
        "1 row left out without a target",
        "3 rows with missing values dropped",
    )


def test_a_text_that_stands_only_in_dropped_rows_is_no_feature(tmp_path: Path) -> None:
    rows = [f"{'xz'[i % 2]},{i},{'ab'[i // 2 % 2]}" for i in range(12)]
    (tmp_path / "t.csv").write_text("\n".join(["w,u,y", *rows, "rare,,a"]))
    data = load_data(tmp_path / "t.csv", target="y", missing="drop")
    assert data.feature_names == ("w=x", "w=z", "u")


# Arrow and the csv module read the same

CELL = st.sampled_from(
    ["1", "-2.5", "+.5e3", "1.", "0x1F", "nan", "NAN", "inf", "1e400", "1_0", " 7 ", "", "NA", "x",
     '"q"', '"a,b"', '"a""b"', '"two\nlines"', 'in"side', ' "after space"', "é", "true", "2020-1-1",
     "9007199254740993", "-0", "\u0661"]
)  # fmt: skip


@given(
    rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=6),
    end=st.sampled_from(["\n", "\r\n", "\r", "\n\n"]),
    last=st.booleans(),
)
@settings(max_examples=400, derandomize=True, deadline=None, database=None)
def test_arrow_and_the_csv_module_find_the_same_cells(
    rows: list[tuple[str, str]], end: str, last: bool
) -> None:
    text = end.join(["a,b", *map(",".join, rows)]) + end * last
    found = cells.Cells(Path("t.csv"), text, ",")
    whole, fault = [], ""
    try:
        whole = [row for _, row in found.rows()]
    except ShrinkageError as error:
        fault = str(error)
    if fault:
        with pytest.raises(ShrinkageError) as said:
            found.columns()
        assert fault == str(said.value)
        return
    columns = [
        column if isinstance(column, tuple) else column.to_pylist() for column in found.columns()
    ]
    read = [
        ["" if c is None or c.strip() in cells.ABSENT else c.strip() for c in row]
        for row in zip(*columns, strict=True)
    ]
    assert read == [["" if cell in cells.ABSENT else cell for cell in row] for row in whole]


@given(numbers=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=2, max_size=9))
@settings(max_examples=300, derandomize=True, deadline=None, database=None)
def test_numbers_are_those_of_float(
    numbers: list[float], tmp_path_factory: pytest.TempPathFactory
) -> None:
    from shrinkage.data.columns import as_floats
    from shrinkage.data.delimited import read_delimited

    spellings = [[repr(x), f"{x:+.17e}", f"{x:.25g}", ""][i % 4] for i, x in enumerate(numbers)]
    path = tmp_path_factory.getbasetemp() / "numbers.csv"
    path.write_text("a,b\n" + "".join(f"{cell},1\n" for cell in spellings))
    read = as_floats(read_delimited(path, 1 << 20).columns["a"]())
    expected = [float(cell or "nan") for cell in spellings]
    np.testing.assert_array_equal(read, expected)


def test_as_many_columns_as_arrow_does_not_like_are_read_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = frame(v=[0.5, None] * 20, w=["red", "blue"] * 20)
    path = save(table, tmp_path / "t.csv")
    by_arrow = load_data(path, target="y", missing="mean")
    monkeypatch.setattr(cells, "MOST_ARROW_COLUMNS", 1)
    by_csv = load_data(path, target="y", missing="mean")
    assert by_arrow.sha256 == by_csv.sha256
    assert by_arrow.feature_names == by_csv.feature_names


def test_a_quote_after_a_space_is_a_quote(tmp_path: Path) -> None:
    rows = "".join(f'{i}, "red, or so", "{"uv"[i % 2]}"\n' for i in range(4))
    (tmp_path / "t.csv").write_text("a, color, y\n" + rows)
    data = load_data(tmp_path / "t.csv", target="y")
    assert data.feature_names == ("a", "color=red, or so")
    assert data.classes == ("u", "v")


def test_semicolons_with_commas_in_the_names_are_noticed(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("height, cm;grade\n1,5;3\n2,5;4\n")
    with pytest.raises(ShrinkageError, match="seems to be separated by ';'"):
        load_data(path, target="grade")
    path.write_text("a;b,y\n" + "".join(f"{i},{'uv'[i % 2]}\n" for i in range(6)))
    assert load_data(path, target="y").feature_names == ("a;b",)


def test_a_table_of_a_hundred_thousand_columns_is_read(tmp_path: Path) -> None:
    width = 100_001
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow([*(f"g{i}" for i in range(width)), "y"])
    for row in range(4):
        writer.writerow([*[row % 2] * width, "ab"[row % 2]])
    (tmp_path / "t.csv").write_text(table.getvalue())
    data = load_data(tmp_path / "t.csv", target="y")
    assert data.X.shape == (4, width)
    assert torch.equal(data.X[:, 0], torch.tensor([0.0, 1, 0, 1]))
