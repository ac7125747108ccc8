from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import torch
from _command import FakeEngine, call, stand_in
from _results import make_result

import shrinkage
from shrinkage.cli import exits, job, screens
from shrinkage.cli.path_options import PathOptions
from shrinkage.cli.training import OPTIMIZERS
from shrinkage.engine import Progress
from shrinkage.engine.schedule import learning_rates
from shrinkage.penalties import catalogue
from shrinkage.result import PathResult

SMALL = ["--data", "iris", "--n-strengths", "7", "--seeds", "2"]
TINY = ["--model", "linear", "--n-strengths", "2", "--folds", "2", "--seeds", "1", "--epochs", "1"]
DRAW = job._draw


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> FakeEngine:
    return stand_in(monkeypatch, tmp_path)


def _fail(*arguments: Any, **options: Any) -> None:
    raise OSError("no font")


def write_idx(directory: Path) -> Path:
    """A directory with an MNIST-style file that ends too early."""
    directory.mkdir()
    for name in ("train-images-idx3-ubyte", "train-labels-idx1-ubyte"):
        (directory / name).write_bytes(b"\0\0\x08\x01\0\0\0\x09only5")
    return directory


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


def test_options_reach_the_engine(engine: FakeEngine) -> None:
    options = "--penalty l1 --select 0.* --strengths 1e-2,0,1e-3 --seeds 4 --epochs 7 --lr 0.5"
    done = call(
        "path", *options.split(), "--optimizer", "rmsprop", "--batch-size", "9", "--folds", "3"
    )
    assert done.exit_code == 0, done.output
    (asked,) = engine.calls
    assert asked["strengths"] == [0.0, 1e-3, 1e-2]
    assert isinstance(asked["penalty"], shrinkage.L1)
    assert (asked["select"], asked["how"], asked["compile"]) == ("0.*", "proximal", "auto")
    assert (asked["seeds"], asked["epochs"], asked["batch_size"]) == (range(4), 7, 9)
    assert set(asked["folds"]) == {0, 1, 2}
    assert asked["optimizer"].func is torch.optim.RMSprop
    assert asked["optimizer"].keywords == {"lr": 0.5}
    assert len(asked["test"][1]) + len(asked["X"]) == 1797
    assert "sorted" in done.stderr


def test_a_whole_number_is_one_strength_and_that_is_said(engine: FakeEngine) -> None:
    done = call("path", "--strengths", "8")
    assert done.exit_code == 0
    assert "one strength, 8; --n-strengths 8" in done.stderr
    assert "one strength" not in call("path", "--strengths", "0.5", "--overwrite").stderr


def test_a_seed_changes_test_rows_folds_and_starts(engine: FakeEngine) -> None:
    for seed in ("0", "1"):
        call("path", "--data", "digits", "--seeds", "3", "--seed", seed)
    first, second = engine.calls
    assert (first["seeds"], second["seeds"]) == (range(3), range(3, 6))
    assert first["folds"] != second["folds"]
    assert not torch.equal(first["test"][0], second["test"][0])


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("step:2,0.5", [0.4, 0.4, 0.2, 0.2]),
        ("exponential:0.5", [0.4, 0.2, 0.1, 0.05]),
        ("cosine", [0.4, 0.2 + 0.2 * math.sqrt(0.5), 0.2, 0.2 - 0.2 * math.sqrt(0.5)]),
    ],
)
def test_schedules(engine: FakeEngine, spec: str, expected: list[float]) -> None:
    call("path", *SMALL, "--scheduler", spec, "--lr", "0.4", "--epochs", "4", "--optimizer", "sgd")
    (asked,) = engine.calls
    rates = learning_rates(asked["optimizer"], asked["scheduler"], 4)
    assert rates.tolist() == pytest.approx(expected)


def test_adamw_is_decoupled_and_brings_no_decay_of_its_own(engine: FakeEngine) -> None:
    call("path", *SMALL, "--optimizer", "adamw")
    (asked,) = engine.calls
    assert asked["how"] == "decoupled"
    assert asked["optimizer"].keywords["weight_decay"] == 0


