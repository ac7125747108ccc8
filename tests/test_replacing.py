"""A directory that is replaced is the old one or the new one, whenever the process is killed."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from shrinkage.disk import replacing as replacing_file
from shrinkage.disk.replacing import check_target, put_back, replacing

NAMES = frozenset({"a", "b"})
TOUCHES_FILES = ("open", "os.", "shutil.")


def save(directory: Path, text: str, *, overwrite: bool = True) -> None:
    with replacing(directory, overwrite, NAMES) as temporary:
        for name in NAMES:
            (temporary / name).write_text(text)


def content(directory: Path) -> set[str]:
    put_back(directory)
    return {(directory / name).read_text() for name in NAMES}


def calls_before_death(act: Callable[[], None], at: int) -> int:
    """Let a child process act, kill it at its n-th call on files; return its exit code."""
    child = os.fork()
    if child == 0:
        calls = 0

        def count(event: str, _: object) -> None:
            nonlocal calls
            if event.startswith(TOUCHES_FILES):
                calls += 1
                if calls == at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(count)
        try:
            act()
        finally:
            os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("exchange", [True, False])
def test_killed_at_any_call_it_is_the_old_or_the_new_one_and_the_next_save_cleans_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exchange: bool
) -> None:
    if not exchange:
        monkeypatch.setattr(replacing_file, "_exchanged", lambda *_: False)
    run, seen, at = tmp_path / "run", set(), 0
    save(run, "old")
    while True:
        at += 1
        code = calls_before_death(lambda: save(run, "new"), at)
        found = content(run)
        assert found in ({"old"}, {"new"})
        seen |= found
        if code == 0:
            break
        assert code == -signal.SIGKILL
        save(run, "old")
        assert [path.name for path in tmp_path.iterdir()] == ["run"]
        assert content(run) == {"old"}
    assert at > 10
    assert seen == {"old", "new"}


def test_a_first_save_that_is_killed_leaves_nothing_and_the_next_one_cleans_up(
    tmp_path: Path,
) -> None:
    run, at, code = tmp_path / "run", 0, -1
    while code:
        at += 1
        code = calls_before_death(lambda: save(run, "new"), at)
        if run.exists():
            assert content(run) == {"new"}
        save(run, "later")
        assert [path.name for path in tmp_path.iterdir()] == ["run"]
        for name in NAMES:
            (run / name).unlink()
        run.rmdir()
    assert at > 5


def test_what_a_living_process_is_writing_is_left_alone(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with replacing(run, True, NAMES) as first:
        save(run, "second")
        for name in NAMES:
            (first / name).write_text("first")
    assert content(run) == {"first"}
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_what_only_looks_like_a_leftover_is_left_alone(tmp_path: Path) -> None:
    for name in (".run.0123.new", ".runs.0123456789abcdef.new", ".run.thesis.old"):
        (tmp_path / name).mkdir()
    save(tmp_path / "run", "x")
    assert len(list(tmp_path.iterdir())) == 4


def test_a_run_that_was_moved_aside_is_not_taken_for_a_free_place(tmp_path: Path) -> None:
    save(tmp_path / "run", "old")
    (tmp_path / "run").rename(tmp_path / ".run.0123456789abcdef.old")
    with pytest.raises(ValueError, match="holds another run"):
        check_target(tmp_path / "run", False, NAMES)
    assert content(tmp_path / "run") == {"old"}
