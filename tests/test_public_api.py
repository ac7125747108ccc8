from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from pathlib import Path

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


def test_all_is_sorted_and_has_no_duplicates() -> None:
    def as_ruff_sorts(name: str) -> tuple[bool, bool, str]:
        return not name.isupper(), not name[0].isupper(), name

    names = shrinkage.penalties.__all__
    assert list(names) == sorted(set(names), key=as_ruff_sorts)


def seen_by_type_checkers() -> dict[str, str]:
    """Public names and their modules: what is imported under ``TYPE_CHECKING``, as itself."""
    tree = ast.parse((SOURCE / "__init__.py").read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    imports = [node for node in block.body if isinstance(node, ast.ImportFrom)]
    return {
        alias.name: node.module or ""
        for node in imports
        for alias in node.names
        if alias.asname == alias.name  # else it is private to them
    }


def test_type_checkers_see_what_is_loaded_on_use() -> None:
    seen = seen_by_type_checkers()
    for name, module in seen.items():
        assert getattr(shrinkage, name) is getattr(importlib.import_module(module), name)
    loaded = [*shrinkage.__all__, "PathClassifier", "PathRegressor"]
    assert len(loaded) == len(set(loaded))
    assert set(loaded) == set(seen)


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
