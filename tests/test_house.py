"""The plan of the house: the map is the contracts, and files and folders keep their measure."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "shrinkage"
FILES = sorted(PACKAGE.rglob("*.py"))
FOLDERS = sorted({file.parent for file in FILES})

CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
    "contracts"
]

SIBLINGS = {
    "comparison": {"comparing", "plots", "report"},
    "job": {"cli/compare", "cli/path", "cli/train"},
    "options": {"cli", "cli/compare", "cli/path", "cli/train"},
    "screen": {"cli/compare", "cli/path", "cli/train"},
}
"""Names that stand for the same place in sibling families, and those families."""


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def tables() -> dict[str, list[list[str]]]:
    """The places of each table on the architecture page, by the words that head it."""
    found: dict[str, list[list[str]]] = {}
    rows: list[list[str]] | None = None
    for line in (ROOT / "docs" / "architecture.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if not line.startswith("|"):
            rows = None
        elif rows is None:
            rows = found.setdefault(cells[0].replace("`", ""), [])
        elif not set(cells[0]) <= {"-"}:
            rows.append([re.sub(r"/|\.py|`", "", place).strip() for place in cells[0].split("·")])
    return found


@pytest.mark.parametrize(
    ("heading", "contract"),
    [("floor", 0), ("place in engine/", 1), ("place in shrinking/", 2)],
)
def test_the_map_and_the_contract_are_the_same_list(heading: str, contract: int) -> None:
    layers = [layer.split(" | ") for layer in CONTRACTS[contract]["layers"]]
    assert tables()[heading] == layers


def test_few_contracts_of_few_layers_with_one_door_upwards() -> None:
    assert len(CONTRACTS) <= 3
    assert sum(len(contract["layers"]) for contract in CONTRACTS) <= 25
    doors = [door for contract in CONTRACTS for door in contract.get("ignore_imports", [])]
    assert doors == ["shrinkage.result.path_result -> shrinkage.report"]
    assert all(contract["exhaustive"] for contract in CONTRACTS)


@pytest.mark.parametrize("file", FILES, ids=name_of)
def test_a_file_has_at_most_300_lines(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 300


@pytest.mark.parametrize("folder", FOLDERS, ids=name_of)
def test_a_folder_has_at_most_16_files(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= (12 if folder == PACKAGE else 16)


def test_no_file_name_occurs_twice_but_in_sibling_families() -> None:
    named = [file for file in FILES if not file.stem.startswith("__")]
    twice = {stem for stem, count in Counter(file.stem for file in named).items() if count > 1}
    homes = {stem: {name_of(f.parent) for f in named if f.stem == stem} for stem in twice}
    assert homes == SIBLINGS


def test_no_file_name_begins_with_an_underscore() -> None:
    assert {f.stem for f in FILES if f.stem.startswith("_")} == {"__init__", "__main__", "_version"}
