from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import shrinkage

ROOT = Path(__file__).parents[1]
LOADED_ON_USE = [
    "matplotlib",
    "pandas",
    "rich",
    "safetensors",
    "scipy",
    "sklearn",
    "torch._dynamo",
    "torch._inductor",
    "typer",
]


def run(*command: str | Path, **environment: str) -> str:
    """What the command prints; its whole output is in the error if it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command} exited {done.returncode}:\n{done.stdout}"
    return done.stdout


def loaded_by(statement: str) -> set[str]:
    return set(run(sys.executable, "-c", f"import sys\n{statement}\nprint(*sys.modules)").split())


def test_import_alone_does_not_wait_for_torch() -> None:
    assert "torch" not in loaded_by("import shrinkage")


def test_public_names_load_torch_and_nothing_else_that_is_heavy() -> None:
    added = loaded_by("from shrinkage import *") - loaded_by("import torch")
    assert "shrinkage.penalties" in added
    assert not added & set(LOADED_ON_USE)


def test_a_path_on_given_folds_does_not_wait_for_scikit_learn() -> None:
    path = """
import shrinkage, torch
X, y = torch.randn(12, 2), torch.randn(12, 1)
options = dict(strengths=[0.1], seeds=1, epochs=1, refit=False, compile=False)
shrinkage.fit_path(torch.nn.Linear(2, 1), X, y, shrinkage.L2(1.0), folds=[0, 1, 2] * 4, **options)
"""
    assert "sklearn" not in loaded_by(path)


def test_installed_command_prints_its_help() -> None:
    assert "path" in run(Path(sys.executable).with_name("shrinkage"), "--help")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-deps", "--wheel-dir", folder, ROOT)
    (built,) = folder.glob("*.whl")
    return built


def pip(*arguments: str | Path) -> str:
    """Run pip with the user's own settings: the package index may be named there."""
    home = os.environ["SHRINKAGE_TESTS_USER_HOME"]
    return run(sys.executable, "-m", "pip", *arguments, HOME=home)


@pytest.mark.slow
def test_wheel_holds_every_source_file_and_the_license(wheel: Path) -> None:
    source = ROOT / "src"
    wanted = {
        path.relative_to(source).as_posix()
        for path in (source / "shrinkage").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert "shrinkage/py.typed" in wanted
    names = set(zipfile.ZipFile(wheel).namelist())
    metadata = f"shrinkage-{shrinkage.__version__}.dist-info"
    assert wanted | {f"{metadata}/licenses/LICENSE"} <= names
    assert {name.split("/")[0] for name in names} == {"shrinkage", metadata}


@pytest.mark.slow
def test_wheel_works_without_the_checkout(wheel: Path, tmp_path: Path) -> None:
    pip("install", "--no-deps", "--target", tmp_path, wheel)
    alone = {"PYTHONPATH": str(tmp_path)}
    imported = run(sys.executable, "-c", "import shrinkage; print(shrinkage.__file__)", **alone)
    assert Path(imported.strip()).is_relative_to(tmp_path)
    assert shrinkage.__version__ in run(tmp_path / "bin" / "shrinkage", "--version", **alone)
