"""Every page of the documentation runs from top to bottom and prints what it says it prints."""

from __future__ import annotations

import contextlib
import doctest
import inspect
import io
import re
import sys
from pathlib import Path
from typing import Any

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PAGES = sorted(
    path.relative_to(DOCS)
    for path in DOCS.rglob("*.md")
    if not {"_build", "generated"} & set(path.parts) and "```python" in path.read_text("utf-8")
)
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


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's compiler itself
@pytest.mark.parametrize("page", PAGES, ids=str)
def test_the_page_runs_and_prints_what_it_says(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = (DOCS / page).read_text("utf-8")
    namespace: dict[str, Any] = {"__name__": "page"}
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    blocks = list(BLOCK.finditer(text))
    assert len(blocks) == text.count("```python")
    assert sum(block["output"] is not None for block in blocks) == text.count("```text")
    for block in blocks:
        line = text[: block.start("code")].count("\n")
        code = "\n" * line + made_small(block["code"], block["small"])
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(code, f"docs/{page}", "exec"), namespace)
        got, wanted = printed.getvalue(), block["output"]
        if wanted is not None:
            assert doctest.OutputChecker().check_output(wanted, got, flags), got


def test_pages_with_code_are_found() -> None:
    assert Path("tutorial.md") in PAGES
    assert len(PAGES) > 8


def test_every_public_name_is_in_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    import reference

    import shrinkage

    page = reference.api()
    for name in shrinkage.__all__:
        assert re.search(rf":: shrinkage\.{name}$", page, re.MULTILINE), name
    for module in reference.sections():
        public = {
            n: getattr(sys.modules[module], n) for n in getattr(sys.modules[module], "__all__", ())
        }
        for name in (
            name
            for name, thing in public.items()
            if inspect.isclass(thing) or inspect.isroutine(thing)
        ):
            assert re.search(rf":: shrinkage\.([a-z_.]*\.)?{name}$", page, re.MULTILINE), name


def test_every_option_is_in_the_page_of_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(DOCS / "_ext"))
    import reference

    page = reference.command_line()
    assert {"## shrinkage path", "## shrinkage report"} <= set(page.splitlines())
    for option in ("--penalty", "--folds", "--config", "--json"):
        assert f"`{option}`" in page
