"""The README's Python runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torch import nn

ROOT = Path(__file__).parents[1]


def test_the_code_of_the_readme_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    model = nn.Linear(4, 3)
    names: dict[str, object] = {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), lr=0.1),
        "X": torch.randn(45, 4),
        "y": torch.arange(45) % 3,
    }
    added, tuned, seen = re.findall(
        r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    exec(added, names)
    assert "L2(0.001), coupled, on SGD" in capsys.readouterr().out
    exec(tuned.replace("epochs=40", "epochs=1"), names)
    exec(seen, names)
    assert (tmp_path / "report.html").exists()
    assert (tmp_path / "runs" / "mine" / "weights.safetensors").exists()


def test_what_the_readme_points_to_exists() -> None:
    links = re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert not [link for link in links if not (ROOT / link).exists()]
