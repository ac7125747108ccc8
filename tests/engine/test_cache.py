"""The key of a compiled step knows every file whose code may be inlined in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import shrinkage
from shrinkage.engine.run.cache import step_sources

PACKAGE = Path(shrinkage.__file__).parent

MADE_FROM = (PACKAGE / "engine/member/step.py", PACKAGE / "engine/run/compiled.py")

NEVER_INLINED = {
    "__init__.py": "names alone, each loaded on use",
    "constraints.py": "a path has none; coupling moves into their sets for regularize",
    "disk/files.py": "writes what was compiled",
    "disk/private.py": "keeps it",
    "errors.py": "raises and warns before a step is made",
    "identity.py": "hashes and names what a step is made of",
}
"""Files that these import, directly or not, without any of their code in a step; and why not."""


def imported(path: Path) -> Iterator[Path]:
    """The files of this package that a file imports, at its top or inside of a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            continue
        for name in names:
            package, *parts = name.split(".")
            if package == PACKAGE.name:
                yield from file_of(PACKAGE.joinpath(*parts))


def file_of(place: Path) -> list[Path]:
    return [p for p in (place.with_suffix(".py"), place / "__init__.py") if p.is_file()]


def reached() -> set[Path]:
    found, waiting = set(MADE_FROM), list(MADE_FROM)
    while waiting:
        path = waiting.pop()
        if path.relative_to(PACKAGE).as_posix() in NEVER_INLINED:
            continue
        new = set(imported(path)) - found
        found |= new
        waiting += new
    return found


def test_what_a_step_is_made_of_is_in_its_key() -> None:
    known = {path.relative_to(PACKAGE).as_posix() for path in step_sources()}
    needed = {path.relative_to(PACKAGE).as_posix() for path in reached()}
    assert needed - known == NEVER_INLINED.keys()
    assert known & NEVER_INLINED.keys() == set()
