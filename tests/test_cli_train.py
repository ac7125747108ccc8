"""``shrinkage train``: what it writes, shows and refuses."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner, Result

from shrinkage.cli import app
from shrinkage.cli.train.job import read_penalties
from shrinkage.penalties import L1, L2

SMALL = ["--data", "iris", "--model", "mlp:8", "--epochs", "5", "--lr", "0.01"]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def call(*arguments: str, columns: int = 100) -> Result:
    environment = {"COLUMNS": str(columns), "NO_COLOR": "1", "TERM": "dumb"}
    return CliRunner().invoke(app, ["train", *arguments], env=environment)


def test_it_writes_weights_curves_facts_and_a_picture(here: Path) -> None:
    result = call(*SMALL, "--penalty", "l2:1e-3", "--out", "run")
    assert result.exit_code == 0, result.output
    run = here / "run"
    assert {path.name for path in run.iterdir()} == {
        "checkpoint.safetensors", "curves.csv", "curves.png", "train.json", "weights.safetensors",
    }  # fmt: skip
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
    model.load_state_dict(load_file(run / "weights.safetensors"))
    facts = json.loads((run / "train.json").read_text())
    rows = list(csv.DictReader((run / "curves.csv").read_text().splitlines()))
    assert [float(row["valid_loss"]) for row in rows] == [e["valid_loss"] for e in facts["epochs"]]
    assert [r["name"] for r in facts["penalized"] if r["penalized"]] == ["0.weight", "2.weight"]
    assert "3 classes, standardized" in result.stdout
    assert "the best: its weights are kept" in result.stdout
    assert "on 30 rows not used until now" in result.stdout
    assert "L2(0.001), coupled, on Adam" in result.stdout


def test_forward_passes_in_bfloat16(here: Path) -> None:
    shown = [call(*SMALL, *more, "--out", out) for out, more in (("a", ["--bfloat16"]), ("b", []))]
    assert ["5 epochs, bfloat16" in result.stdout for result in shown] == [True, False]
    one, other = (load_file(here / run / "weights.safetensors")["0.weight"] for run in "ab")
    assert one.dtype == torch.float32
    assert not torch.equal(one, other)
    torch.testing.assert_close(one, other, rtol=0.1, atol=0.02)


@pytest.mark.parametrize("columns", [40, 60, 80])
def test_nothing_is_cut_in_a_narrow_terminal(columns: int) -> None:
    shown = call(*SMALL, "--penalty", "l1:1e-3", columns=columns).stdout
    assert "…" not in shown
    assert max(map(len, shown.splitlines())) <= columns
    assert ("weight of Linear" in shown) == (columns == 80)


def test_the_seed_stands_with_the_training_it_starts() -> None:
    panel = call("--help").stdout.partition("Training ─")[2].partition("Output ─")[0]
    assert "--seed " in panel
    assert "folds" not in panel


def test_what_is_seldom_meant_is_a_note_and_not_a_warning_of_python() -> None:
    said = call(*SMALL, "--penalty", "l1:1e-4", columns=300).stderr
    assert said.startswith("Note: small threshold: Adam divides")
    assert "Silence" not in said
    assert ".py" not in said
    assert call(*SMALL, "--penalty", "l1:1e-4", "--quiet").output == ""


def test_a_caution_is_said_once() -> None:
    done = call(*SMALL, "--penalty", "l1:1e-4", columns=300)
    assert (done.stdout + done.stderr).count("divides the gradient by its size") == 1
    (caution,) = json.loads(Path("runs/iris-train/train.json").read_text())["cautions"]
    assert f"Note: {caution}\n" in done.stderr
    assert "elsewhere: Keras L1(0.0001)" in done.stdout


def test_json_is_one_object_and_quiet_prints_nothing_else() -> None:
    result = call(*SMALL, "--json", "--quiet")
    assert result.exit_code == 0
    assert result.stderr == ""
    facts = json.loads(result.stdout)
    assert facts["directory"] == "runs/iris-train"
    assert len(facts["epochs"]) == 5
    assert 0 <= facts["test"]["accuracy"] <= 1
    assert call(*SMALL, "--quiet").stdout == ""
    assert Path("runs/iris-train-2").is_dir()


def test_regression_early_stopping_and_several_penalties() -> None:
    result = call(
        "--data", "diabetes", "--model", "mlp:64", "--epochs", "200", "--patience", "3", "--lr",
        "0.02", "--penalty", "l2:1e-5", "--penalty", "group_lasso:1e-3@0.*", "--json",
        "--scheduler", "step:5,0.7",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    facts = json.loads(result.stdout)
    assert facts["stopped_early"]
    assert len(facts["epochs"]) == facts["best_epoch"] + 3 < 200
    assert facts["test"]["R2"] > 0.2
    acting = {row["name"]: row["penalty"] for row in facts["penalized"] if row["penalized"]}
    assert acting["0.weight"] == "GroupLasso"
    assert acting["2.weight"] == "L2"


def test_patterns_come_before_the_penalty_of_all_other_weights() -> None:
    rules = read_penalties(["l2:1e-3", "l1:1e-4@0.*"])
    assert [type(penalty) for penalty in rules.values()] == [L1, L2]
    assert [penalty.strength for penalty in rules.values()] == [1e-4, 1e-3]
    assert next(iter(rules)) == "0.*"


@pytest.mark.parametrize(
    ("arguments", "message", "code"),
    [
        (["--penalty", "l2"], "'l2' is not a penalty with a strength", 2),
        (["--penalty", "l3:1"], "'l3' is not a penalty; did you mean", 2),
        (["--penalty", "l2:x"], "'x' is not a number", 2),
        (["--penalty", "l2:1,l1:1"], "'1,l1:1' is not a number; for several penalties repeat", 2),
        (["--penalty", "l2:-1"], "must be finite and >= 0", 2),
        (["--penalty", "l2:1", "--penalty", "l1:1"], "another penalty is given for the same", 2),
        (["--penalty", "l2:1@9.*"], "matches no parameter", 2),
        (["--valid", "1"], "fraction=1", 2),
        (["--resume"], "say which run with --out", 2),
        (["--model", "mpl:3"], "mpl:3", 2),
        (["--data", "nothing"], "nothing", 2),
        (["--lr", "1e30"], "the loss is", 1),
    ],
)
def test_mistakes_are_told_in_a_line_and_leave_nothing(
    here: Path, arguments: list[str], message: str, code: int
) -> None:
    result = call(*SMALL, *arguments)
    assert result.exit_code == code
    assert not [path for path in here.rglob("*") if path.name != "runs"]

    assert re.search(message, result.stderr), result.stderr


def test_a_directory_in_use_is_kept_unless_asked_and_foreign_files_always(here: Path) -> None:
    assert call(*SMALL, "--out", "run").exit_code == 0
    before = (here / "run" / "weights.safetensors").read_bytes()
    refused = call(*SMALL, "--seed", "1", "--out", "run")
    assert refused.exit_code == 1
    assert (here / "run" / "weights.safetensors").read_bytes() == before
    assert call(*SMALL, "--seed", "1", "--out", "run", "--overwrite").exit_code == 0
    assert (here / "run" / "weights.safetensors").read_bytes() != before
    (here / "run" / "thesis.txt").touch()
    assert call(*SMALL, "--out", "run", "--overwrite").exit_code == 1


def test_resume_of_another_training_shows_the_difference() -> None:
    assert call(*SMALL, "--out", "run").exit_code == 0
    refused = call(*SMALL, "--batch-size", "8", "--out", "run", "--resume")
    assert refused.exit_code == 1
    assert "batch_size: 32 then, 8 now" in refused.stderr


def test_one_command_starts_a_run_and_goes_on_with_it(here: Path) -> None:
    run = here / "run"
    command = [*SMALL, "--out", "run", "--resume", "--tensorboard"]
    (run / "tensorboard").mkdir(parents=True)  # as after a kill in the first epoch
    (run / "tensorboard" / "events").touch()
    begun = call(*command)
    assert begun.exit_code == 0, begun.output
    assert "run has no checkpoint.safetensors yet; the training starts anew." in begun.stderr
    assert not (run / "tensorboard" / "events").exists()
    weights = (run / "weights.safetensors").read_bytes()
    done = call(*command)
    assert (done.exit_code, "starts anew" in done.stderr) == (0, False)
    assert (run / "weights.safetensors").read_bytes() == weights
    (run / "checkpoint.safetensors").unlink()
    refused = call(*command)
    assert (refused.exit_code, "no checkpoint.safetensors to resume" in refused.stderr) == (1, True)


@pytest.mark.parametrize("how", ["--resume", "--overwrite"])
def test_what_a_killed_write_leaves_is_in_nobodys_way(here: Path, how: str) -> None:
    run = here / "run"
    run.mkdir()
    for name in ("checkpoint.safetensors", "train.json", "curves.png"):
        (run / f".{name}.zbpv6y6u").write_bytes(b"half")
    assert call(*SMALL, "--out", "run", how).exit_code == 0
    assert not list(run.glob(".*"))
    (run / ".thesis.txt.zbpv6y6u").touch()
    assert call(*SMALL, "--out", "run", how).exit_code == 1


KILLED = """
import os
import shrinkage.cli
fsync, calls = os.fsync, []

