"""NumPy archives, read without pickle and without trusting what a header says."""

from __future__ import annotations

import lzma
import math
import tokenize
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import torch

from shrinkage.data.dataset import Dataset, Task, take_rows
from shrinkage.data.missing import Missing, kept_rows, notes_on
from shrinkage.data.numbers import as_float32
from shrinkage.data.target import read_target
from shrinkage.disk.files import open_regular
from shrinkage.errors import ShrinkageError
from shrinkage.identity import hash_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

ROWS, TARGETS = ("X", "x", "X_train", "x_train"), ("y", "y_train")
TEST_ROWS, TEST_TARGETS = ("X_test", "x_test"), ("y_test",)
DAMAGE = (
    ValueError, OSError, EOFError, RuntimeError, NotImplementedError, KeyError, TypeError,
    SyntaxError, OverflowError, zlib.error, lzma.LZMAError, tokenize.TokenError, zipfile.BadZipFile,
)  # fmt: skip


def read_npz(
    path: Path, target: str | None, task: Task | None, missing: Missing, max_bytes: int
) -> Dataset:
    """Return the rows ``X`` and targets ``y`` of an archive, with its test part if it has one.

    uint8 arrays of images are divided by 255, as those of IDX files are.

    Raises:
        ShrinkageError: The archive is damaged or oversized, or its arrays do not fit.
    """
    with open_regular(path) as stream:
        try:
            with zipfile.ZipFile(stream) as archive:
                arrays = _arrays(path, archive, target, max_bytes)
        except ShrinkageError:
            raise
        except DAMAGE as error:
            raise ShrinkageError(
                f"{path} is damaged or not an .npz file: {str(error)[:200]}. Write it with "
                "numpy.savez(path, X=..., y=...)."
            ) from error
    return _dataset(path, arrays, task, missing)


def _arrays(path: Path, archive: zipfile.ZipFile, target: str | None, max_bytes: int) -> Arrays:
    names = [name.removesuffix(".npy") for name in archive.namelist()]
    if len(set(names)) < len(names):
        raise ShrinkageError(f"{path} holds two arrays of the same name; write it again.")
    wanted = {"X": ROWS, "y": TARGETS if target is None else (target,)}
    if target is None and any(name in names for name in (*TEST_ROWS, *TEST_TARGETS)):
        wanted |= {"X_test": TEST_ROWS, "y_test": TEST_TARGETS}
    arrays = {}
    for role, choices in wanted.items():
        name = next((name for name in choices if name in names), None)
        if name is None:
            raise ShrinkageError(
                f"{path} has no array {choices[0]!r}; it holds {', '.join(sorted(names)) or 'none'}"
                ". Write it with numpy.savez(path, X=..., y=...), or set target."
            )
        arrays[role] = _array(f"{path}: {name}", archive, f"{name}.npy", max_bytes)
    return arrays


def _array(source: str, archive: zipfile.ZipFile, member: str, max_bytes: int) -> NDArray[Any]:
    import numpy as np

    with archive.open(member) as stream:
        shape, kind = _header(stream)
    if kind.hasobject or kind.kind not in "biufU":
        raise ShrinkageError(
            f"{source} is an array of {kind}; only numbers, booleans and strings are read. "
            "Convert it."
        )
    size = math.prod(shape) * kind.itemsize
    if min(shape, default=0) < 1:
        raise ShrinkageError(f"{source} has shape {shape}: it holds no rows.")
    if size > max_bytes:
        raise ShrinkageError(
            f"{source}: its header says {size:,} bytes, but max_bytes allows {max_bytes:,}; raise "
            "max_bytes if the file is sound."
        )
    with archive.open(member) as stream:
        array: NDArray[Any] = np.lib.format.read_array(stream, allow_pickle=False)
        if stream.read(1):
            raise ShrinkageError(f"{source} holds more than its header says; write it again.")
    return array


def _header(stream: IO[bytes]) -> tuple[tuple[int, ...], Any]:
    from numpy.lib import format

    version = format.read_magic(stream)
    read = format.read_array_header_1_0 if version == (1, 0) else format.read_array_header_2_0
    shape, _, kind = read(stream)
    return shape, kind


def _dataset(path: Path, arrays: Arrays, task: Task | None, missing: Missing) -> Dataset:
    import numpy as np

    rows, targets = [arrays["X"]], [arrays["y"]]
    if "X_test" in arrays:
        rows, targets = [*rows, arrays["X_test"]], [*targets, arrays["y_test"]]
    for X, y in zip(rows, targets, strict=True):
        if X.ndim < 2 or X.dtype.kind == "U" or X.shape[1:] != rows[0].shape[1:]:
            shapes = " and ".join(f"{part.dtype} {part.shape}" for part in rows)
            raise ShrinkageError(f"{path}: X holds {shapes}; give rows of numbers, all of a shape.")
        if y.shape not in ((len(X),), (len(X), 1)):
            raise ShrinkageError(
                f"{path} has {len(X)} rows and targets of shape {y.shape}; give one target per row."
            )
    X, y = np.concatenate(rows), np.concatenate([part.reshape(-1) for part in targets])
    in_test = np.arange(len(X)) >= len(rows[0])
    shape, image = X.shape[1:], X.dtype == np.uint8 and X.ndim > 2
    X = X.reshape(len(X), -1)
    names = [f"column {place}" for place in range(1, X.shape[1] + 1)]
    absent = np.column_stack([_absent(X), _absent(y)])
    kept = kept_rows(str(path), absent, names, "y", missing)
    features = torch.from_numpy(as_float32(str(path), X[kept], names)) / (255 if image else 1)
    found, numbers = np.unique(y[kept], return_inverse=True)
    target, classes = read_target(str(path), "y", found, numbers, task)
    whole = Dataset(
        path.stem,
        features,
        target,
        "classification" if classes else "regression",
        hash_of(features, target),
        tuple(shape),
        classes=classes,
        notes=notes_on(absent, kept),
    )
    if "X_test" not in arrays:
        return whole
    test = torch.from_numpy(in_test[kept])
    if test.all() or not test.any():
        raise ShrinkageError(f"{path}: no complete row is left in one part; see `missing`.")
    train = take_rows(whole, ~test, whole.name)
    return replace(train, test=take_rows(whole, test, f"{whole.name} test"))


def _absent(values: NDArray[Any]) -> Any:
    import numpy as np

    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
