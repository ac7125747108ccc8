"""Every pitfall has a check that was seen to fail on a naive implementation."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from _pitfalls import pitfall

LAST = {"a": 10, "b": 10, "c": 14, "d": 6}
NUMBERS = [f"{kind}{number + 1}" for kind, last in LAST.items() for number in range(last)]


def checked() -> list[str]:
    """Return the numbers in the names of checks that also run on what falls in."""
    files = sorted(Path(__file__).parent.glob("test_pitfalls_*.py"))
    tests = [test for file in files for test in vars(importlib.import_module(file.stem)).items()]
    named = (name for name, test in tests if getattr(test, "naive", None))
    return [number for name in named for number in re.findall(r"(?<=_)[a-d]\d+(?=_)", name)]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_naive_implementation_falls_in(number: str) -> None:
    assert number in checked()


def test_no_other_number_is_checked() -> None:
    assert set(checked()) == set(NUMBERS)


def test_a_naive_implementation_that_passes_is_told() -> None:
    @pitfall(ours=1, naive=2)
    def check(number: int) -> None:
        assert number > 0

    ((_, (ours, naive)),) = ((mark.args[0], list(mark.args[1])) for mark in check.pytestmark)
    check(number=ours)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        check(number=naive)
