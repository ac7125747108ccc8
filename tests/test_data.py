from __future__ import annotations

import gzip
import os
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from shrinkage.cli.facts import data_line
from shrinkage.data import BUILT_IN, load_data, split_test
from shrinkage.data.dataset import Dataset
from shrinkage.errors import ShrinkageError
from shrinkage.identity import hash_of

IMAGES = np.arange(10 * 3 * 2, dtype=np.uint8).reshape(10, 3, 2) * 4
LABELS = np.array([3, 1, 0, 2, 2, 0, 1, 3, 3, 0], dtype=np.uint8)


def idx(array: np.ndarray[Any, Any]) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 0x08, array.ndim, *array.shape)
    return header + array.tobytes()


def put(directory: Path, part: str = "t10k", end: str = "", **replaced: bytes) -> Path:
    """A directory with one part; ``images=`` or ``labels=`` replaces the bytes of a file."""
    pack = gzip.compress if end else bytes
    images = replaced.get("images", pack(idx(IMAGES)))
    labels = replaced.get("labels", pack(idx(LABELS)))
    (directory / f"{part}-images-idx3-ubyte{end}").write_bytes(images)
    (directory / f"{part}-labels-idx1-ubyte{end}").write_bytes(labels)
    return directory


# Built-in names


@pytest.mark.parametrize(
    ("name", "shape", "outputs"),
    [
        ("digits", (1797, 64), 10),
        ("breast_cancer", (569, 30), 2),
        ("wine", (178, 13), 3),
        ("iris", (150, 4), 3),
        ("diabetes", (442, 10), 1),
    ],
)
def test_a_built_in_set_has_its_published_size(
    name: str, shape: tuple[int, int], outputs: int
) -> None:
    data = load_data(name)
    assert (data.name, tuple(data.X.shape), data.outputs) == (name, shape, outputs)
    assert data.task == BUILT_IN[name] == ("regression" if name == "diabetes" else "classification")
    assert data.X.dtype == torch.float32
    assert data.y.dtype == (torch.float32 if name == "diabetes" else torch.int64)
    assert data.y.shape == shape[:1]
    assert data.feature_shape == ((8, 8) if name == "digits" else shape[1:])
    assert data.test is None


def test_only_digits_is_scaled_and_diabetes_is_not_standardized_over_all_rows() -> None:
    from sklearn.datasets import load_digits, load_wine

    digits = load_digits()
    np.testing.assert_array_equal(load_data("digits").X.numpy() * 16, digits.data)
    np.testing.assert_array_equal(load_data("wine").X.numpy(), load_wine().data.astype("f4"))
    assert load_data("diabetes").X[:, 0].mean() > 40  # the age in years


def test_an_unknown_name_lists_the_names_and_the_nearest() -> None:
    with pytest.raises(ShrinkageError, match=r"'Digit', did you mean 'digits'\?.*breast_cancer"):
        load_data("Digit")


@pytest.mark.parametrize(
    "source",
    ["", "-", "mnist", "no/such/place", "nul\0byte", "n" * 5000],
    ids=lambda source: repr(source[:15]),
)
def test_a_source_that_is_nowhere_is_refused(source: str) -> None:
    with pytest.raises(ShrinkageError, match=r"Choose from digits, .* or give a directory"):
        load_data(source)


def test_a_built_in_name_beats_a_directory_unless_it_is_written_as_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("iris").mkdir()
    put(Path("iris"))
    assert len(load_data("iris").y) == 150
    assert len(load_data("./iris").y) == len(load_data(Path("iris")).y) == 10


# IDX directories


@pytest.mark.parametrize("end", ["", ".gz"])
@pytest.mark.parametrize("dot", ["-", "."])
def test_images_are_flat_and_between_0_and_1(tmp_path: Path, end: str, dot: str) -> None:
    directory = tmp_path / "größe 1 of 2"
    directory.mkdir()
    for path in put(directory, end=end).iterdir():
        path.rename(directory / path.name.replace("-idx", f"{dot}idx"))
    data = load_data(str(directory))
    assert (data.name, data.task, data.feature_shape) == (directory.name, "classification", (3, 2))
    assert data.X.dtype == torch.float32
    torch.testing.assert_close(data.X, torch.tensor(IMAGES.reshape(10, 6) / 255).float())
    assert data.y.tolist() == LABELS.tolist()
    assert data.outputs == 4


def test_train_and_t10k_become_one_set_with_its_own_test_part(tmp_path: Path) -> None:
    put(tmp_path, "train", images=idx(IMAGES[:6]), labels=idx(LABELS[:6]))
    put(tmp_path, "t10k", ".gz")
    data = load_data(tmp_path)
    train, test = split_test(data, fraction=0.5, seed=3)
    assert (len(train.y), len(test.y)) == (6, 10)
    assert train.test is None
    assert test is data.test
    assert (train.name, test.name) == (tmp_path.name, f"{tmp_path.name} test")
    assert repr(data) == (
        f"Dataset({tmp_path.name!r}, classification: 6 rows, 10 test rows, 6 features, 4 outputs)"
    )