def test_tables_are_standardized_within_folds_and_images_are_not(engine: FakeEngine) -> None:
    for name in ("wine", "digits", "diabetes"):
        assert call("path", "--data", name).exit_code == 0
    wine, digits, diabetes = engine.calls
    assert repr(wine["preprocess"]) == repr(diabetes["preprocess"]) == "StandardScaler()"
    assert digits["preprocess"] is None
    assert (digits["X"].min(), digits["X"].max()) == (0, 1)
    assert float(wine["X"].mean()) > 60


def test_targets_of_a_regression_are_scaled_and_their_unit_is_kept(
    engine: FakeEngine, tmp_path: Path
) -> None:
    engine.changes = {"task": "regression"}
    call("path", "--data", "diabetes", "--out", "mine")
    y = engine.calls[0]["y"]
    assert abs(float(y.mean())) < 1e-5
    assert float(y.std(correction=0)) == pytest.approx(1)
    unit = PathResult.load(tmp_path / "mine").about["data"]["target"]
    back = y * unit["sd"] + unit["mean"]
    assert set(back.round().tolist()) <= set(shrinkage.data.load_data("diabetes").y.tolist())


def test_json_is_one_object_without_nan(engine: FakeEngine) -> None:
    engine.changes = {"diverged": [(7, 0, 0)]}
    done = call("path", *SMALL, "--json")
    assert done.exit_code == 0

    def refuse(text: str) -> None:
        raise AssertionError(text)

    told = json.loads(done.stdout, parse_constant=refuse)
    assert told["directory"] == "runs/iris-l2"
    assert told["strengths"][7]["loss"] is None
    assert told["strengths"][7]["diverged"] == 1
    result = make_result(diverged=[(7, 0, 0)])
    assert told["choices"]["minimum"]["strength"] == shrinkage.minimum(result).strength
    assert told["verdict"]["answer"] == "helped"
    assert [row["rule"] for row in told["test"]] == ["no_penalty", "minimum", "one_standard_error"]
    assert told["test"][0]["loss"] == pytest.approx(result.test_metric("loss")[0].mean().item())
    assert told["data"]["sha256"]


def test_quiet_prints_nothing(engine: FakeEngine, tmp_path: Path) -> None:
    engine.note = "said once"
    done = call("path", *SMALL, "--quiet")
    assert (done.exit_code, done.output) == (0, "")
    assert (tmp_path / "runs" / "iris-l2").is_dir()


def test_notes_of_the_engine_reach_stderr(engine: FakeEngine) -> None:
    engine.note = "members train one by one"
    assert "members train one by one" in call("path", *SMALL).stderr


def test_a_warning_of_ours_is_a_note_and_that_of_others_is_left_alone(engine: FakeEngine) -> None:
    def warn(text: str, file: str, module: str) -> None:
        warnings.warn_explicit(text, UserWarning, file, 1, module)

    engine.before = lambda: warn("slow", exits.__file__, exits.__name__)
    assert call("path", *SMALL).stderr == "Note: slow\n"
    engine.before = lambda: warn("theirs", "/x/model.py", "model")
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


