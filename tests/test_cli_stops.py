"""``shrinkage path``: interrupts, signals, and a reader who leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from _command import SMALL, FakeEngine, call

from shrinkage.result.path_result import PathResult

TINY = ["--model", "linear", "--n-strengths", "2", "--folds", "2", "--seeds", "1", "--epochs", "1"]
LONG = ["--data", "iris", "--model", "linear", "--strengths", "0.01", "--seeds", "1"]
# A shell lets what it starts in the background ignore Ctrl-C.
INTERRUPTIBLE = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
import shrinkage.cli
shrinkage.cli.main()
"""


def test_interrupt_is_one_line_and_exit_code_130(engine: FakeEngine, tmp_path: Path) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    engine.before = interrupt
    done = call("path", *SMALL)
    assert done.exit_code == 130
    assert done.stderr == "Interrupted. A run is saved only when it is complete.\n"
    assert not any(tmp_path.iterdir())


def test_interrupt_that_meets_the_exec_of_a_text_is_exit_code_130_too(tmp_path: Path) -> None:
    """As imports of the compiler do; CPython by itself ends ``-m`` by the signal then."""
    (tmp_path / "interrupted.py").write_text(
        "import shrinkage.cli\n"
        "from shrinkage.cli.path import job\n"
        "job.read_data = lambda *given: exec('raise KeyboardInterrupt')\n"
        "shrinkage.cli.main()\n"
    )
    command = [sys.executable, "-m", "interrupted", "path"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stderr == "Interrupted. A run is saved only when it is complete.\n"
    assert done.returncode == 130


@pytest.mark.parametrize(("stop", "code"), [(KeyboardInterrupt(), 130), (SystemExit(143), 143)])
def test_a_stopped_run_with_a_checkpoint_says_how_to_go_on(
    engine: FakeEngine, tmp_path: Path, stop: BaseException, code: int
) -> None:
    def interrupt() -> None:
        raise stop

    engine.before = interrupt
    done = call("path", *SMALL, "--checkpoint", "kept")
    assert (done.exit_code, done.stderr) == (code, "Stopped. The same command resumes from kept.\n")
    assert engine.calls[0]["checkpoint"] == Path("kept")
    assert not any(tmp_path.iterdir())


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
    assert (process.returncode, err) == (code, "Stopped. The same command resumes from kept.\n")
    assert "Saved" not in out
    assert not (tmp_path / "again").exists()
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "the checkpoint holds" in done.stderr
    one, other = (tmp_path / "runs" / "iris-l2", tmp_path / "again")
    assert (one / "path.safetensors").read_bytes() == (other / "path.safetensors").read_bytes()


@pytest.mark.slow
def test_a_run_that_is_killed_again_and_again_gives_the_same_table(tmp_path: Path) -> None:
    """Each next one begins at once, beside what the killed one may have left running."""
    command = [sys.executable, "-m", "shrinkage", "path", *LONG, "--epochs", "400", "--quiet"]
    environment = {**os.environ, "OMP_NUM_THREADS": "3"}
    run = partial(subprocess.run, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run([*command, "--out", "whole"]).returncode == 0
    command += ["--out", "again", "--checkpoint", "kept"]
    for seconds in np.random.default_rng(0).uniform(0, 2, 4):
        with subprocess.Popen(command, cwd=tmp_path, env=environment) as process:
            while not (tmp_path / "kept" / "manifest.json").exists():
                assert process.poll() is None
                time.sleep(0.02)
            with suppress(subprocess.TimeoutExpired):
                process.wait(1 + seconds)
            process.kill()
    done = None if (tmp_path / "again").exists() else run(command)
    assert done is None or (done.returncode, done.stderr) == (0, "")
    one, other = tmp_path / "whole", tmp_path / "again"
    for name in ("path.safetensors", "weights.safetensors", "results.csv"):
        assert (one / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_comparison_goes_on_by_the_same_command(
    tmp_path: Path, number: signal.Signals
) -> None:
    command = [sys.executable, "-uc", INTERRUPTIBLE, "compare", *LONG[:4], "--seeds", "1"]
    command += ["--methods", "l2,l1", "--model", "mlp:8", "--values", "4", "--folds", "3"]
    command += ["--epochs", "30", "--compile", "off", "--quiet"]
    run = partial(subprocess.run, cwd=tmp_path, check=True)
    run([*command, "--out", "whole"])
    command += ["--out", "again", "--checkpoint", "kept"]
    with subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) as process:
        while not (tmp_path / "kept" / "adam-L1" / "manifest.json").exists():
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(number)
        _, err = process.communicate()
    assert not (tmp_path / "again").exists()
    if number == signal.SIGINT:
        assert (process.returncode, err) == (130, "Stopped. The same command resumes from kept.\n")
    run(command)
    one, other = tmp_path / "whole", tmp_path / "again"
    names = {path.relative_to(one) for path in one.rglob("*.safetensors")}
    assert len(names) == 2
    for name in (*names, Path("comparison.csv"), Path("test_losses.csv")):
        assert (one / name).read_bytes() == (other / name).read_bytes(), name


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
    assert process.returncode == 130
    assert err == "Interrupted. A run is saved only when it is complete.\n"
    assert not any(tmp_path.iterdir())


def test_real_run_whose_reader_leaves_is_quiet_and_complete(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "shrinkage", "path", "--data", "iris", *TINY]
    with subprocess.Popen(
        command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith("Data")
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1
    assert PathResult.load(tmp_path / "runs" / "iris-l2").about["command"].startswith("shrinkage")
