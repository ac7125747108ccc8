"""CSV and TSV: what is read, and what is refused. Numbers are those of the fault list."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from shrinkage.data import Dataset, load_data, split_test
from shrinkage.errors import ShrinkageError, ShrinkageWarning

GOOD = "size,color,kind\n1,red,u\n2.5,blue,v\n-3e0,red,u\n.5,green,v\n"
MEASURED = "a,y\n1,0.5\n2,1.5\n3,2\n4,1\n"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "table.csv"


def read(path: Path, text: str | bytes, target: str = "kind", **options: Any) -> Dataset:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_data(path, target=target, **options)


def by_name(data: Dataset) -> dict[str, list[float]]:
    return {name: data.X[:, i].tolist() for i, name in enumerate(data.feature_names)}


EXPECTED = {
    "size": [1.0, 2.5, -3.0, 0.5],
    "color=blue": [0.0, 1.0, 0.0, 0.0],
    "color=green": [0.0, 0.0, 0.0, 1.0],
    "color=red": [1.0, 0.0, 1.0, 0.0],
}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", GOOD),
        ("t.CSV", GOOD.replace("\n", "\r\n")),
        ("t.csv", "\ufeff" + GOOD),
        ("t.csv", GOOD.replace(",", " , ").replace("\n", "\n\n")),
        ("t.csv", GOOD.replace("red", '"red"').rstrip()),
        ("t.tsv", GOOD.replace(",", "\t")),
        ("grün und blau.csv", GOOD),
    ],
    ids=["plain", "windows", "bom", "spaces", "quotes", "tabs", "unicode"],
)
def test_numbers_stay_and_texts_become_one_hot(tmp_path: Path, name: str, text: str) -> None:
    data = read(tmp_path / name, text)
    assert by_name(data) == EXPECTED
    assert (data.y.tolist(), data.classes, data.task) == (
        [0, 1, 0, 1],
        ("u", "v"),
        "classification",
    )
    assert (data.X.dtype, data.y.dtype) == (torch.float32, torch.int64)
    assert data.name == Path(name).stem
    assert data.feature_shape == (4,)


def test_a_quoted_cell_may_hold_delimiters_and_lines(place: Path) -> None:
    data = read(place, GOOD.replace("blue", '"a, ""b""\nc"'))
    assert 'color=a, "b"\nc' in data.feature_names
    with pytest.raises(ShrinkageError, match="line 7 has 2 cells"):
        read(place, GOOD.replace("blue", '"a,\nb"') + "5,red\n")


@pytest.mark.parametrize(
    ("values", "task", "expected", "classes"),
    [
        ("3 1 3 1", None, [1, 0, 1, 0], ("1", "3")),
        ("3 1 3 1", "regression", [3.0, 1.0, 3.0, 1.0], ()),
        ("0.5 1 0.5 1", None, [0.5, 1.0, 0.5, 1.0], ()),
        ("0.5 1 0.5 1", "classification", [0, 1, 0, 1], ("0.5", "1")),
        ("b a b a", None, [1, 0, 1, 0], ("a", "b")),
        ("10 9 10 9", None, [1, 0, 1, 0], ("9", "10")),
    ],
)
def test_the_target_becomes_classes_or_numbers(
    place: Path, values: str, task: Any, expected: list[float], classes: tuple[str, ...]
) -> None:
    text = "a,y\n" + "".join(f"{i},{value}\n" for i, value in enumerate(values.split()))
    data = read(place, text, "y", task=task)
    assert data.y.tolist() == expected
    assert data.classes == classes
    assert data.y.is_floating_point() == (data.task == "regression") == (not classes)


def test_large_numbers_to_predict_are_no_labels(place: Path) -> None:
    data = read(place, "a,y\n1,1e17\n2,2e17\n3,4e17\n", "y", task="regression")
    assert data.y.tolist() == pytest.approx([1e17, 2e17, 4e17])


def test_many_whole_numbers_are_no_classes(place: Path) -> None:
    text = "a,y\n" + "".join(f"{i % 7},{i % 21}\n" for i in range(84))
    assert read(place, text, "y").task == "regression"
    assert read(place, text.replace(",20\n", ",19\n"), "y").task == "classification"


def test_too_many_classes_are_a_regression_unless_they_are_texts(place: Path) -> None:
    for values, advice in ("abcd", "give more rows of each or"), ("1234", "task to 'regression'"):
        text = "a,y\n" + "".join(f"{i},{value}\n" for i, value in enumerate(values))
        with pytest.raises(
            ShrinkageError, match=f"4 different values in 4 rows, .*{advice}"
        ) as said:
            read(place, text, "y")
        assert ("regression" in str(said.value)) == (values == "1234")


def test_ignored_columns_are_not_even_looked_at(place: Path) -> None:
    data = read(place, GOOD.replace("1,", "2020-01-02,"), ignore=["size"])
    assert set(by_name(data)) == {"color=blue", "color=green", "color=red"}


HOLES = "a,b,y\n1,u,p\n,u,p\n3,NA,q\n5,v,q\n6,v,p\n7,u,q\n"


def test_missing_values_are_counted_dropped_or_left_to_impute(place: Path) -> None:
    with pytest.raises(ShrinkageError, match=r"lacks values in 'a' \(1\), 'b' \(1\), 2 of 6 rows"):
        read(place, HOLES, "y")
    with pytest.warns(ShrinkageWarning, match="2 of 6 rows of .* 1 of them in column 'a'"):
        dropped = read(place, HOLES, "y", missing="drop")
    assert by_name(dropped)["a"] == [1, 5, 6, 7]
    assert dropped.notes == ("2 rows with missing values dropped",)
    kept = read(place, HOLES, "y", missing="mean")
    assert len(kept.y) == 6
    names = list(kept.feature_names)
    holes = kept.X.isnan().nonzero().tolist()
    assert holes == [[1, names.index("a")], [2, names.index("b=u")], [2, names.index("b=v")]]
    assert kept.notes == ("2 missing values imputed",)


@pytest.mark.parametrize(
    "marker",
    ["", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None", " "],
)
def test_every_marker_of_a_missing_value_is_refused(place: Path, marker: str) -> None:
    with pytest.raises(ShrinkageError, match=r"lacks values in 'size' \(1\)"):
        read(place, GOOD.replace("2.5", marker))


BAD_TEXT: dict[str, tuple[str | bytes, str]] = {
    "5-packed": (gzip.compress(GOOD.encode()), "is gzip, not text"),
    "9-empty": ("", "is empty"),
    "9-blank": ("\n\n", "is empty"),
    "9-header-only": ("size,color,kind\n", "3 columns but holds no rows"),
    "9-ragged": (GOOD + "1,red\n", "line 6 has 2 cells but line 1 names 3"),
    "9-long": (GOOD + "1,red,u,\n", "line 6 has 4 cells"),
    "9-open-quote": (GOOD + '"1,red,u\n', "line 6: .* a quote may be open"),
    "9-text-after-quote": (GOOD + '"1"x,red,u\n', "line 6"),
    "9-nul": (GOOD + "1,r\0d,u\n", "line 6 holds a NUL byte"),
    "9-latin": (GOOD.encode() + b"1,gr\xfcn,u\n", "line 6 is not UTF-8"),
    "9-utf-16": (GOOD.encode("utf-16"), "line 1 is not UTF-8"),
    "9-excel": (b"PK\x03\x04 and more", "ZIP archive or Excel"),
    "9-huge-cell": (GOOD + "1," + "x" * 200_000 + ",u\n", "line 6: field larger"),
    "10-twice": (GOOD.replace("size", "color", 1), "line 1 names two columns 'color'"),
    "10-no-name": ("," + GOOD, "column 1 has no name.*index=False"),
    "10-no-header": ("1,2,3\n4,5,6\n", "holds numbers only; the first line must name"),
    "11-semicolons": (GOOD.replace(",", ";"), "separated by ';'"),
    "11-tabs": (GOOD.replace(",", "\t"), r"separated by '\\t'"),
    "12-1e400": (GOOD.replace("2.5", "1e400"), "line 3, column 'size': '1e400' is infinite or"),
    "12-inf": (GOOD.replace("2.5", "-inf"), "'-inf' is infinite"),
    "12-400-digits": (GOOD.replace("2.5", "9" * 400), "'9{40}' is infinite or too large"),
    "12-all-missing": (GOOD.replace("red", "").replace("blue", "").replace("green", ""), r"\(4\)"),
    "13-text-in-numbers": (
        GOOD.replace("2.5", "x"),
        "line 3, column 'size': 'x' is text, and",
    ),
    "13-number-in-texts": (GOOD.replace("red", "7"), "line 3, column 'color': 'blue' is text"),
    "13-decimal-comma": (GOOD.replace("2.5", '"2,5"'), "'2,5' has a comma"),
    "13-thousands": (GOOD.replace("2.5", '"2,500,000"'), "has a comma"),
    "13-date": (GOOD.replace("2.5", "2020-01-31T10:00"), "'2020-01-31T10:00' is a date"),
    "13-german-date": (GOOD.replace("2.5", "31.1.2020"), "is a date"),
    "13-underscore": (GOOD.replace("2.5", "2_5"), "'2_5' is text"),
    "13-one-class": (GOOD.replace("v\n", "u\n"), "holds the single value u"),
    "13-class-per-row": (GOOD.replace("u\n2", "w\n2"), "4 rows, .* give more rows of each or"),
    "15-float32": (GOOD.replace("2.5", "1e39"), r"'size' holds 1e\+39 in row 2"),
    "15-offset": (
        "size,color,kind\n" + "".join(f"1700000000{i},red,{'uv'[i % 2]}\n" for i in range(4)),
        "float32 can hardly tell apart",
    ),
    "16-one-row": ("size,color,kind\n1,red,u\n", "single value"),
    "61-hostile": (GOOD.replace("2.5", "<script>"), "'<script>' is text"),
}


@pytest.mark.parametrize("fault", BAD_TEXT)
def test_bad_text_is_one_error(place: Path, fault: str) -> None:
    text, said = BAD_TEXT[fault]
    with pytest.raises(ShrinkageError, match=said) as caught:
        read(place, text)
    assert str(place) in str(caught.value)
    assert len(str(caught.value)) < 600
    assert list(place.parent.iterdir()) == [place]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"target": None}, "which column is the target.*'size', 'color', 'kind'"),
        ({"target": "Kind"}, "no column 'Kind'.*did you mean 'kind'"),
        ({"target": "zzz"}, "it has 'size', 'color', 'kind'"),
        ({"ignore": ["colour"]}, r"'colour' \(ignore\); did you mean 'color'"),
        ({"ignore": ["kind"]}, "is both the target and ignored; leave it out of one"),
        ({"ignore": ["size", "color"]}, "no column is left"),
        ({"task": "regression"}, "holds text such as 'u'"),
        ({"missing": "zero"}, "choose from refuse, drop, mean"),
        ({"task": "regress"}, "choose from classification, regression"),
        ({"ignore": "who"}, r"ignore='who' is one text; give a list of names: \['who'\]"),
        ({"max_bytes": 20}, "more than 20 bytes"),
    ],
)
def test_bad_options_are_one_error(place: Path, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ShrinkageError, match=said):
        read(place, GOOD, **{"target": "kind", **options})


def test_policies_have_limits(place: Path) -> None:
    with pytest.raises(ShrinkageError, match="no row is complete"):
        read(place, "a,b,y\n,1,u\n2,,v\n", "y", missing="drop")
    with pytest.raises(ShrinkageError, match="target 'y' holds no value; choose another"):
        read(place, "a,y\n1,\n2,\n", "y", missing="mean")
    with pytest.raises(ShrinkageError, match="column 'a' holds no value at all"):
        read(place, "a,b,y\n,1,u\n,2,v\n,3,u\n,4,v\n", "y", missing="mean")


def test_a_column_of_names_is_not_one_hot(place: Path) -> None:
    text = "who,y\n" + "".join(f"person {i},{i % 2}\n" for i in range(101))
    with pytest.raises(ShrinkageError, match=r"'who' holds 101 different texts.*ignore it"):
        read(place, text, "y")


@pytest.mark.parametrize("head", ["who,who=b,y", "who=b,who,y"])
def test_no_feature_takes_the_place_of_another(place: Path, head: str) -> None:
    rows = ["a,1", "b,2", "a,3", "b,4"] if head.startswith("who,") else ["1,a", "2,b", "3,a", "4,b"]
    text = "\n".join([head, *(f"{row},{i % 2}" for i, row in enumerate(rows))])
    with pytest.raises(ShrinkageError, match="both give the feature 'who=b'; rename"):
        read(place, text, "y")


@pytest.mark.parametrize(("name", "said"), [("pipe.csv", "regular file"), ("x.xlsx", "ending")])
def test_odd_places_never_hang(tmp_path: Path, name: str, said: str) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "x.xlsx").touch()
    with pytest.raises(ShrinkageError, match=said):
        load_data(tmp_path / name, target="y")


# Fault 68: whatever the bytes, one kind of error

CELL = st.sampled_from(
    ["", "1", "-2.5", "1e999", "x", "NA", '"', "2020-1-1", "a,b", "\t", "é", "\r"]
)


@given(
    rows=st.lists(st.lists(CELL, min_size=1, max_size=3), max_size=6),
    noise=st.binary(max_size=12),
    missing=st.sampled_from(["refuse", "drop", "mean"]),
)
@settings(max_examples=300, derandomize=True, deadline=None, database=None)
def test_only_a_shrinkage_error_escapes_from_text(
    rows: list[list[str]],
    noise: bytes,
    missing: Any,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    lines = ["a,b,y", "1,u,p", "2,v,q", "3,u,p", "4,v,q", *(",".join(row) for row in rows)]
    path = tmp_path_factory.getbasetemp() / "fuzzed.csv"
    path.write_bytes("\n".join(lines).encode() + noise)
    try:
        data = load_data(path, target="y", missing=missing)
    except ShrinkageError:
        return
    assert data.X.isfinite().all() or missing == "mean"
    assert len(data.X) == len(data.y) >= 4


# groups

VISITS = "".join(
    f"{visit},{n},{'sick' if n % 2 else 'well'},p{n:02}\n"
    for n in range(30)
    for visit in range(n % 4 + 1)
)


@pytest.mark.parametrize(("target", "seed"), [("state", 0), ("state", 1), ("n", 0)])
def test_a_split_keeps_groups_together(place: Path, target: str, seed: int) -> None:
    data = read(place, "visit,n,state,patient\n" + VISITS, target, groups="patient", task=None)
    assert data.groups is not None
    assert int(data.groups.max()) == 29
    assert not any("patient" in name for name in data.feature_names)
    assert "30 groups by patient" in data.notes
    train, test = split_test(data, seed=seed)
    assert train.groups is not None
    assert test.groups is not None
    assert not set(train.groups.tolist()) & set(test.groups.tolist())
    assert len(train.y) + len(test.y) == len(data.y)
    assert 0.1 <= len(test.y) / len(data.y) <= 0.3
    again = split_test(data, seed=seed)[1]
    assert torch.equal(test.X, again.X)
    if target == "state":
        assert set(test.y.tolist()) == set(train.y.tolist()) == {0, 1}


@pytest.mark.parametrize(
    ("rows", "options", "words"),
    [
        ("1,a,p\n2,b,\n", {}, "1 row has no group in column 'who'"),
        ("1,a,p\n2,b,q\n", {"groups": "wo"}, "did you mean 'who'"),
        ("1,a,p\n2,b,q\n", {"groups": "y"}, "neither the target nor ignored"),
        ("1,a,p\n2,b,q\n", {"ignore": ["who"]}, "neither the target nor ignored"),
    ],
)
def test_groups_that_cannot_be_read(
    place: Path, rows: str, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(ShrinkageError, match=words):
        read(place, "x,y,who\n" + rows, "y", **{"groups": "who", **options})


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("1,a,p\n2,b,p\n3,a,p\n4,b,p\n", "a single group"),
        ("1,a,p\n2,b,q\n3,a,p\n4,b,q\n", "only in the test part"),
    ],
)
def test_groups_that_cannot_be_split(place: Path, rows: str, words: str) -> None:
    data = read(place, "x,y,who\n" + rows, "y", groups="who")
    with pytest.raises(ShrinkageError, match=words):
        split_test(data)


def test_groups_need_columns() -> None:
    with pytest.raises(ShrinkageError, match="groups='who' has no meaning here"):
        load_data("iris", groups="who")
