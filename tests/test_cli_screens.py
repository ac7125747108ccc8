"""``shrinkage path``: what is shown, in terminals of every width."""

from __future__ import annotations

import gc
import io
import warnings
from pathlib import Path

import pytest
import torch
from _command import SMALL, FakeEngine, call
from _results import make_result

import shrinkage
from shrinkage.cli import exits, screens
from shrinkage.cli.path.lines import show_path
from shrinkage.engine import Progress
from shrinkage.errors import warn
from shrinkage.result.path_result import PathResult


def test_run_shows_every_part_and_saves(engine: FakeEngine, tmp_path: Path) -> None:
    engine.changes = {"K": 21}
    done = call("path", *SMALL)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "8 strengths x 5 folds x 2 seeds = 80, plus 16 refits" in done.stdout
    assert "L2 on 0.weight, 2.weight, coupled" in done.stdout
    lines = [line.rstrip() for line in done.stdout.splitlines()]
    marked = {mark: next(line for line in lines if line.endswith(mark)) for mark in ("min", "1 SE")}
    result = make_result(K=21)
    for mark, choice in (("min", shrinkage.minimum), ("1 SE", shrinkage.one_standard_error)):
        assert marked[mark].startswith(f"{choice(result).strength:.2e} ")
    assert next(line for line in lines if "no penalty" in line).split()[0] == "0"
    assert shrinkage.verdict(result).sentence in " ".join(done.stdout.split())
    saved = PathResult.load(tmp_path / "runs" / "iris-l2")
    assert saved.strengths.tolist() == result.strengths.tolist()
    assert "runs/iris-l2/weights.safetensors" in done.stdout


def test_a_whole_number_is_one_strength_and_that_is_said(engine: FakeEngine) -> None:
    done = call("path", "--strengths", "8")
    assert done.exit_code == 0
    assert "one strength, 8; for 8 strengths use --n-strengths 8" in done.stderr
    assert "one strength" not in call("path", "--strengths", "0.5", "--overwrite").stderr


def test_refined_strengths_count_as_members(engine: FakeEngine) -> None:
    done = call("path", *SMALL, "--refine", "3")
    told = " ".join(done.stdout.split())
    assert "11 strengths (3 around the best) x 5 folds x 2 seeds = 110, plus 22 refits" in told
    assert engine.calls[0]["refine"] == 3


def test_quiet_prints_nothing(engine: FakeEngine, tmp_path: Path) -> None:
    engine.note = "said once"
    done = call("path", *SMALL, "--quiet")
    assert (done.exit_code, done.output) == (0, "")
    assert (tmp_path / "runs" / "iris-l2").is_dir()


def test_notes_of_the_engine_reach_stderr(engine: FakeEngine) -> None:
    engine.note = "members train one by one"
    assert "members train one by one" in call("path", *SMALL).stderr


def test_a_warning_of_ours_is_a_note_and_that_of_others_is_left_alone(engine: FakeEngine) -> None:
    engine.before = lambda: warn("slow", "one by one.")
    assert call("path", *SMALL).stderr == "Note: slow: one by one.\n"
    engine.before = lambda: warnings.warn("theirs", stacklevel=1)
    with pytest.warns(UserWarning, match="theirs"):
        assert "theirs" not in call("path", *SMALL).output


def test_one_seed_has_no_deviation(engine: FakeEngine) -> None:
    engine.changes = {"S": 1}
    assert "over the seeds" not in call("path", *SMALL).stdout
    engine.changes = {"S": 2}
    assert "over the seeds" in call("path", *SMALL).stdout


def test_regression_shows_r2(engine: FakeEngine) -> None:
    engine.changes = {"task": "regression"}
    done = call("path", "--data", "diabetes")
    assert done.exit_code == 0, done.output
    assert "R2" in done.stdout
    assert "accuracy" not in done.stdout


@pytest.mark.parametrize("charset", ["utf-8", "ascii", "latin-1"])
@pytest.mark.parametrize("columns", [40, 60, 80, 120])
def test_nothing_is_cut_and_everything_can_be_encoded(
    engine: FakeEngine, columns: int, charset: str
) -> None:
    engine.changes = {"sparse": True, "diverged": [(7, 0, 0)]}
    done = call("path", *SMALL, columns=columns, charset=charset)
    assert done.exit_code == 0, done.output
    assert "\x1b" not in done.stdout
    assert "…" not in done.stdout
    assert "..." not in done.stdout
    assert "?" not in done.stdout
    assert ("±" in done.stdout.split("Verdict")[0]) == (charset == "utf-8" and columns > 40)
    assert max(map(len, done.stdout.splitlines())) <= columns
    assert ("train loss" in done.stdout) == (columns >= 80)
    assert any(dot in done.stdout for dot in ("─●─", "-o-")) == (columns == 120)