def test_manifest_tells_command_data_and_versions(
    engine: FakeEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Path.home()
    monkeypatch.setattr(sys, "argv", ["/x/shrinkage", "path", "--out", f"{home}/a b", f"{home}er"])
    call("path", *SMALL)
    about = PathResult.load(tmp_path / "runs" / "iris-l2").about
    assert about["command"] == f"shrinkage path --out '~/a b' {home}er"
    assert set(about["versions"]) == {"numpy", "python", "scikit-learn", "shrinkage", "torch"}
    assert about["data"]["rows"] == 120
    assert about["engine"] == "vectorized: eager"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--data", "digit"], "did you mean 'digits'"),
        (["--penalty", "l3"], "elastic_net, group_lasso, l1, l2"),
        (["--penalty", "L1"], "did you mean 'l1'?"),
        (["--penalty", "l2:1e-3"], "--penalty l2 --strengths 1e-3"),
        (["--missing", "impute"], "'--missing': 'impute' is not one of 'refuse', 'drop', 'mean'"),
        (["--model", "net"], "mlp:128"),
        (["--select", "nothing*"], "nearest names: 0.weight"),
        (["--how", "magic"], "coupled"),
        (["--optimizer", "lbfgs"], "adamw"),
        (["--strengths", ""], "1e-5,1e-4,1e-3"),
        (["--strengths", "1e-3,x"], "not a list of numbers"),
        (["--strengths", "-1"], "finite and >= 0"),
        (["--strengths", "1,nan"], "finite and >= 0"),
        (["--strengths", "inf"], "finite and >= 0"),
        (["--strengths", "1e-3,2e-3,1e-3"], "given twice: 0.001"),
        (["--strengths", "0"], "no strength above 0"),
        (["--strengths", "1", "--n-strengths", "3"], "not both"),
        (["--n-strengths", "1"], "--n-strengths"),
        (["--folds", "1"], "--folds"),
        (["--folds", "1000"], "--folds"),
        (["--seeds", "0"], "--seeds"),
        (["--epochs", "0"], "--epochs"),
        (["--lr", "0"], "above 0"),
        (["--lr", "nan"], "above 0"),
        (["--scheduler", "step:5"], "step:5,0.7"),
        (["--scheduler", "step:2.5,0.7"], "step:5,0.7"),
        (["--scheduler", "exponential:1.5"], "up to 1"),
        (["--scheduler", "cosine:3"], "cosine"),
        (["--scheduler", "exponential:nan"], "above 0"),
        (["--unknown"], "--unknown"),
        (["wine"], "(wine); each needs its option, such as --data wine."),
        (["--folds", "3", "wine", "x"], "(wine x); each needs its option, such as --data wine."),
    ],
)
def test_wrong_usage_is_one_error_and_exit_code_2(
    engine: FakeEngine, tmp_path: Path, options: list[str], said: str
) -> None:
    done = call("path", *options)
    assert (done.exit_code, done.stdout) == (2, "")
    first, *rest = done.stderr.splitlines()
    assert first.startswith("Error: ")
    assert said in first
    assert rest == ["Try 'root path --help'."] * len(rest)
    assert not engine.calls
    assert not any(tmp_path.iterdir())


def in_use(tmp_path: Path) -> list[str]:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "manifest.json").touch()
    return ["--out", "mine"]


def somebody_elses(tmp_path: Path) -> list[str]:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").touch()
    return ["--out", "mine", "--overwrite"]


def below_a_file(tmp_path: Path) -> list[str]:
    (tmp_path / "file").touch()
    return ["--out", "file/run"]


def link(tmp_path: Path) -> list[str]:
    (tmp_path / "mine").symlink_to(tmp_path)
    return ["--out", "mine"]


def bad_idx(tmp_path: Path) -> list[str]:
    return ["--data", str(write_idx(tmp_path / "mnist"))]


