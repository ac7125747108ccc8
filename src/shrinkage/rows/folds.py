"""Which rows each fold holds out and trains on: by a number, a scikit-learn splitter, or ids."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from shrinkage.errors import ShrinkageError, counted, is_whole
from shrinkage.rows.classes import labeled

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
    folds: Any,
    X: Tensor,
    y: Tensor,
    *,
    seed: int = 0,
    groups: Any = None,
    repeats: int = 1,
    classes: Sequence[Any] | None = None,
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
        classes: The labels of the classes, which a splitter sees in place of their numbers.

    Raises:
        ShrinkageError: Fewer than two folds, more folds than rows of a class or than groups, a
            group on both sides of a fold, or a training part that misses a class.
    """
    known = labeled(y, classes)
    folds = _as_splitter(folds)
    labels = None if groups is None else _labels(groups, len(y))
    if isinstance(folds, Folds):
        made = folds
    elif is_whole(folds):
        splitter = _splitter(int(folds), y, known, np.random.RandomState(seed), labels)
        made = _split(f"folds={folds}", [splitter] * repeats, X, known, labels)
    elif hasattr(folds, "split") and not isinstance(folds, str | Tensor):
        made = _split(_name(folds), [folds], X, known, labels)
    else:
        made = by_ids(_given(folds, len(y)))
    if labels is not None:
        _check_groups(made, labels)
    if not y.is_floating_point():
        _check_classes(made, y, known)
    return made


def of_kept(folds: Any, kept: Any) -> Any:
    """Return folds of all rows as folds of those that are kept.

    Only what names rows is cut: ids, pairs of rows, and a ``PredefinedSplit``. All else splits what
    it is given.

    Args:
        folds: As for `make_folds`.
        kept: Which rows are kept.

    Shape:
        kept: (N,) truths.
    """
    from sklearn.model_selection import PredefinedSplit

    pairs = list(folds) if isinstance(folds, Iterator) else folds
    if isinstance(folds, PredefinedSplit):
        pairs = list(folds.split())
    if isinstance(pairs, list | tuple) and pairs and all(map(_is_pair, pairs)):
        place, n = kept.cumsum() - 1, len(kept)
        each = [
            [_numbers_of("folds", fold, rows, n).numpy() for rows in part]
            for fold, part in enumerate(pairs)
        ]
        return [tuple(place[rows[kept[rows]]] for rows in part) for part in each]
    named = isinstance(folds, Tensor) or not (is_whole(folds) or hasattr(folds, "split"))
    if not named or np.shape(folds) != kept.shape:
        return folds
    return np.asarray(folds)[kept]


def _name(splitter: Any) -> str:
    text = " ".join(repr(splitter).split())
    return "folds" if text.startswith("_") else f"folds={text:.80}" + "..." * (len(text) > 80)


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


def _splitter(
    folds: int, y: Tensor, known: NDArray[Any], seed: np.random.RandomState, groups: Tensor | None
) -> Any:
    from sklearn.model_selection import GroupKFold, KFold, StratifiedGroupKFold, StratifiedKFold

    if len(y) < 2:
        raise ShrinkageError(
            "there is one row, but a path holds out some rows and trains on the others."
        )
    if not 2 <= folds <= len(y):
        raise ShrinkageError(
            f"folds={folds} with {counted(len(y), 'row')}: give 2 to {len(y)} folds."
        )
    if groups is not None and groups.max() + 1 < folds:
        raise ShrinkageError(
            f"folds={folds} with {counted(int(groups.max()) + 1, 'group')}: a group stays in one "
            "fold, so give fewer folds."
        )
    if y.is_floating_point():
        kind = KFold if groups is None else GroupKFold
        return kind(folds, shuffle=True, random_state=seed)
    values, counts = np.unique(known, return_counts=True)
    if counts.min() < folds:
        rare, rows = values[counts.argmin()], int(counts.min())
        raise ShrinkageError(
            f"class {rare} has {counted(rows, 'row')}, fewer than folds={folds}; use fewer folds "
            "or leave the class out."
        )
    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    return kind(folds, shuffle=True, random_state=seed)


def _split(
    name: str, splitters: Sequence[Any], X: Tensor, y: NDArray[Any], groups: Tensor | None
) -> Folds:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # that groups are ignored; checked later
            labels = () if groups is None else (groups.numpy(),)
            rows = X.numpy(), y, *labels
            parts = [part for splitter in splitters for part in splitter.split(*rows)]
    except (TypeError, ValueError) as error:
        asks = " Give groups=, a label per row." if "groups" in str(error) else ""
        raise ShrinkageError(f"{name} does not split these rows: {error}{asks}") from error
    if not parts:
        raise ShrinkageError(f"{name} makes no folds.")
    made = Folds(
        len(y),
        *(
            tuple(_numbers_of(name, fold, part[side], len(y)) for fold, part in enumerate(parts))
            for side in (1, 0)
        ),
    )
    for fold in range(len(parts)):
        _check_part(name, fold, made.trained[fold], made.held[fold])
    return made


def _numbers_of(name: str, fold: int, rows: Any, n: int) -> Tensor:
    """Return the numbers of the rows that a part of a fold names or marks, rising."""
    given = torch.as_tensor(rows)
    if given.dtype == torch.bool and given.shape == (n,):
        return given.nonzero().flatten()
    if given.dim() != 1 or given.is_floating_point() or given.dtype == torch.bool:
        raise ShrinkageError(
            f"{name} names the rows of fold {fold} by {given.dtype} of shape "
            f"{tuple(given.shape)}; give numbers of rows, or {n} truths."
        )
    outside = given[(given < 0) | (given >= n)]
    if len(outside):
        raise ShrinkageError(
            f"{name} names row {int(max(outside, key=abs))} in fold {fold}, but these are rows 0 "
            f"to {n - 1}. Give folds of these very rows; those of a whole table do not fit a part."
        )
    return given.long().sort().values


def _check_part(name: str, fold: int, trained: Tensor, held: Tensor) -> None:
    if not len(trained) or not len(held):
        empty = "hold out" if len(trained) else "train on"
        raise ShrinkageError(f"{name} leaves fold {fold} no row to {empty}.")
    if len({*trained.tolist(), *held.tolist()}) < len(trained) + len(held):
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


def _check_classes(folds: Folds, y: Tensor, known: NDArray[Any]) -> None:
    present = set(y.tolist())
    for fold, trained in enumerate(folds.trained):
        missing = present - set(y[trained].tolist())
        if missing:
            raise ShrinkageError(
                f"fold {fold} has no row of class {known[y.numpy() == min(missing)][0]} to train "
                "on; use stratified folds or fewer of them."
            )
