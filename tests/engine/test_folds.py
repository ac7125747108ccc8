"""Which rows each fold holds out and trains on, and every kind of folds that is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.model_selection import (
    GroupKFold,
    KFold,
    LeaveOneGroupOut,
    LeaveOneOut,
    PredefinedSplit,
    RepeatedKFold,
    RepeatedStratifiedKFold,
    StratifiedKFold,
    TimeSeriesSplit,
)

from shrinkage.errors import ShrinkageError
from shrinkage.rows.folds import make_folds

X = torch.randn(24, 2, generator=torch.Generator().manual_seed(0))
CLASSES = torch.tensor([0] * 12 + [1] * 8 + [2] * 4)
NUMBERS = X[:, 0] * 2


def test_a_number_of_folds_is_stratified_for_classes() -> None:
    folds = make_folds(4, X, CLASSES)
    for fold in range(4):
        assert torch.bincount(CLASSES[folds.held[fold]]).tolist() == [3, 2, 1]
    assert torch.equal(folds.of_rows, make_folds(4, X, CLASSES).of_rows)


@pytest.mark.parametrize(
    ("y", "splitter"), [(CLASSES, RepeatedStratifiedKFold), (NUMBERS, RepeatedKFold)]
)
def test_repeats_are_those_of_scikit_learn_and_begin_with_the_folds_alone(
    y: torch.Tensor, splitter: Any
) -> None:
    ours = make_folds(4, X, y, seed=7, repeats=3)
    theirs = splitter(n_splits=4, n_repeats=3, random_state=7).split(X, y)
    assert not ours.ordinary
    for held, (_, expected) in zip(ours.held, theirs, strict=True):
        assert held.tolist() == expected.tolist()
    alone = make_folds(4, X, y, seed=7)
    for held, expected in zip(ours.held, alone.held, strict=False):
        assert torch.equal(held, expected)
    assert make_folds(ours, X, y) is ours


@pytest.mark.parametrize("y", [CLASSES, NUMBERS])
def test_groups_stay_together_in_every_repeat(y: torch.Tensor) -> None:
    groups = torch.arange(24) // 2
    folds = make_folds(2, X, y, groups=groups, repeats=3)
    assert len(folds.held) == 6
    for held in folds.held:
        assert (torch.bincount(groups[held], minlength=12) != 1).all()
    assert len({tuple(held.tolist()) for held in folds.held}) > 2


def test_a_number_of_folds_is_shuffled_for_numbers() -> None:
    folds = make_folds(5, X, NUMBERS).of_rows
    assert sorted(torch.bincount(folds).tolist()) == [4, 5, 5, 5, 5]
    assert folds.tolist() != folds.sort().values.tolist()


class Purged:
    """Leaves out one row beside every held-out row, as splitters of time series do."""

    def split(self, X: Any, y: Any) -> Any:
        for train, held in KFold(4).split(X):
            yield train[1:], held


class Parts:
    """Splits as it is told."""

    def __init__(self, *parts: Any) -> None:
        self.parts = parts

    def split(self, X: Any, y: Any) -> Any:
        return [(np.array(trained, int), np.array(held, int)) for trained, held in self.parts]


@pytest.mark.parametrize(
    "splitter",
    [
        KFold(3, shuffle=True, random_state=1),
        StratifiedKFold(4, shuffle=True, random_state=2),
        LeaveOneOut(),
        TimeSeriesSplit(3),
        TimeSeriesSplit(4, gap=2, max_train_size=7),
        PredefinedSplit([-1, -1, 0, 1] * 6),
        PredefinedSplit([-1, -1, 0] * 8),
        Purged(),
    ],
)
def test_a_splitter_is_followed(splitter: Any) -> None:
    y = torch.arange(24) % 2
    folds = make_folds(splitter, X, y)
    parts = list(splitter.split(X.numpy(), y.numpy()))
    assert len(folds.trained) == len(parts)
    for fold, (trained, held) in enumerate(parts):
        assert folds.trained[fold].tolist() == sorted(trained)
        assert folds.held[fold].tolist() == sorted(held)
    assert folds.ordinary == isinstance(splitter, KFold | StratifiedKFold | LeaveOneOut)


@pytest.mark.parametrize("of", [list, tuple, iter])
def test_what_a_splitter_yields_is_the_splitter(of: Any) -> None:
    splitter = KFold(3, shuffle=True, random_state=1)
    made = make_folds(of(list(splitter.split(X, NUMBERS))), X, NUMBERS)
    expected = make_folds(splitter, X, NUMBERS)
    for ours, theirs in [(made.held, expected.held), (made.trained, expected.trained)]:
        assert [rows.tolist() for rows in ours] == [rows.tolist() for rows in theirs]


@pytest.mark.parametrize(
    "ids",
    [
        [5, -2, 9] * 8,
        np.repeat([5, -2, 9], 8),
        torch.arange(24) % 3,
        (torch.arange(24) % 2).bool(),
        np.arange(24, dtype=np.uint8) % 2,
    ],
)
def test_ids_keep_their_groups_together(ids: Any) -> None:
    folds = make_folds(ids, X, NUMBERS).of_rows
    given = torch.as_tensor(ids)
    same = given.unsqueeze(0) == given.unsqueeze(1)
    assert torch.equal(folds.unsqueeze(0) == folds.unsqueeze(1), same)
    assert sorted(set(folds.tolist())) == list(range(len(given.unique())))


@pytest.mark.parametrize(
    ("folds", "words"),
    [
        (1, "give 2 to 24 folds"),
        (0, "give 2 to 24 folds"),
        (-3, "give 2 to 24 folds"),
        (25, "give 2 to 24 folds"),
        (True, "give a number, a splitter"),
        (5, "class 2 has 4 rows, fewer than folds=5"),
        (Parts(([0, 0, 1], [2])), "names a row twice in fold 0"),
        (Parts(([0, 1], [2]), ([0, 1], [1])), "names a row twice in fold 1"),
        (Parts(([], [2])), "no row to train on"),
        (Parts(([1], [])), "no row to hold out"),
        (Parts(), "makes no folds"),
        (GroupKFold(3), "Give groups="),
        (TimeSeriesSplit(3), "fold 0 has no row of class 1 to train on"),
        (KFold(30), "does not split these rows"),
        ("5", "give a number, a splitter"),
        (None, "give a number, a splitter"),
        (["a", "b"] * 12, "give a number, a splitter"),
        (2.5, "give a number, a splitter"),
        ([0, 1] * 11, "one per row"),
        ([0.0, 1.0] * 12, "one per row"),
        ([[0, 1]] * 24, "one per row"),
        ([3] * 24, "single fold"),
        ([0, 1] * 10 + [0] * 4, "no row of class 2 to train on"),
        (KFold(2), "no row of class"),
    ],
)
def test_bad_folds_are_refused(folds: Any, words: str) -> None:
    with pytest.raises(ShrinkageError, match=words):
        make_folds(folds, X, CLASSES)


def test_a_class_of_one_row_is_refused_whatever_the_splitter() -> None:
    alone = torch.zeros(24, dtype=torch.long)
    alone[5] = 1
    with pytest.raises(ShrinkageError, match="class 1"):
        make_folds(KFold(4), X, alone)
    with pytest.raises(ShrinkageError, match="class 1 has 1 row, fewer"):
        make_folds(2, X, alone)


# groups

PATIENTS = np.array([f"patient {n}" for n in [0, 0, 1, 2, 2, 2, 3, 4, 4, 5, 6, 7] * 2])


@pytest.mark.parametrize("y", [CLASSES, NUMBERS], ids=["classes", "numbers"])
@pytest.mark.parametrize("folds", [3, GroupKFold(3), LeaveOneGroupOut()])
def test_rows_of_a_group_stay_together(folds: Any, y: torch.Tensor) -> None:
    ids = make_folds(folds, X, y, groups=PATIENTS).of_rows
    assert int(ids.max()) + 1 == (8 if isinstance(folds, LeaveOneGroupOut) else 3)
    for patient in set(PATIENTS):
        assert len(ids[torch.from_numpy(patient == PATIENTS)].unique()) == 1


def test_groups_of_classes_are_stratified() -> None:
    y = torch.arange(120) % 2
    groups = torch.arange(120) // 4
    folds = make_folds(5, torch.zeros(120, 1), y, groups=groups)
    for fold in range(5):
        assert torch.bincount(y[folds.held[fold]]).tolist() == [12, 12]
    other = make_folds(5, torch.zeros(120, 1), y, groups=groups, seed=1)
    assert not torch.equal(folds.of_rows, other.of_rows)


@pytest.mark.parametrize(
    ("folds", "groups", "words"),
    [
        (3, [0] * 23, "give 24 labels"),
        (3, [0, 1] * 12, "folds=3 with 2 groups"),
        (KFold(3), PATIENTS, "on both sides of fold"),
        ([0, 1] * 12, [0, 0, 1, 1] * 6, "on both sides of fold 0"),
        (TimeSeriesSplit(3), PATIENTS, "on both sides of fold"),
        (GroupKFold(9), PATIENTS, "does not split these rows"),
    ],
)
def test_groups_that_cannot_stay_together_are_refused(folds: Any, groups: Any, words: str) -> None:
    with pytest.raises(ShrinkageError, match=words):
        make_folds(folds, X, NUMBERS, groups=groups)
