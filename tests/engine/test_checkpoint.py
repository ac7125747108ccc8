"""A run that was stopped, killed or extended gives the numbers of one that never was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from _checkpoints import ADAGRAD, Counter, assert_same, fit, watch_steps
from torch import nn

from shrinkage import ElasticNet, ShrinkageError
from shrinkage.engine.keep import kept
from shrinkage.engine.keep.dependencies import dependencies
from shrinkage.engine.plan.chunk import Chunk
from shrinkage.engine.run.alone import Alone


def test_a_checkpoint_changes_no_number(tmp_path: Path) -> None:
    assert_same(fit(), fit(tmp_path))


@pytest.mark.parametrize(
    ("stop_at", "chunk"), [(1, None), (17, 3), (60, 1), (30, None), (98, 1), (104, 1)]
)
def test_a_run_that_was_stopped_goes_on_to_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int, chunk: int | None
) -> None:
    whole = fit(chunk=chunk)
    with monkeypatch.context() as patch:
        interrupt = partial(os.kill, os.getpid(), signal.SIGINT)
        stopped = Counter(patch, stop_at, interrupt)
        with pytest.raises(KeyboardInterrupt):
            fit(tmp_path, chunk=chunk)
        assert stopped.steps == stop_at
    counter = Counter(monkeypatch)
    assert_same(whole, fit(tmp_path, chunk=chunk))
    rest = counter.steps
    fit(chunk=chunk)
    assert rest == (counter.steps - rest) - stop_at


def test_a_finished_run_trains_nothing_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fit(tmp_path)
    counter = Counter(monkeypatch)
    assert_same(first, fit(tmp_path))
    assert counter.steps == 0


@pytest.mark.parametrize(
    ("more", "share"),
    [
        ({"strengths": [1e-4, 5e-4, 1e-3, 1e-2, 0.1]}, 2 / 6),
        ({"seeds": 3}, 1 / 3),
        ({"epochs": 6}, 2 / 6),
        ({"strengths": [1e-4, 1e-3, 1e-2, 0.1], "seeds": 3, "epochs": 5}, None),
    ],
    ids=["strengths", "seeds", "epochs", "all"],
)
def test_an_extended_grid_trains_only_what_is_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: dict[str, Any], share: float | None
) -> None:
    fit(tmp_path, chunk=1)
    counter = Counter(monkeypatch)
    extended = fit(tmp_path, chunk=1, **more)
    new_steps = counter.steps
    whole = fit(chunk=1, **more)
    all_steps = counter.steps - new_steps
    assert_same(whole, extended)
    if share is not None:
        assert new_steps == pytest.approx(share * all_steps)


def test_knobs_are_part_of_what_a_member_is(tmp_path: Path) -> None:
    few = {"penalty": ElasticNet(1.0), "grid": {"l1_ratio": [0.2, 0.8]}}
    many = {"penalty": ElasticNet(1.0), "grid": {"l1_ratio": [0.2, 0.5, 0.8]}}
    fit(tmp_path, **few)
    assert_same(fit(**many, chunk=1), fit(tmp_path, **many, chunk=1))


def test_the_second_round_is_kept_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = fit(tmp_path, refine=2)
    counter = Counter(monkeypatch)
    assert_same(first, fit(tmp_path, refine=2))
    assert counter.steps == 0
    assert len(first.strengths) == 6


def test_members_that_train_alone_are_kept_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(optimizer=ADAGRAD)
    begun: list[int] = []
    with monkeypatch.context() as patch:
        Counter(patch)
        train_alone = Alone.train

        def watched(*args: Any) -> None:
            begun.append(1)
            if len(begun) == 10:
                os.kill(os.getpid(), signal.SIGTERM)
            train_alone(*args)

        patch.setattr(Alone, "train", watched)
        with pytest.raises(SystemExit) as caught:
            fit(tmp_path, optimizer=ADAGRAD)
        assert caught.value.code == 143
        stopped = len(begun)
        assert_same(whole, fit(tmp_path, optimizer=ADAGRAD))
    members = 4 * (2 + 1) * 2
    assert stopped == 10
    assert len(begun) == members + 1  # the one that was under way began twice


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"optimizer": partial(torch.optim.SGD, lr=0.2)}, "optimizer: SGD"),
        ({"penalty": ElasticNet(1.0)}, "penalty: L2"),
        ({"batch_size": 8}, "batch_size: 16 then, 8 now"),
        ({"loss": lambda o, t: nn.functional.cross_entropy(o, t, reduction="none")}, "loss: "),
        ({"select": "0.weight"}, "on: 0.weight, 3.weight then, 0.weight now"),
        ({"how": "decoupled"}, "how: coupled then, decoupled now"),
    ],
)
def test_another_run_is_refused_with_the_difference(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    fit(tmp_path, epochs=1)
    with pytest.raises(ShrinkageError, match="to another run") as caught:
        fit(tmp_path, epochs=1, **changes)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("package", "place"),
    [("torch", "torch.__version__"), ("shrinkage", f"{dependencies.__module__}.__version__")],
)
def test_a_checkpoint_of_another_version_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, place: str
) -> None:
    fit(tmp_path, epochs=1)
    monkeypatch.setattr(place, "99.1")
    with pytest.raises(ShrinkageError, match=f"{package}: .* then, 99.1 now"):
        fit(tmp_path, epochs=1)


SMOOTHED = nn.CrossEntropyLoss(weight=torch.tensor([1.0, 2.0]), label_smoothing=0.1)


def shifted(output: torch.Tensor, target: torch.Tensor, by: float) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(output, target, reduction="none") + by


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (nn.CrossEntropyLoss(label_smoothing=0.1), nn.CrossEntropyLoss(label_smoothing=0.2)),
        (SMOOTHED, nn.CrossEntropyLoss(weight=SMOOTHED.weight, label_smoothing=0.2)),
        (nn.MultiMarginLoss(margin=1.0), nn.MultiMarginLoss(margin=2.0)),
        (partial(shifted, by=1.0), partial(shifted, by=2.0)),
    ],
    ids=["smoothing", "weighted", "margin", "partial"],
)
def test_a_loss_with_other_settings_is_another_run(tmp_path: Path, first: Any, second: Any) -> None:
    fit(tmp_path, epochs=1, loss=first)
    with pytest.raises(ShrinkageError, match=r"(?s)to another run.*loss"):
        fit(tmp_path, epochs=1, loss=second)


def test_a_schedule_that_depends_on_the_epochs_cannot_be_prolonged(tmp_path: Path) -> None:
    def cosine(epochs: int) -> Any:
        return partial(torch.optim.lr_scheduler.CosineAnnealingLR, T_max=3)

    fit(tmp_path, scheduler=cosine(3), epochs=3)
    fit(tmp_path, scheduler=cosine(3), epochs=4)
    with pytest.raises(ShrinkageError, match="more than epochs=3"):
        fit(tmp_path, scheduler=cosine(3), epochs=3)


def test_a_damaged_file_costs_a_warning_and_its_own_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(tmp_path)
    victim = sorted(tmp_path.glob("*.safetensors"))[0]
    content = bytearray(victim.read_bytes())
    content[len(content) // 2] ^= 1
    victim.write_bytes(content)
    counter = Counter(monkeypatch)
    with pytest.warns(UserWarning, match="damaged"):
        assert_same(whole, fit(tmp_path))
    assert counter.steps > 0


SCRIPT = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path.insert(0, sys.argv[2])
from _checkpoints import fit
from pathlib import Path
try:
    fit(Path(sys.argv[1]), epochs=60, chunk=2)
except KeyboardInterrupt:
    sys.exit(130)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_process_loses_nothing_that_was_written(
    tmp_path: Path, number: signal.Signals
) -> None:
    whole = fit(epochs=60, chunk=2)
    command = [sys.executable, "-c", SCRIPT, tmp_path / "kept", Path(__file__).parents[1]]
    codes = []
    for wait in (1, 3, 6, 9):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            while len(list((tmp_path / "kept").glob("*.safetensors"))) < wait:
                if process.poll() is not None:
                    break
        finally:
            process.send_signal(number)
            process.wait()
            codes.append(process.returncode)
    assert_same(whole, fit(tmp_path / "kept", epochs=60, chunk=2))
    expected = {signal.SIGTERM: 143, signal.SIGINT: 130}.get(number, -number)
    assert expected in codes


def test_memory_that_runs_out_halves_the_chunk_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit(chunk=4)
    taken: list[int] = []

    def scarce(chunk: Chunk, inputs: Iterator[Any]) -> Iterator[Any]:
        taken.append(chunk.members)
        if chunk.members > 2:
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to ...")
        return inputs

    watch_steps(monkeypatch, scarce)
    notes: list[str] = []
    halved = fit(tmp_path, chunk=4, progress=lambda p: notes.append(p.note))
    assert "memory ran out: 2 members at a time now" in notes
    for name in ("valid_loss", "train_loss", "predictions"):
        one, other = getattr(whole, name), getattr(halved, name)
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_memory_that_runs_out_for_one_member_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(chunk: Chunk, inputs: Iterator[Any]) -> Iterator[Any]:
        raise torch.OutOfMemoryError("tried to allocate 20 GiB")

    watch_steps(monkeypatch, none_left)
    with pytest.raises(ShrinkageError, match="one member at a time"):
        fit()


def test_a_long_chunk_is_written_on_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "SECONDS_BETWEEN_WRITES", -1.0)
    steps: list[int] = []
    put = kept.Kept._put
    monkeypatch.setattr(
        kept.Kept,
        "_put",
        lambda self, chunk, members, outcome, done: (
            steps.append(done),
            put(self, chunk, members, outcome, done),
        ),
    )
    Counter(monkeypatch)
    fit(tmp_path, seeds=1, chunk=4, folds=3)
    assert steps[:4] == [3, 6, 9, 12]