@pytest.mark.parametrize(
    ("prepare", "said"),
    [
        (in_use, "pass --overwrite"),
        (somebody_elses, "thesis.tex"),
        (below_a_file, "Choose another --out"),
        (link, "is a link or a file"),
        (bad_idx, "train-"),
    ],
)
def test_fault_before_training_is_one_line_and_exit_code_1(
    engine: FakeEngine, tmp_path: Path, prepare: Callable[[Path], list[str]], said: str
) -> None:
    options = prepare(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    done = call("path", *options)
    assert (done.exit_code, done.stdout) == (1, "")
    assert done.stderr.startswith("Error: ")
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert not engine.calls
    assert sorted(tmp_path.rglob("*")) == before


def test_when_all_diverge_the_table_is_shown_and_nothing_saved(
    engine: FakeEngine, tmp_path: Path
) -> None:
    engine.changes = {"diverged": [(k, 0, 0) for k in range(8)]}
    for columns in (60, 120):
        done = call("path", *SMALL, columns=columns)
        assert done.exit_code == 1
        assert done.stdout.count("1 diverged") == 8
        assert done.stderr.startswith("Error: no strength can be chosen")
        assert not any(tmp_path.iterdir())


def test_unexpected_fault_is_one_line_and_debug_shows_where(engine: FakeEngine) -> None:
    def fail() -> None:
        raise RuntimeError("out of luck")

    engine.before = fail
    done = call("path", *SMALL)
    assert done.exit_code == 1
    assert done.stderr.startswith("Error: RuntimeError: out of luck.")
    assert "--debug" in done.stderr
    assert isinstance(call("path", *SMALL, "--debug").exception, RuntimeError)


def test_interrupt_is_one_line_and_exit_code_130(engine: FakeEngine, tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    engine.before = interrupt
    done = call("path", *SMALL)
    assert done.exit_code == 130
    assert done.stderr == "Interrupted. A run is saved only when it is whole.\n"
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_a_stopped_run_with_a_checkpoint_says_how_to_go_on(
    engine: FakeEngine, tmp_path: Path, stop: BaseException, code: int
) -> None:
    def interrupt() -> None:
        raise stop

    engine.before = interrupt
    done = call("path", *SMALL, "--checkpoint", "kept")
    assert (done.exit_code, done.stderr) == (code, "Stopped. The same command goes on from kept.\n")
    assert engine.calls[0]["checkpoint"] == Path("kept")
    assert not any(tmp_path.iterdir())


def test_refined_strengths_count_as_members(engine: FakeEngine) -> None:
    done = call("path", *SMALL, "--refine", "3")
    told = " ".join(done.stdout.split())
    assert "11 strengths (3 around the best) x 5 folds x 2 seeds = 110, plus 22 refits" in told
    assert engine.calls[0]["refine"] == 3


LONG = ["--data", "iris", "--model", "linear", "--strengths", "0.01", "--seeds", "1"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_a_run_and_the_same_command_goes_on(
    tmp_path: Path, number: signal.Signals, code: int
) -> None:
    command = [sys.executable, "-m", "shrinkage", "path", *LONG, "--epochs", "400"]
    kept = tmp_path / "kept"
    whole = subprocess.run([*command, "--quiet"], cwd=tmp_path, check=False)
    assert whole.returncode == 0
    command += ["--checkpoint", "kept", "--out", "again"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        while not (kept / "manifest.json").exists():
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(0.5)
        process.send_signal(number)
        out, err = process.communicate()
    assert (process.returncode, err) == (code, "Stopped. The same command goes on from kept.\n")
    assert "Saved" not in out
    assert not (tmp_path / "again").exists()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the checkpoint holds" in done.stderr
    one, other = (tmp_path / "runs" / "iris-l2", tmp_path / "again")
    assert (one / "path.safetensors").read_bytes() == (other / "path.safetensors").read_bytes()


# A shell lets what it starts in the background ignore Ctrl-C.
INTERRUPTIBLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
import shrinkage.cli
shrinkage.cli.main()
"""


@pytest.mark.slow
def test_ctrl_c_without_a_checkpoint_leaves_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-uc", INTERRUPTIBLE, "path", *LONG, "--epochs", "2000"]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while "Members" not in process.stdout.readline():
            assert process.poll() is None
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate()
    # An interrupt that meets the exec of a text, as imports of the compiler do, makes CPython end
    # by the signal itself, also if it was caught. A shell says 130 to both.
    assert process.returncode in (130, -signal.SIGINT)
    assert err == "Interrupted. A run is saved only when it is whole.\n"
    assert not any(tmp_path.iterdir())


def test_picture_that_fails_does_not_hide_the_results(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(job, "_draw", DRAW)
    monkeypatch.setattr(job, "save_figures", _fail)
    done = call("path", *SMALL)
    assert done.exit_code == 1
    assert "Helped" in done.stdout
    assert "no font" in done.stderr
    assert (tmp_path / "runs" / "iris-l2" / "manifest.json").exists()
    assert (tmp_path / "runs" / "iris-l2" / "report.html").exists()


def test_report_is_written_into_the_run_and_named_last(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(job, "_draw", DRAW)
    monkeypatch.setattr(job, "save_figures", lambda result, directory: None)
    done = call("path", *SMALL, "--out", "mine")
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-1].split()[0] == "mine/report.html"
    PathResult.load(tmp_path / "mine").report(tmp_path / "again.html")
    assert (tmp_path / "mine" / "report.html").read_bytes() == (
        tmp_path / "again.html"
    ).read_bytes()
    assert call("path", *SMALL, "--out", "mine", "--overwrite").exit_code == 0


def test_report_that_fails_leaves_the_run_and_its_pictures(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(job, "_draw", DRAW)
    monkeypatch.setattr(PathResult, "report", _fail)
    drawn: list[Path] = []
    monkeypatch.setattr(job, "save_figures", lambda result, directory: drawn.append(directory))
    done = call("path", *SMALL)
    assert done.exit_code == 1
    assert "Helped" in done.stdout
    assert "no font" in done.stderr
    assert len(drawn) == 1
    PathResult.load(tmp_path / "runs" / "iris-l2")


def test_default_directory_is_a_new_one_each_time(engine: FakeEngine, tmp_path: Path) -> None:
    for _ in range(3):
        call("path", *SMALL)
    call("path", *SMALL, "--overwrite")
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "iris-l2",
        "iris-l2-2",
        "iris-l2-3",
    ]


def test_overwrite_replaces_a_run(engine: FakeEngine, tmp_path: Path) -> None:
    call("path", *SMALL, "--out", "mine")
    engine.changes = {"K": 4}
    assert call("path", *SMALL, "--out", "mine", "--overwrite").exit_code == 0
    assert len(PathResult.load(tmp_path / "mine").strengths) == 4


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


def test_text_of_others_becomes_plain_where_it_cannot_be_shown(engine: FakeEngine) -> None:
    engine.note = "0.1 ± 0.2 → λ"
    assert "Note: 0.1 +/- 0.2 -> ?" in call("path", *SMALL, charset="ascii").stderr


def test_choice_at_the_edge_is_followed_by_what_to_try(engine: FakeEngine) -> None:
    falling = torch.linspace(2, 1, 4).view(4, 1, 1, 1) + 0.01 * torch.rand(1, 5, 2, 4)
    engine.changes = {"K": 4, "strong": False, "valid_loss": falling}
    done = call("path", *SMALL)
    told = " ".join(done.stdout.split())
    assert "Note: a chosen strength is the largest of the grid" in told
    assert "--strengths 3e-02,3e-01,3e+00" in told


def test_a_single_strength_gets_one_advice_to_both_sides(engine: FakeEngine) -> None:
    falling = torch.tensor([2.0, 1.0]).view(2, 1, 1, 1) + 0.01 * torch.rand(1, 5, 2, 4)
    engine.changes = {"K": 2, "strong": False, "valid_loss": falling}
    told = " ".join(call("path", *SMALL).stdout.split())
    assert told.count("Note:") == 1
    assert "the only one of the grid" in told
    assert "--strengths 1e-08,1e-07,1e-06,1e-05,1e-04" in told


@pytest.mark.parametrize("arguments", [[], ["path", "--help"], ["report", "-h"]])
@pytest.mark.parametrize("columns", [100, 40])
def test_flags_take_nothing(arguments: list[str], columns: int) -> None:
    told = call(*arguments, columns=columns).stdout
    assert "bool" not in told.lower()
    assert "--help" in told


def test_live_progress_names_stage_epoch_and_members() -> None:
    from rich.console import Console

    console = Console(force_terminal=True, width=80, record=True)
    with screens.live_progress(console) as show:
        show(Progress("compile", 0, 96, 0, 4, 0, 96))
        show(Progress("train", 24, 96, 3, 4, 24, 96))
    drawn = console.export_text()
    assert "epoch 3/4, 24/96 members" in drawn


@pytest.mark.parametrize("arguments", [[], ["--help"], ["path", "--help"]])
def test_help_has_an_example(arguments: list[str]) -> None:
    done = call(*arguments)
    assert (done.exit_code, done.stderr) == (0, "")
    assert "shrinkage path --data breast_cancer --penalty l1" in done.stdout


@pytest.mark.parametrize("arguments", [[], ["path", "--help"], ["config", "--help"]])
def test_help_in_a_narrow_terminal_cuts_no_word(arguments: list[str]) -> None:
    done = call(*arguments, columns=40)
    assert done.exit_code == 0
    assert "│" not in done.stdout
    assert "…" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 40
    assert "│" in call(*arguments, columns=80).stdout


def test_help_names_every_penalty_and_data_set() -> None:
    told = call("path", "--help", columns=200).stdout
    for name in [*catalogue(), *shrinkage.data.BUILT_IN]:
        assert name in told


def test_version() -> None:
    assert call("--version").stdout == f"shrinkage {shrinkage.__version__}\n"


def python(*arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, *arguments], stdout=pipe, stderr=pipe, text=True, cwd=cwd
    )


def printed_by(code: str) -> str:
    with python("-c", code) as command:
        return command.communicate()[0]


def test_command_line_loads_nothing_heavy() -> None:
    shown = "import sys, shrinkage.cli; print(*sys.modules)"
    loaded = printed_by(shown).split()
    assert "shrinkage.cli" in loaded
    assert not {"torch", "sklearn", "numpy", "matplotlib", "shrinkage.engine"} & set(loaded)


def test_real_run_whose_reader_leaves_is_quiet_and_complete(tmp_path: Path) -> None:
    with python("-m", "shrinkage", "path", "--data", "iris", *TINY, cwd=tmp_path) as command:
        assert command.stdout is not None
        assert command.stderr is not None
        assert command.stdout.readline().startswith("Data")
        command.stdout.close()
        assert command.stderr.read() == ""
    assert command.returncode == 1
    assert PathResult.load(tmp_path / "runs" / "iris-l2").about["command"].startswith("shrinkage")


@pytest.mark.parametrize(
    ("words", "place", "offered"),
    [
        ("shrinkage ", "1", {"path", "report", "config"}),
        ("shrinkage path --opt", "2", {"--optimizer"}),
        ("shrinkage path --optimizer ", "3", {"adam", "adamw", "sgd", "rmsprop"}),
    ],
)
def test_completion_offers_names_and_does_not_wait_for_torch(
    words: str, place: str, offered: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_SHRINKAGE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", place)
    code = """
import sys
import shrinkage.cli
try:
    shrinkage.cli.main()
finally:
    assert not {"torch", "numpy", "sklearn", "pydantic"} & set(sys.modules)
"""
    assert offered <= set(printed_by(code).split())


def test_options_name_what_there_is() -> None:
    kinds = get_type_hints(PathOptions)
    assert set(get_args(kinds["optimizer"])) == set(OPTIMIZERS)
    assert get_args(kinds["missing"]) == get_args(shrinkage.data.Missing)


def test_public_function_stays_a_function_when_its_file_is_imported() -> None:
    shown = "import shrinkage.regularize, shrinkage; print(type(shrinkage.regularize).__name__)"
    assert printed_by(shown) == "function\n"


def test_plain_characters_leave_decoding_errors_alone() -> None:
    error = UnicodeDecodeError("ascii", b"\xff", 0, 1, "bad")
    with pytest.raises(UnicodeDecodeError):
        exits._in_plain_characters(error)
