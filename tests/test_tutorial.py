"""The tutorial page runs from top to bottom and prints what it says it prints."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
from pathlib import Path
from typing import Any

PAGE = (Path(__file__).parents[1] / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCK = re.compile(
    r"(?:<!-- small: (?P<small>[^>]*) -->\n)?"
    r"```python\n(?P<code>.*?)```\n"
    r"(?:\n```text\n(?P<output>.*?)```\n)?",
    re.DOTALL,
)


def made_small(code: str, settings: str | None) -> str:
    """Replace keyword arguments by smaller ones, so that the page runs in seconds."""
    for setting in (settings or "").split(", ") if settings else []:
        name, _, _ = setting.partition("=")
        code, replaced = re.subn(rf"\b{name}=\d+", setting, code)
        assert replaced == 1, f"{setting} replaces {replaced} arguments"
    return code


def test_the_tutorial_runs_and_prints_what_it_says() -> None:
    namespace: dict[str, Any] = {}
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    blocks = list(BLOCK.finditer(PAGE))
    assert len(blocks) == PAGE.count("```python") > 10
    assert sum(block["output"] is not None for block in blocks) == PAGE.count("```text") > 2
    for block in blocks:
        line = PAGE[: block.start("code")].count("\n")
        code = "\n" * line + made_small(block["code"], block["small"])
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, "docs/tutorial.md", "exec"), namespace)
        got, wanted = printed.getvalue(), block["output"]
        if wanted is not None:
            assert doctest.OutputChecker().check_output(wanted, got, flags), got
    assert namespace["verdict"].answer in {"helped", "did not help", "cannot tell"}
    assert namespace["best"].strength in namespace["result"].strengths.tolist()
