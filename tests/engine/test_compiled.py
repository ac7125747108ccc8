"""The compiled step: equal to the plain one, kept between runs, and never trusted blindly."""

from __future__ import annotations

import functools
import os
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from _problems import ADAM, assert_same_result, classes, fit, numbers, problem_of
from torch import Tensor, nn

from shrinkage.engine.member.update import update_for
from shrinkage.engine.run import compiled
from shrinkage.engine.run.cache import cache_directory, step_key
from shrinkage.penalties import L1, L2, ElasticNet, Penalty

X, Y = classes()
X = X.float()
XN, T = (t.float() for t in numbers())


def small() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def path(**changes: Any) -> Any:
    given = {"seeds": 1, "epochs": 2, "optimizer": ADAM, "compile": True, **changes}
    return fit(given.pop("model", small), X, Y, given.pop("penalty", L1(1.0)), **given)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SHRINKAGE_CACHE", str(tmp_path / "steps"))
    return tmp_path / "steps"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The packages compiled, each of them a stand-in that costs nothing to make or run."""
    made: list[str] = []
    runs: dict[str, Any] = {}

    def compile_ahead(eager: compiled.Stepper, inputs: list[Tensor], place: Path) -> None:
        code = f"native code {len(made)}"
        made.append(code)
        runs[code] = eager.call
        place.write_text(code)

    def load(place: Path) -> Any:
        return runs[place.read_text()]

    monkeypatch.setattr(compiled, "_compile_ahead", compile_ahead)
    monkeypatch.setattr(compiled, "_load", load)
    return made


@pytest.mark.slow
def test_compiled_equals_eager_and_is_compiled_once(home: Path, monkeypatch: Any) -> None:
    made = []
    real = compiled._compile_ahead
    monkeypatch.setattr(
        compiled, "_compile_ahead", lambda *given: (made.append(given[-1]), real(*given))
    )
    plain = path(compile=False)
    first = path()
    assert first.about["engine"] == "vectorized, compiled"
    assert_same_result(first, plain, rtol=2e-4, atol=2e-5)
    again = path()
    assert again.about["engine"] == "vectorized, compiled"
    assert_same_result(again, first, rtol=0, atol=0)
    other = path(strengths=[0.02, 0.3], optimizer=functools.partial(ADAM, lr=0.01), seeds=[7])
    assert other.about["engine"] == "vectorized, compiled"
    assert len(made) == 1
    (package,) = home.glob("*.pt2")
    content = package.read_bytes()
    package.write_bytes(
        content.replace(b"\x48\x89", b"\x0f\x0b")
    )  # machine code that ends a process
    assert_same_result(path(), first, rtol=2e-4, atol=2e-5)
    assert len(made) == 2


@pytest.mark.slow
def test_just_in_time_compilation_equals_eager(home: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(compiled, "_compile_ahead", broken)
    result = path()
    assert result.about["engine"] == "vectorized, compiled"
    assert_same_result(result, path(compile=False), rtol=2e-4, atol=2e-5)


def test_a_step_is_compiled_once(home: Path, counted: list[str]) -> None:
    for _ in range(2):
        result = path()
        assert result.about["engine"] == "vectorized, compiled"
    assert len(counted) == 1
    assert [p.read_text() for p in home.iterdir()] == counted


SAME: dict[str, dict[str, Any]] = {
    "strengths": {"strengths": [0.3, 0.7]},
    "learning rate": {"optimizer": functools.partial(ADAM, lr=0.3)},
    "schedule": {
        "scheduler": functools.partial(torch.optim.lr_scheduler.StepLR, step_size=1)
    },
    "seeds": {"seeds": [3, 4]},
    "epochs": {"epochs": 3},
    "strength of the penalty": {"penalty": L1(0.5)},
}  # fmt: skip


@pytest.mark.parametrize("change", SAME)
def test_numbers_never_compile_again(change: str, home: Path, counted: list[str]) -> None:
    path()
    path(**SAME[change])
    assert len(counted) == 1


CROSSED: dict[str, Any] = {
    "model": lambda: nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5), nn.Linear(5, 3)),
    "penalty": ElasticNet(1.0),
    "grid": {"lr": [0.1, 0.2], "dropout": [0.3], "weight_decay": [0.1], "l1_ratio": [0.5],
             "label_smoothing": [0.1]},
}  # fmt: skip


@pytest.mark.parametrize("knob", ["lr", "dropout", "weight_decay", "l1_ratio", "label_smoothing"])
def test_values_of_knobs_never_compile_again(knob: str, home: Path, counted: list[str]) -> None:
    path(**CROSSED)
    own = [value * 0.7 for value in CROSSED["grid"][knob]]
    path(**{**CROSSED, "grid": {**CROSSED["grid"], knob: own}})
    path(**{**CROSSED, "penalty": ElasticNet(1.0, l1_ratio=0.1)})
    path(**{**CROSSED, "optimizer": functools.partial(ADAM, weight_decay=0.7)})
    assert len(counted) == 1
    path(**{**CROSSED, "grid": {"lr": [0.1, 0.2]}})
    assert len(counted) == 2


@pytest.mark.slow
def test_knobs_dropout_and_batch_norm_compiled_equal_eager(home: Path) -> None:
    middle = lambda: (nn.BatchNorm1d(5), nn.Dropout(0.5))  # noqa: E731
    model = lambda: nn.Sequential(nn.Linear(4, 5), *middle(), nn.Linear(5, 3))  # noqa: E731
    changes = {**CROSSED, "model": model, "optimizer": functools.partial(ADAM, eps=1e-3)}
    compiled_path, plain = path(**changes), path(**changes, compile=False)
    assert compiled_path.about["engine"] == "vectorized, compiled"
    assert_same_result(compiled_path, plain, rtol=2e-3, atol=2e-4)


OTHER: dict[str, dict[str, Any]] = {
    "penalty": {"penalty": ElasticNet(1.0)},
    "shape of the penalty": {"penalty": ElasticNet(1.0, l1_ratio=0.2)},
    "coupling": {"how": "coupled"},
    "optimizer": {"optimizer": functools.partial(torch.optim.SGD, lr=0.1)},
    "setting of the optimizer": {"optimizer": functools.partial(ADAM, betas=(0.8, 0.9))},
    "selection": {"select": "2.weight"},
    "batch size": {"batch_size": 9},
    "chunk": {"chunk": 2},
}


@pytest.mark.parametrize("change", OTHER)
def test_another_step_is_compiled_anew(change: str, home: Path, counted: list[str]) -> None:
    path(penalty=ElasticNet(1.0, l1_ratio=0.3) if change == "shape of the penalty" else L1(1.0))
    path(**OTHER[change])
    assert len(counted) == 2


# the key: two steps that compute different things never share one


def key_of(model: Any, loss: Any = "auto", y: Tensor = T, penalty: Penalty | None = None) -> Any:
    make = functools.partial(torch.optim.SGD, lr=0.1)
    problem = problem_of(model, XN, y, penalty or L2(1.0), loss=loss, optimizer=make)
    update = update_for(make)
    assert update is not None
    return step_key(problem.build(0), problem, update, [XN, y])


class Activated(nn.Module):
    """Keeps a function among its attributes."""

    def __init__(self, activation: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.layer, self.activation = nn.Linear(4, 1), activation

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(self.layer(x))


class Scaled(nn.Module):
    """Keeps a tensor that is neither a parameter nor a buffer."""

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.layer, self.scale = nn.Linear(4, 1), torch.tensor(scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.scale


class Configured(nn.Module):
    """Keeps its settings in a dictionary."""

    def __init__(self, **settings: float) -> None:
        super().__init__()
        self.layer, self.settings = nn.Linear(4, 1), settings

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * self.settings["scale"]


def hinge(margin: float) -> Callable[[Tensor, Tensor], Tensor]:
    def loss(output: Tensor, target: Tensor) -> Tensor:
        return ((output[:, 0] - target).abs() - margin).clamp_min(0)

    return loss


line = functools.partial(nn.Linear, 4, 1)
COLUMN = T[:, None]
PAIRS: dict[str, tuple[Any, Any]] = {
    "settings of a torch loss": (
        lambda: key_of(line, nn.HuberLoss(delta=0.1), COLUMN),
        lambda: key_of(line, nn.HuberLoss(delta=2.0), COLUMN),
    ),
    "two torch losses": (
        lambda: key_of(line, nn.MSELoss(), COLUMN),
        lambda: key_of(line, nn.L1Loss(), COLUMN),
    ),
    "what a loss has closed over": (
        lambda: key_of(line, hinge(0.1)),
        lambda: key_of(line, hinge(0.5)),
    ),
    "a function among the attributes": (
        lambda: key_of(lambda: Activated(torch.tanh)),
        lambda: key_of(lambda: Activated(F.softplus)),
    ),
    "a tensor among the attributes": (
        lambda: key_of(lambda: Scaled(1.0)),
        lambda: key_of(lambda: Scaled(3.0)),
    ),
    "a dictionary among the attributes": (
        lambda: key_of(lambda: Configured(scale=1.0)),
        lambda: key_of(lambda: Configured(scale=3.0)),
    ),
    "a number in a torch layer": (
        lambda: key_of(lambda: nn.Sequential(nn.LeakyReLU(0.1), nn.Linear(4, 1))),
        lambda: key_of(lambda: nn.Sequential(nn.LeakyReLU(0.2), nn.Linear(4, 1))),
    ),
}


@pytest.mark.parametrize("pair", PAIRS)
def test_different_steps_have_different_keys(pair: str) -> None:
    one, two = (make() for make in PAIRS[pair])
    assert one is None or one != two


def test_equal_steps_have_equal_keys() -> None:
    assert key_of(line) == key_of(line) is not None
    assert key_of(line, penalty=L2(0.1)) == key_of(line, penalty=L2(0.9))


# trust


def test_the_cache_is_private(home: Path) -> None:
    assert cache_directory() == home
    assert home.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o702, 0o777])
def test_a_folder_that_others_can_write_to_is_no_cache(home: Path, mode: int) -> None:
    home.mkdir()
    home.chmod(mode)
    assert cache_directory() is None


def test_a_link_is_no_cache(home: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    home.symlink_to(tmp_path / "elsewhere")
    assert cache_directory() is None


def test_a_folder_of_somebody_else_is_no_cache(home: Path, monkeypatch: Any) -> None:
    home.mkdir(mode=0o700)
    me = home.stat().st_uid
    monkeypatch.setattr(os, "getuid", lambda: me + 1)
    assert cache_directory() is None


def test_a_file_in_the_way_is_no_cache(home: Path) -> None:
    home.write_text("")
    assert cache_directory() is None


def put_a_link(package: Path) -> None:
    evil = package.parent.with_name("evil")
    package.rename(evil)
    package.symlink_to(evil)


def put_nothing_for_a_file(make: Callable[[Path], object], package: Path) -> None:
    package.unlink()
    make(package)


IN_ITS_PLACE: dict[str, Callable[[Path], object]] = {
    "writable by the group": lambda package: package.chmod(0o620),
    "writable by others": lambda package: package.chmod(0o602),
    "a link": put_a_link,
    "a directory": functools.partial(put_nothing_for_a_file, Path.mkdir),
    "a pipe": functools.partial(put_nothing_for_a_file, os.mkfifo),
    "another content": lambda package: package.write_text("native code 9"),
    "an empty file": lambda package: package.write_text(""),
}


@pytest.mark.parametrize("what", IN_ITS_PLACE)
def test_a_package_that_is_not_what_was_made_is_made_anew_and_not_run(
    home: Path, counted: list[str], what: str
) -> None:
    path()
    (package,) = home.iterdir()
    IN_ITS_PLACE[what](package)
    for _ in range(2):
        assert path().about["engine"] == "vectorized, compiled"
    assert len(counted) == 2
    assert [p.read_text() for p in home.iterdir()] == counted[1:]


def unloadable(place: Path) -> Any:
    raise RuntimeError("made for another machine")


def of_other_inputs(place: Path) -> Any:
    def run(flat: list[Tensor]) -> None:
        raise RuntimeError("expected inputs vector size to be 13, but got 15")

    return run


@pytest.mark.parametrize("fails", [unloadable, of_other_inputs])
def test_a_package_that_fails_when_it_is_tried_is_made_anew(
    home: Path, counted: list[str], monkeypatch: Any, fails: Callable[[Path], Any]
) -> None:
    path()
    load = compiled._load

    def load_or_fail(place: Path) -> Any:
        return (fails if place.read_text() == counted[0] else load)(place)

    monkeypatch.setattr(compiled, "_load", load_or_fail)
    for _ in range(2):
        assert path().about["engine"] == "vectorized, compiled"
    assert len(counted) == 2


def test_what_killed_compilers_left_is_swept_and_nothing_else(
    home: Path, counted: list[str]
) -> None:
    home.mkdir(mode=0o700)
    for name, hours in ((".making.old", 25), (".making.now", 1), ("tmp12345678", 25)):
        (home / name).mkdir()
        (home / name / "step.cpp").touch()
        then = time.time() - hours * 3600
        os.utime(home / name, (then, then))
    path()
    assert {p.name for p in home.iterdir() if p.is_dir()} == {".making.now", "tmp12345678"}


def test_without_a_private_folder_nothing_is_packaged(
    home: Path, counted: list[str], monkeypatch: Any
) -> None:
    home.mkdir()
    home.chmod(0o777)
    monkeypatch.setattr(compiled, "_just_in_time", lambda eager, *_: eager.call)
    assert path().about["engine"] == "vectorized, compiled"
    assert counted == []
    assert list(home.iterdir()) == []


# the ladder: package, torch.compile, plain


def broken(*_: Any) -> Any:
    raise RuntimeError("no room left\nand more")


def run_noting_warnings() -> tuple[Any, list[str]]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = path()
    return result, [str(w.message) for w in caught]


def test_a_package_that_fails_leads_to_torch_compile(home: Path, monkeypatch: Any) -> None:
    made = []
    monkeypatch.setattr(compiled, "_compile_ahead", broken)
    monkeypatch.setattr(
        compiled, "_just_in_time", lambda eager, *_: (made.append(1), eager.call)[1]
    )
    result, said = run_noting_warnings()
    assert result.about["engine"] == "vectorized, compiled"
    assert made == [1]
    assert said == []


def test_when_all_compilers_fail_the_run_is_plain_and_says_so_once(
    home: Path, monkeypatch: Any
) -> None:
    monkeypatch.setattr(compiled, "_compile_ahead", broken)
    monkeypatch.setattr(compiled, "_just_in_time", broken)
    result, said = run_noting_warnings()
    assert result.about["engine"] == "vectorized, eager"
    assert len(said) == 1
    assert "could not be compiled" in said[0]
    assert "no room left)" in said[0]
    assert_same_result(result, path(compile=False), rtol=0, atol=0)


def test_without_a_compiler_the_run_is_plain_and_says_so_once(home: Path, monkeypatch: Any) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    result, said = run_noting_warnings()
    assert result.about["engine"] == "vectorized, eager"
    assert len(said) == 1
    assert said[0].startswith("no compiler: no C++ compiler was found; training runs uncompiled")


def test_a_package_from_the_cache_needs_no_compiler(
    home: Path, counted: list[str], monkeypatch: Any
) -> None:
    path()
    monkeypatch.setenv("PATH", "")
    assert path().about["engine"] == "vectorized, compiled"


def test_a_package_that_computes_something_else_is_not_used(
    home: Path, counted: list[str], monkeypatch: Any
) -> None:
    plain = path(compile=False)

    def wrong(place: Path) -> Any:
        def run(flat: list[Tensor]) -> None:
            flat[0].add_(0.1)

        return run

    monkeypatch.setattr(compiled, "_load", wrong)
    with pytest.warns(UserWarning, match="compiled step is not used"):
        result = path()
    assert result.about["engine"] == "vectorized, eager"
    assert_same_result(result, plain, rtol=0, atol=0)
    assert list(home.iterdir()) == []


def test_short_runs_are_not_compiled(home: Path, counted: list[str]) -> None:
    assert path(compile="auto").about["engine"] == "vectorized, eager"
    assert counted == []


def test_what_cannot_be_mapped_is_never_compiled(home: Path, counted: list[str]) -> None:
    model = functools.partial(nn.Sequential, nn.Linear(4, 3), nn.AlphaDropout(0.5))
    stages: list[str] = []
    result = fit(
        lambda: model(), X, Y, compile=True, epochs=1, seeds=1,
        progress=lambda now: stages.append(now.stage),
    )  # fmt: skip
    assert result.about["engine"].startswith("one by one: AlphaDropout")
    assert counted == []
    assert "compile" not in stages
