"""Every pitfall has a check that was seen to fail on a naive implementation, and is explained."""

from __future__ import annotations

import importlib
import re
from pathlib import Path

import pytest
from _pitfalls import pitfall

ROOT = Path(__file__).parents[1]
LAST = {"a": 10, "b": 10, "c": 14, "d": 6}
NUMBERS = [f"{kind}{number + 1}" for kind, last in LAST.items() for number in range(last)]


def checked() -> dict[str, set[str]]:
    """Return, by number, the names of the checks that also run on what falls in."""
    files = sorted(Path(__file__).parent.glob("test_pitfalls_*.py"))
    tests = [test for file in files for test in vars(importlib.import_module(file.stem)).items()]
    found: dict[str, set[str]] = {}
    for name in (name for name, test in tests if getattr(test, "naive", None)):
        for number in re.findall(r"(?<=_)[a-d]\d+(?=_)", name):
            found.setdefault(number, set()).add(name)
    return found


@pytest.mark.parametrize("number", NUMBERS)
def test_a_naive_implementation_falls_in(number: str) -> None:
    assert number in checked()


def test_no_other_number_is_checked() -> None:
    assert set(checked()) == set(NUMBERS)


def test_the_page_has_every_pitfall_in_order_and_names_what_shows_it() -> None:
    page = (ROOT / "docs" / "pitfalls.md").read_text("utf-8")
    _, *parts = re.split(r"^### ([a-d]\d+)\. ", page, flags=re.MULTILINE)
    assert parts[::2] == NUMBERS
    shown = {
        number: set(re.findall(r"`(test_\w+)`", entry))
        for number, entry in zip(parts[::2], parts[1::2], strict=True)
    }
    assert shown == checked()


def test_every_fault_of_which_a_test_speaks_is_explained() -> None:
    rows = re.findall(r"^\| `fault_(\d+)` \|", (ROOT / "CONTRIBUTING.md").read_text("utf-8"), re.M)
    tests = (path.read_text("utf-8") for path in Path(__file__).parent.rglob("*.py"))
    spoken = {int(n) for text in tests for n in re.findall(r"(?<!de)fault[ _](\d+)", text)}
    assert [int(number) for number in rows] == sorted(spoken)


def test_a_naive_implementation_that_passes_is_told() -> None:
    @pitfall(ours=1, naive=2)
    def check(number: int) -> None:
        assert number > 0

    ((_, (ours, naive)),) = ((mark.args[0], list(mark.args[1])) for mark in check.pytestmark)
    check(number=ours)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        check(number=naive)