def kill_at_last(descriptor):
    calls.append(descriptor)
    if len(calls) == {writes}:
        os.kill(os.getpid(), 9)
    return fsync(descriptor)

os.fsync = kill_at_last
shrinkage.cli.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("writes", [1, 5])
def test_a_run_killed_while_it_writes_goes_on_to_the_same_end(here: Path, writes: int) -> None:
    options = ["train", *SMALL, "--quiet", "--resume", "--out"]
    killed = [sys.executable, "-c", KILLED.format(writes=writes), *options, "cut"]
    assert subprocess.run(killed, check=False).returncode == -signal.SIGKILL
    assert [path.name[:12] for path in (here / "cut").glob(".*")] == [".checkpoint."]
    for out in ("cut", "whole"):
        subprocess.run([sys.executable, "-m", "shrinkage", *options, out], check=True)
    assert (here / "cut/curves.csv").read_bytes() == (here / "whole/curves.csv").read_bytes()
    one, other = (load_file(here / out / "weights.safetensors") for out in ("cut", "whole"))
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_one_test_row_has_a_loss_and_no_r2(here: Path) -> None:
    rows = [f"{i}.5,{i * i}.25" for i in range(6)]
    (here / "six.csv").write_text("\n".join(["a,y", *rows]))
    options = ["--data", "six.csv", "--target", "y", "--model", "linear", "--epochs", "3"]
    shown = call(*options, "--out", "run")
    assert shown.exit_code == 0, shown.output
    assert re.search(r"Test +loss \d+\.\d+, R2 -, on 1 row not used until now", shown.stdout)
    test = json.loads((here / "run" / "train.json").read_text())["test"]
    assert (test["loss"] >= 0, test["R2"]) == (True, None)