def test_the_ends_of_the_picture_are_two_errors_below_and_six_above_the_best() -> None:
    from rich.console import Console

    values = [(1.0, 0.01), (0.5, 0.1), (2.0, 0.1)]
    rows = [
        {"strength": k, "loss": loss, "standard_error": error, "accuracy": 0.5, "fit_loss": 0.1}
        | {"norm": 1.0, "zeros": 0.0, "diverged": 0}
        for k, (loss, error) in enumerate(values)
    ]
    console = Console(width=120, record=True, file=io.StringIO())
    show_path(console, rows, {})
    head, _, first, best, beyond = console.export_text().splitlines()
    start = head.index("0.300")
    assert head[start:].split() == ["0.300", "1.100"]
    assert first[start:].index("●") == round(29 * 0.7 / 0.8)
    assert best[start:].index("●") == round(29 * 0.2 / 0.8)
    assert beyond[start:].rstrip() == " " * 29 + "→"


def test_text_of_others_becomes_plain_where_it_cannot_be_shown(engine: FakeEngine) -> None:
    engine.note = "0.1 ± 0.2 → λ"
    assert "Note: 0.1 +/- 0.2 -> ?" in call("path", *SMALL, charset="ascii").stderr


def test_plain_characters_leave_decoding_errors_alone() -> None:
    error = UnicodeDecodeError("ascii", b"\xff", 0, 1, "bad")
    with pytest.raises(UnicodeDecodeError):
        exits._in_plain_characters(error)


def test_choice_at_the_edge_is_followed_by_what_to_try(engine: FakeEngine) -> None:
    falling = torch.linspace(2, 1, 4).view(4, 1, 1, 1) + 0.01 * torch.rand(1, 5, 2, 4)
    engine.changes = {"K": 4, "strong": False, "valid_loss": falling}
    done = call("path", *SMALL)
    told = " ".join(done.stdout.split())
    assert "Note: minimum and one standard error choose the largest strength; a better" in told
    assert "--strengths 3e-02,3e-01,3e+00" in told


def test_a_single_strength_gets_one_advice_to_both_sides(engine: FakeEngine) -> None:
    falling = torch.tensor([2.0, 1.0]).view(2, 1, 1, 1) + 0.01 * torch.rand(1, 5, 2, 4)
    engine.changes = {"K": 2, "strong": False, "valid_loss": falling}
    told = " ".join(call("path", *SMALL).stdout.split())
    assert told.count("Note:") == 1
    assert "choose the only strength above 0; a better one may lie beyond" in told
    assert "--strengths 1e-08,1e-07,1e-06,1e-05,1e-04" in told


def test_live_progress_names_stage_epoch_and_members() -> None:
    from rich.console import Console

    console = Console(force_terminal=True, width=80, record=True)
    with screens.live_progress(console) as show:
        show(Progress("compile", 0, 96, 0, 4, 0, 96))
        show(Progress("train", 24, 96, 3, 4, 24, 96))
    drawn = console.export_text()
    assert "epoch 3/4, 24/96 members" in drawn


def test_the_collector_leaves_alone_what_a_command_loads() -> None:
    before = gc.get_freeze_count()
    try:
        with screens.loading(screens.make_console(quiet=True)):
            assert not gc.isenabled()
        assert gc.isenabled()
        assert gc.get_freeze_count() > before
        with pytest.raises(ImportError), screens.loading(screens.make_console(quiet=True)):
            raise ImportError
        assert gc.isenabled()
    finally:
        gc.unfreeze()


@pytest.mark.parametrize("columns", [56, 72, 80, 90, 120, 200])
def test_columns_go_rather_than_be_cut(columns: int) -> None:
    from rich.console import Console

    rows = [
        {"strength": 10.0**-k, "loss": 12345.678, "standard_error": 1e-6, "accuracy": 1.0}
        | {"fit_loss": 12345.678, "norm": 123456.789, "zeros": 0.5, "diverged": 12}
        for k in range(3)
    ]
    console = Console(width=columns, record=True, file=io.StringIO())
    choices = {"no_penalty": {"index": 0}, "minimum": {"index": 0}}
    show_path(console, rows, choices)
    printed = console.export_text()
    assert "…" not in printed
    for word in ("strength", "CV loss", "accuracy", "no penalty,", "diverged"):
        assert word in printed
    assert ("zeros" in printed) == (columns >= 80)
    assert ("norm" in printed) == (columns >= 120)


@pytest.mark.parametrize("command", ["path", "train"])
def test_no_escape_sequence_of_a_name_reaches_the_terminal(
    command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    name = "\x1b[31mred.csv"
    rows = [f"{i % 7},{i % 5},{i % 3}" for i in range(40)]
    Path(name).write_text("\n".join(["a,b,y", *rows]))
    small = ["--model", "linear", "--epochs", "1", "--out", "\x1b[2Jrun"]
    small += ["--n-strengths", "2", "--folds", "2", "--seeds", "1"] * (command == "path")
    for arguments in (["--target", "z"], ["--target", "y", *small], ["--target", "y", *small]):
        done = call(command, "--data", name, *arguments)
        assert "\x1b" not in done.stdout + done.stderr
        assert "\N{REPLACEMENT CHARACTER}[" in done.stdout + done.stderr
    assert "is in use" in done.stderr
