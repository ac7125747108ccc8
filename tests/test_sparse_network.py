"""The example of a sparse network runs, on fewer seeds and epochs."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[1] / "examples" / "sparse_network.py"


def test_the_example_prints_its_table_and_draws_its_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = importlib.util.spec_from_file_location("sparse_network", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    example = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "sparse_network", example)
        spec.loader.exec_module(example)
        patch.setattr(example, "TURNS", 2)
        example.main(["--seeds", "2", "--epochs", "1", "--out", str(tmp_path)])
    shown = capsys.readouterr().out
    assert "group lasso" in shown
    assert "265,674" in shown
    assert (tmp_path / "sparse_network.png").stat().st_size > 10_000