@pytest.mark.slow
def test_ctrl_c_exits_130_and_resume_ends_the_same(here: Path) -> None:
    command = [
        sys.executable, "-u", "-m", "shrinkage", "train", "--data", "iris", "--epochs", "150",
        "--model", "mlp:8,dropout=0.2",
    ]  # fmt: skip
    with subprocess.Popen([*command, "--out", "cut"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("epoch 10/"):
                process.send_signal(signal.SIGINT)
                break
        rest = process.stderr.read()
        assert process.wait() == 130
    assert "To resume, add: --out cut --resume" in rest
    for out in (["cut", "--resume"], ["whole"]):
        subprocess.run([*command, "--quiet", "--out", *out], check=True)
    one, other = (load_file(here / out / "weights.safetensors") for out in ("cut", "whole"))
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert (here / "cut/curves.csv").read_bytes() == (here / "whole/curves.csv").read_bytes()


def test_tensorboard_gets_every_epoch(here: Path) -> None:
    pytest.importorskip("tensorboard")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of TensorBoard's own
        assert call(*SMALL, "--tensorboard", "--out", "run").exit_code == 0
    (log,) = (here / "run" / "tensorboard").iterdir()
    content = log.read_bytes()
    assert content.count(b"valid_loss") == 5


def test_without_tensorboard_the_option_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    result = call(*SMALL, "--tensorboard", "--out", "run")
    assert result.exit_code == 1
    assert not Path("run").exists()
