"""Every warning of this package points at the caller's own line, and says how to silence it."""

from __future__ import annotations

import ast
import copy
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from _training import make_net
from torch import nn
from torch.optim import SGD

import shrinkage
from shrinkage import L2, PathRegressor, ShrinkageWarning, fit_path, minimum, regularize
from shrinkage.errors import warn

SOURCES = Path(shrinkage.__file__).parent


def data() -> tuple[torch.Tensor, torch.Tensor]:
    X = torch.randn(12, 3)
    return X, X.sum(1, keepdim=True)


def given_twice() -> object:
    X, y = data()
    options = {"seeds": 1, "epochs": 1, "folds": 2, "compile": False}
    return fit_path(nn.Linear(3, 1), X, y, L2(1.0), strengths=[1, 1], **options)


def at_an_edge() -> object:
    X, y = data()
    options = {"seeds": 1, "epochs": 1, "folds": 2, "compile": False}
    path = fit_path(nn.Linear(3, 1), X, 0 * y, L2(1.0), strengths=[1e-4, 10.0], **options)
    return minimum(path)


def still_learning() -> object:
    X, y = data()
    path = PathRegressor("linear", L2(1.0), strengths=[1e-9], seeds=1, epochs=2, folds=2)
    return path.fit(X, y[:, 0])


def doubly_decayed() -> object:
    net = make_net()
    return regularize(net, SGD(net.parameters(), lr=0.1, weight_decay=0.1), L2(0.1))


def copied() -> object:
    net = make_net()
    optimizer = SGD(net.parameters(), lr=0.1)
    regularize(net, optimizer, L2(0.1))
    return copy.deepcopy(optimizer)


@pytest.mark.parametrize("act", [given_twice, at_an_edge, still_learning, doubly_decayed, copied])
def test_a_warning_points_at_the_line_of_the_caller(act: Callable[[], object]) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        act()
    ours = [warning for warning in caught if warning.category is ShrinkageWarning]
    assert ours
    for warning in ours:
        label = str(warning.message).partition(":")[0]
        assert str(warning.message).endswith(
            f'Silence: warnings.filterwarnings("ignore", "{label}").'
        )
        if act is not copied:  # that one happens inside copy.deepcopy
            assert Path(warning.filename).name == Path(__file__).name


def test_the_line_for_silence_silences() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", "a label")
        warn("a label", "said in vain.")
        warn("another", "heard.")
    assert [str(warning.message).partition(":")[0] for warning in caught] == ["another"]


def test_nobody_else_in_the_package_warns_or_counts_frames() -> None:
    """`warn` is the one door: no other file calls `warnings.warn`."""
    calls = {
        path.name
        for path in SOURCES.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
        and node.attr in ("warn", "warn_explicit")
        and isinstance(node.value, ast.Name)
        and node.value.id == "warnings"
    }
    assert calls == {"errors.py"}
