from __future__ import annotations

import importlib
import inspect
import pkgutil
from pathlib import Path
from types import ModuleType

import pytest

import shrinkage
import shrinkage.penalties
from shrinkage.penalties import Penalty

SOURCE = Path(__file__).parents[1] / "src" / "shrinkage"
MODULES = sorted(SOURCE.rglob("*.py"))


def penalty_classes() -> list[type[Penalty]]:
    """Every penalty class in the folder, also one whose import line was forgotten."""
    package = shrinkage.penalties
    files = [
        importlib.import_module(m.name)
        for m in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    ]
    found = {
        member
        for module in files
        for member in vars(module).values()
        if inspect.isclass(member)
        and issubclass(member, Penalty)
        and member.__module__ == module.__name__
        and not inspect.isabstract(member)
    }
    return sorted(found, key=lambda penalty: penalty.__name__)


@pytest.mark.parametrize("package", [shrinkage, shrinkage.penalties])
def test_all_is_sorted_and_has_no_duplicates(package: ModuleType) -> None:
    def as_ruff_sorts(name: str) -> tuple[bool, bool, str]:
        return not name.isupper(), not name[0].isupper(), name

    assert list(package.__all__) == sorted(set(package.__all__), key=as_ruff_sorts)


@pytest.mark.parametrize("name", shrinkage.__all__)
def test_public_name_can_be_imported_and_is_documented(name: str) -> None:
    member = getattr(shrinkage, name)
    if callable(member) or inspect.ismodule(member):
        text = (member.__doc__ or "").strip()
        made_up_by_dataclass = text.startswith(f"{name}(")
        assert text, f"shrinkage.{name} has no docstring"
        assert not made_up_by_dataclass, f"shrinkage.{name} has no docstring of its own"


@pytest.mark.parametrize("penalty", penalty_classes(), ids=lambda penalty: penalty.__name__)
def test_penalty_is_exported(penalty: type[Penalty]) -> None:
    name = penalty.__name__
    assert getattr(shrinkage.penalties, name, None) is penalty
    assert name in shrinkage.penalties.__all__
    assert getattr(shrinkage, name, None) is penalty
    assert name in shrinkage.__all__


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_file_is_short_enough_to_read(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300