@pytest.mark.parametrize(
    ("train", "message"),
    [
        ({"images": idx(IMAGES[:, :2])}, r"\(2, 2\).*\(3, 2\)"),
        ({"labels": idx(LABELS // 2)}, "go up to 3 and the train labels to 1"),
    ],
)
def test_two_parts_must_fit(tmp_path: Path, train: dict[str, Any], message: str) -> None:
    put(put(tmp_path), "train", **train)
    with pytest.raises(ShrinkageError, match=message):
        load_data(tmp_path)


def test_the_hash_follows_the_content_and_not_the_packing(tmp_path: Path) -> None:
    for name in ("plain", "packed", "pixel", "label"):
        (tmp_path / name).mkdir()
    pixel, label = bytearray(idx(IMAGES)), bytearray(idx(LABELS))
    pixel[-1] ^= 1
    label[-1] ^= 1
    plain = load_data(put(tmp_path / "plain")).sha256
    assert load_data(put(tmp_path / "packed", end=".gz")).sha256 == plain
    assert load_data(put(tmp_path / "pixel", images=bytes(pixel))).sha256 != plain
    assert load_data(put(tmp_path / "label", labels=bytes(label))).sha256 != plain


@pytest.mark.parametrize("missing", ["images-idx3", "labels-idx1"])
def test_a_missing_partner_is_named(tmp_path: Path, missing: str) -> None:
    (put(tmp_path, "train") / f"train-{missing}-ubyte").unlink()
    with pytest.raises(ShrinkageError, match=f"is incomplete: train-{missing}-ubyte"):
        load_data(tmp_path)


def test_an_empty_directory_says_what_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(ShrinkageError, match=r"train-images-idx3-ubyte.*t10k-labels-idx1-ubyte"):
        load_data(tmp_path)


def test_a_file_given_as_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ShrinkageError, match=r"unknown ending; give a directory .* \.npz, \.csv"):
        load_data(put(tmp_path) / "t10k-images-idx3-ubyte")


# Splitting


def test_split_is_stratified_seeded_and_loses_no_row() -> None:
    digits = load_data("digits")
    train, test = split_test(digits, fraction=0.25, seed=1)
    counts = digits.y.bincount()
    assert ((test.y.bincount() - 0.25 * counts).abs() <= 0.5).all()
    both = torch.cat([train.X, test.X])
    assert torch.equal(both.sort(dim=0).values, digits.X.sort(dim=0).values)
    assert len(train.y) + len(test.y) == len(digits.y)
    again, other = split_test(digits, fraction=0.25, seed=1)[1], split_test(digits, 0.25, 2)[1]
    assert torch.equal(again.X, test.X)
    assert again.sha256 == test.sha256
    assert other.sha256 != test.sha256
    assert (train.name, test.name, test.feature_shape) == ("digits", "digits test", (8, 8))
    assert len({digits.sha256, train.sha256, test.sha256}) == 3


def test_split_keeps_rows_and_targets_together_and_leaves_the_global_seed_alone() -> None:
    diabetes = load_data("diabetes")
    torch.manual_seed(0)
    before = torch.get_rng_state()
    train, test = split_test(diabetes)
    assert torch.equal(torch.get_rng_state(), before)
    assert len(test.y) == round(0.2 * 442)
    pairs = {(tuple(x.tolist()), float(y)) for x, y in zip(diabetes.X, diabetes.y, strict=True)}
    for part in (train, test):
        assert {(tuple(x.tolist()), float(y)) for x, y in zip(part.X, part.y, strict=True)} <= pairs


def test_every_class_stays_in_both_parts_even_if_rare(tmp_path: Path) -> None:
    data = load_data(put(tmp_path))
    for fraction in (0.01, 0.99):
        for part in split_test(data, fraction):
            assert set(part.y.tolist()) == {0, 1, 2, 3}


def test_a_class_with_one_row_is_refused(tmp_path: Path) -> None:
    labels = LABELS.copy()
    labels[0] = 9
    data = load_data(put(tmp_path, labels=idx(labels)))
    with pytest.raises(ShrinkageError, match=r"a single row of class 9"):
        split_test(data)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, 1.5, float("nan"), float("inf")])
def test_a_fraction_outside_0_and_1_is_refused(fraction: float) -> None:
    with pytest.raises(ShrinkageError, match="between 0 and 1"):
        split_test(load_data("iris"), fraction)


# The real images


@pytest.mark.skipif(
    not Path(os.environ.get("SHRINKAGE_MNIST") or "absent").is_dir(),
    reason="SHRINKAGE_MNIST names no directory",
)
def test_the_real_mnist_test_images() -> None:
    data = load_data(Path(os.environ["SHRINKAGE_MNIST"]))
    mnist = data.test or data
    assert mnist.X.shape == (10000, 784)
    assert mnist.feature_shape == (28, 28)
    assert mnist.y[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    assert mnist.y.bincount().tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert float(mnist.X.mean()) == pytest.approx(0.1325, abs=1e-4)
    assert (float(mnist.X.min()), float(mnist.X.max())) == (0, 1)


def test_one_of_anything_is_not_several() -> None:
    X, y = torch.zeros(1, 1), torch.zeros(1)
    one = Dataset("one", X, y, "regression", hash_of(X, y), (1,))
    assert repr(replace(one, test=one)) == (
        "Dataset('one', regression: 1 row, 1 test row, 1 feature, 1 output)"
    )
    facts = {"name": "one", "rows": 1, "test_rows": 1, "features": 1, "columns": 1, "notes": ()}
    line = data_line({**facts, "task": "classification", "outputs": 2000}, None)
    assert line == "one: 1 training row, 1 test row, 1 feature, 2,000 classes"
