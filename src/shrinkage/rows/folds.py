"""Which rows each fold holds out and trains on: by a number, a scikit-learn splitter, or ids."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError, is_whole


@dataclass(frozen=True, eq=False)
class Folds:
    """Which rows each fold holds out, and which it trains on.

    Attributes:
        rows: The number of rows, N.
        held: The rows each fold holds out, rising.
        trained: The rows each fold trains on, rising.
    """

    rows: int
    held: tuple[Tensor, ...]
    trained: tuple[Tensor, ...]

    @property
    def ordinary(self) -> bool:
        """Whether every row is held out once, by a fold that trains on all others."""
        once = torch.equal(torch.cat(self.held).sort().values, torch.arange(self.rows))
        return once and sum(map(len, self.trained)) == self.rows * (len(self.trained) - 1)

    @property
    def of_rows(self) -> Tensor:
        """The fold that holds out each row, (N,); the last one of several, -1 for none."""
        ids = torch.full((self.rows,), -1)
        for fold, held in enumerate(self.held):
            ids[held] = fold
        return ids


def by_ids(of_rows: Tensor) -> Folds:
    """Return folds that train on every row that they do not hold out.

    Args:
        of_rows: (N,) the fold of each row, 0 ... F-1.
    """
    folds = [of_rows == fold for fold in range(int(of_rows.max()) + 1)]
    held = tuple(own.nonzero().flatten() for own in folds)
    return Folds(len(of_rows), held, tuple((~own).nonzero().flatten() for own in folds))


def make_folds(
    folds: Any, X: Tensor, y: Tensor, *, seed: int = 0, groups: Any = None, repeats: int = 1
) -> Folds:
    """Return which rows each fold holds out and trains on.

    Args:
        folds: A number (stratified and shuffled for classes, shuffled for numbers), a
            scikit-learn splitter, what its ``split`` yields, one fold id per row, or what this
            returned.
        X: Training rows.
        y: Their targets.
        seed: Seed of the shuffling, if ``folds`` is a number.
        groups: A label per row, or None; rows of one group stay in one fold.
        repeats: How often to split anew, each time shuffled otherwise, if ``folds`` is a number.

    Raises:
        ShrinkageError: Fewer than two folds, more folds than rows of a class or than groups, a
            group on both sides of a fold, or a training part that misses a class.
    """
    classes = not y.is_floating_point()
    folds = _as_splitter(folds)
    labels = None if groups is None else _labels(groups, len(y))
    if isinstance(folds, Folds):
        made = folds
    elif is_whole(folds):
        splitter = _splitter(int(folds), y, np.random.RandomState(seed), labels)
        made = _split(f"folds={folds}", [splitter] * repeats, X, y, labels)
    elif hasattr(folds, "split") and not isinstance(folds, str | Tensor):
        made = _split(f"folds={folds!r}", [folds], X, y, labels)
    else:
        made = by_ids(_given(folds, len(y)))
    if labels is not None:
        _check_groups(made, labels)
    if classes:
        _check_classes(made, y)
    return made


def _as_splitter(folds: Any) -> Any:
    """Return pairs of rows to train on and to hold out as a splitter, anything else as it is."""
    pairs = list(folds) if isinstance(folds, Iterator) else folds
    if isinstance(pairs, list | tuple) and pairs and all(map(_is_pair, pairs)):
        from sklearn.model_selection import check_cv

        return check_cv(pairs)
    return pairs


def _is_pair(part: object) -> bool:
    return isinstance(part, list | tuple) and len(part) == 2 and all(map(np.ndim, part))


def _labels(groups: Any, n: int) -> Tensor:
    """Return the groups numbered from 0."""
    labels = np.asarray(groups.cpu() if isinstance(groups, Tensor) else groups)
    if labels.shape != (n,):
        raise ShrinkageError(f"groups has shape {labels.shape}; give {n} labels, one per row.")
    _, numbers = np.unique(labels, return_inverse=True)
    return torch.from_numpy(numbers).long()


def _splitter(folds: int, y: Tensor, seed: np.random.RandomState, groups: Tensor | None) -> Any:
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    if len(y) < 2:
        raise ShrinkageError(
            "there is one row, but a path holds out some rows and trains on the others."
        )
    if not 2 <= folds <= len(y):
        raise ShrinkageError(f"folds={folds} with {len(y)} rows: give 2 to {len(y)} folds.")
    if groups is not None and groups.max() + 1 < folds:
        raise ShrinkageError(
            f"folds={folds} with {int(groups.max()) + 1} groups: a group stays in one fold, so "
            "give fewer folds."
        )
    if y.is_floating_point():
        kind = KFold if groups is None else GroupKFold
        return kind(folds, shuffle=True, random_state=seed)
    values, counts = torch.unique(y, return_counts=True)
    if counts.min() < folds:
        rare, rows = values[counts.argmin()].item(), int(counts.min())
        raise ShrinkageError(
            f"class {rare} has {rows} row{'s' * (rows > 1)}, fewer than folds={folds}; use fewer "
            "folds or leave the class out."
        )
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    return kind(folds, shuffle=True, random_state=seed)


def _split(
    name: str, splitters: Sequence[Any], X: Tensor, y: Tensor, groups: Tensor | None
) -> Folds:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that groups are ignored; checked later
            labels = () if groups is None else (groups.numpy(),)
            rows = X.numpy(), y.numpy(), *labels
            parts = [part for splitter in splitters for part in splitter.split(*rows)]
    except (TypeError, ValueError) as error:
        asks = " Give groups=, a label per row." if "groups" in str(error) else ""
        raise ShrinkageError(f"{name} does not split these rows: {error}{asks}") from error
    if not parts:
        raise ShrinkageError(f"{name} makes no folds.")
    for fold, (trained, held) in enumerate(parts):
        _check_part(name, fold, trained, held)
    trained, held = (
        tuple(torch.as_tensor(rows).long().sort().values for rows in own)
        for own in zip(*parts, strict=True)
    )
    return Folds(len(y), held, trained)


def _check_part(name: str, fold: int, trained: Any, held: Any) -> None:
    if not len(trained) or not len(held):
        empty = "hold out" if len(trained) else "train on"
        raise ShrinkageError(f"{name} leaves fold {fold} no row to {empty}.")
    if len({*trained, *held}) < len(trained) + len(held):
        raise ShrinkageError(
            f"{name} names a row twice in fold {fold}; a fold either trains on a row or holds it "
            "out."
        )


def _given(folds: Any, n: int) -> Tensor:
    try:
        given = torch.as_tensor(folds).cpu()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ShrinkageError(
            f"folds are not fold ids: {error}; give a number, a splitter, or {n} integers."
        ) from error
    if given.shape != (n,) or given.is_floating_point():
        raise ShrinkageError(
            f"folds has shape {tuple(given.shape)} and type {given.dtype}; "
            f"give a number, a splitter, or {n} integer fold ids, one per row."
        )
    numbers = {value: number for number, value in enumerate(sorted(set(given.tolist())))}
    if len(numbers) < 2:
        raise ShrinkageError("folds names a single fold; give at least 2.")
    return torch.tensor([numbers[value] for value in given.tolist()])


def _check_groups(folds: Folds, groups: Tensor) -> None:
    for fold, trained in enumerate(folds.trained):
        if torch.isin(groups[folds.held[fold]], groups[trained]).any():
            raise ShrinkageError(
                f"a group of rows lies on both sides of fold {fold}, so its own rows would judge "
                "what it trained; give folds as a number, or a splitter that keeps groups "
                "together, such as GroupKFold."
            )


def _check_classes(folds: Folds, y: Tensor) -> None:
    present = set(y.tolist())
    for fold, trained in enumerate(folds.trained):
        missing = present - set(y[trained].tolist())
        if missing:
            raise ShrinkageError(
                f"fold {fold} has no row of class {sorted(missing)[0]} to train on; use stratified "
                "folds or fewer of them."
            )
