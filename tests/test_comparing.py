"""compare: choices and numbers against plain paths, a planted effect, ties, failures, pairs."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from _checkpoints import Counter, assert_same
from torch import Tensor, nn
from torch.optim import SGD, Adam
from torch.utils.data import DataLoader, TensorDataset, default_collate

from shrinkage import L2, Comparison, ElasticNet, GroupLasso, ShrinkageError, compare, fit_path
from shrinkage.comparing import Contender, Row
from shrinkage.comparing.comparison import ranked
from shrinkage.comparing.methods import Method, around, combinable, make_methods, make_pair
from shrinkage.errors import CheckpointError

TINY: dict[str, Any] = {
    "values": 4,
    "folds": 3,
    "seeds": 2,
    "epochs": 6,
    "batch_size": 16,
    "optimizers": {"adam": functools.partial(Adam, lr=0.02)},
    "compile": False,
}


def planted(rows: int = 90, features: int = 40, matter: int = 3) -> tuple[Tensor, Tensor]:
    """Numbers that few of many features explain."""
    random = torch.Generator().manual_seed(0)
    X = torch.randn(rows, features, generator=random)
    return X, X[:, :matter].sum(1) + torch.randn(rows, generator=random)


def classes(rows: int = 90) -> tuple[Tensor, Tensor]:
    X, y = planted(rows, 6, 2)
    return X, (y > 0).long() + (y > 1).long()


def net() -> nn.Module:
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Dropout(0.5), nn.Linear(8, 3))


def split(data: tuple[Tensor, Tensor], kept: int) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    X, y = data
    return X[:kept], y[:kept], (X[kept:], y[kept:])


@pytest.fixture(scope="module")
def small() -> Comparison:
    X, y, test = split(classes(), 60)
    return compare(net, X, y, test=test, **TINY)


def row_of(comparison: Comparison, method: str) -> Row:
    (row,) = [row for row in comparison.rows if row.contender.method == method]
    return row


def without_dropout() -> nn.Module:
    model = net()
    model[2].p = 0.0
    return model


def plain(model: Any, penalty: Any, **settings: Any) -> tuple[float, float, Tensor]:
    """CV minimum of an ordinary path, and the test losses there by torch's own function."""
    X, y, test = split(classes(), 60)
    own = {n: v for n, v in TINY.items() if n not in ("values", "optimizers")}
    own |= {"optimizer": TINY["optimizers"]["adam"], "test": test, **settings}
    path = fit_path(model, X, y, penalty, **own)
    rows = path.folds.bincount().double()
    mean = (path.valid_loss[..., -1].double().mean(2) * rows).sum(1) / rows.sum()
    best = int(mean.argmin())
    assert path.refit is not None
    outputs = path.refit.test_predictions[best].double()
    losses = torch.stack([F.cross_entropy(o, test[1], reduction="none") for o in outputs])
    return float(path.strengths[best]), float(mean[best]), losses.mean(0)


@pytest.mark.parametrize(
    ("name", "penalty", "how"),
    [
        ("L2", L2(1.0), "coupled"),
        ("decoupled decay", L2(1.0), "decoupled"),
        ("L1", ElasticNet(1.0, l1_ratio=1.0), "proximal"),
        ("elastic net", ElasticNet(1.0, l1_ratio=0.5), "proximal"),
        ("group lasso", GroupLasso(1.0, dim=1), "proximal"),
    ],
)
def test_a_penalty_is_what_its_own_path_says(
    small: Comparison, name: str, penalty: Any, how: str
) -> None:
    strengths = small.paths["adam", name].strengths.tolist()
    assert len(strengths) == 4
    strength, cv_loss, losses = plain(without_dropout, penalty, how=how, strengths=strengths)
    found = row_of(small, name).contender
    assert found.chosen.get("strength", 0.0) == pytest.approx(strength)
    assert found.cv_loss == pytest.approx(cv_loss, rel=1e-5)
    torch.testing.assert_close(found.losses, losses, rtol=1e-5, atol=1e-6)


def test_dropout_smoothing_and_early_stopping_are_what_their_own_paths_say(
    small: Comparison,
) -> None:
    rates = [0.0, 0.233, 0.467, 0.7]

    def dropping(rate: float) -> nn.Module:
        model = net()
        model[2].p = rate
        return model

    own = {"strengths": [1e-30]}
    by_rate = [plain(functools.partial(dropping, rate), L2(1.0), **own) for rate in rates]
    found = row_of(small, "dropout").contender
    best = min(range(4), key=lambda i: by_rate[i][1])
    assert found.chosen.get("dropout", 0.0) == rates[best]
    torch.testing.assert_close(found.losses, by_rate[best][2], rtol=1e-5, atol=1e-6)

    by_epochs = {e: plain(without_dropout, L2(1.0), epochs=e, **own) for e in (2, 3, 4, 6)}
    found = row_of(small, "early stopping").contender
    best = min(by_epochs, key=lambda e: by_epochs[e][1])
    assert found.chosen.get("epochs", 6) == best
    torch.testing.assert_close(found.losses, by_epochs[best][2], rtol=1e-5, atol=1e-6)

    path = small.paths["adam", "label smoothing"]
    assert path.knobs["label_smoothing"].tolist() == [0.0, 0.117, 0.233, 0.35]
    found = row_of(small, "label smoothing").contender
    if not found.chosen:
        none = row_of(small, "none").contender
        assert torch.equal(found.losses, none.losses)


def test_differences_ranks_and_words_follow_from_the_losses(small: Comparison) -> None:
    none, best = row_of(small, "none"), small.rows[0]
    means = [row.contender.test_loss for row in small.rows]
    assert means == sorted(means)
    for row in small.rows:
        gap = row.contender.losses - none.contender.losses
        assert row.to_none.difference == pytest.approx(gap.mean().item(), abs=1e-12)
        gap = row.contender.losses - best.contender.losses
        assert row.to_best.difference == pytest.approx(gap.mean().item(), abs=1e-12)
        assert (row.rank == 1) == (row.to_best.low <= 0)
        side = {"better": row.to_none.high < 0, "worse": row.to_none.low > 0}
        assert side.get(row.answer, True)
    assert none.answer == "the same"
    assert 0 <= best.contender.score <= 1
    assert best.contender.method[1:] in small.sentence
    assert len(small.differences) == len(small.rows) - 1


def test_the_pair_joins_the_two_best_that_can_act_at_once(small: Comparison) -> None:
    single = [
        r.contender for r in small.rows if r.contender.chosen and "+" not in r.contender.method
    ]
    single.sort(key=lambda contender: contender.cv_loss)
    (pair,) = [r.contender for r in small.rows if "+" in r.contender.method]
    names = pair.method.split(" + ")
    penalties = [c.method for c in single if "strength" in c.chosen]
    assert names[0] == single[0].method
    assert len(set(names) & set(penalties)) <= 1
    path = small.paths["adam", pair.method]
    assert len(path.strengths) == 4
    chosen = {**single[0].chosen, **next(c for c in single if c.method == names[1]).chosen}
    points = zip(path.strengths.tolist(), *path.knobs.values(), strict=True)
    own = [dict(zip(("strength", *path.knobs), map(float, p), strict=True)) for p in points]
    assert any(all(p[n] == pytest.approx(v) for n, v in chosen.items()) for p in own)


def test_a_planted_effect_is_found_by_the_method_that_fits() -> None:
    X, y, test = split(planted(700), 100)
    found = compare(
        nn.Linear(40, 1), X, y, test=test, values=6, folds=4, seeds=1, epochs=60, compile=False,
        methods=["l2", "l1", "decoupled_decay"],
        optimizers={"sgd": functools.partial(SGD, lr=0.05)},
    )  # fmt: skip
    best = found.rows[0]
    assert best.contender.method == "L1"
    assert (best.rank, best.answer) == (1, "better")
    assert found.rows[1].rank == 2
    assert row_of(found, "none").rank == 4
    assert row_of(found, "none").to_best.low > 0
    assert found.sentence.startswith("L1, ")
    assert found.sentence.endswith(" are better than none; L1 is the best of them.")
    truth = 1 - test[1].var() ** -1
    assert best.contender.score == pytest.approx(truth.item(), abs=0.1)
    assert found.task == "regression"
    assert "label_smoothing" not in next(iter(found.paths.values())).knobs


def test_optimizers_are_compared_with_their_own_none_and_with_the_best() -> None:
    X, y, test = split(planted(), 60)
    optimizers = {
        "sgd": functools.partial(SGD, lr=0.02), "wild": functools.partial(SGD, lr=1e12),
    }  # fmt: skip
    stages: list[Any] = []
    settings = {**TINY, "optimizers": optimizers, "methods": ["l2", "early_stopping"]}
    found = compare(nn.Linear(40, 1), X, y, test=test, **settings, progress=stages.append)
    assert found.optimizers == ["sgd", "wild"]
    lost = [row for row in found.rows if row.contender.optimizer == "wild"]
    assert lost == list(found.rows[-len(lost) :])
    assert all(row.rank == 0 and "diverged" in row.contender.note for row in lost)
    for row in found.rows[:3]:
        none = row_of_sgd(found, "none").contender
        gap = row.contender.losses - none.losses
        assert row.to_none.difference == pytest.approx(gap.mean().item())
        assert row.to_none.low <= row.to_none.difference <= row.to_none.high
    assert found.name(found.rows[0].contender).endswith(" (sgd)")
    trained = [p for p in stages if p.stage == "train" and p.steps_total]
    assert all(p.steps_done <= p.steps_total for p in trained)
    assert [p.steps_done for p in trained] == sorted(p.steps_done for p in trained)
    assert trained[-1].steps_done == trained[-1].steps_total


def row_of_sgd(found: Comparison, method: str) -> Row:
    (row,) = [
        row for row in found.rows
        if (row.contender.optimizer, row.contender.method) == ("sgd", method)
    ]  # fmt: skip
    return row


def test_what_cannot_be_trained_is_a_row_that_says_so() -> None:
    X, y, test = split(planted(), 60)
    settings = {**TINY, "methods": ["l2", "group_lasso"], "select": "*"}
    found = compare(nn.Linear(40, 1), X, y, test=test, **settings)
    row = found.rows[-1]
    assert (row.rank, row.contender.method, row.setting) == (0, "group lasso", "")
    assert "dim" in row.contender.note
    assert {r.contender.method for r in found.rows[:-1]} == {"none", "L2"}
    assert ("adam", "group lasso") not in found.paths


def contender(name: str, losses: list[float], optimizer: str = "adam") -> Contender:
    own = torch.tensor(losses, dtype=torch.float64)
    return Contender(optimizer, name, {} if name == "none" else {"strength": 1.0}, 0.0, own, 0.0)


def test_equals_share_the_first_rank() -> None:
    wave = torch.arange(40).remainder(2).double()
    base = (1 + wave).tolist()
    found = ranked(
        [
            contender("none", [x + 1 for x in base]),
            contender("a", base),
            contender("b", (1.01 + wave.flip(0)).tolist()),
            contender("c", [x + 0.5 + 0.01 * i for i, x in enumerate(base)]),
        ],
        {},
        "regression",
        {},
    )
    assert [(row.contender.method, row.rank) for row in found.rows] == [
        ("a", 1), ("b", 1), ("c", 3), ("none", 4),
    ]  # fmt: skip
    assert [row.answer for row in found.rows] == ["better", "better", "better", "the same"]
    assert found.sentence == (
        "A, b, c are better than none; which of a, b is best, these rows cannot tell."
    )


def noisy(name: str, mean: float, spread: float, seed: int) -> Contender:
    noise = torch.randn(400, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return contender(name, (mean + spread * (noise - noise.mean())).tolist())


def test_what_is_surely_worse_than_the_best_by_the_intervals_against_none_is_not_its_equal() -> (
    None
):
    many = [noisy(f"m{i}", 1.5, 0.2, 10 + i) for i in range(12)]
    found = ranked(
        [noisy("none", 1.0, 0.2, 0), noisy("a", 0.956, 0.2, 1), noisy("b", 0.957, 0.2, 2), *many],
        {}, "regression", {},
    )  # fmt: skip
    none = row_of(found, "none")
    assert none.to_best.low < 0  # of all pairs, these rows cannot tell it from the best
    assert [row_of(found, name).answer for name in "ab"] == ["better", "better"]
    assert [row_of(found, name).rank for name in "ab"] == [1, 1]
    assert none.rank == 3
    assert found.sentence.startswith(
        "A, b are better than none; which of them is best, these rows cannot tell. Worse than none:"
    )


ANSWERS: dict[str, dict[str, float]] = {
    "A is better than none.": {"none": 2.0, "a": 1.0},
    "No regularization has the lowest test loss, below all others. Worse than none: a.": {
        "none": 1.0,
        "a": 2.0,
    },
    "A has the lowest test loss; no regularization cannot be told from it. "
    "No method can be told from none.": {"none": 1.0, "a": 0.999},
    "A, b, c are better than none; which of a, b is best, these rows cannot tell.": {
        "none": 2.0,
        "a": 1.0,
        "b": 1.001,
        "c": 1.5,
    },
}


@pytest.mark.parametrize("sentence", ANSWERS)
def test_the_answer_says_first_what_is_better_than_none(sentence: str) -> None:
    means = enumerate(ANSWERS[sentence].items())
    rows = [noisy(name, mean, 0.1, seed) for seed, (name, mean) in means]
    assert ranked(rows, {}, "regression", {}).sentence == sentence


def test_what_is_as_good_as_the_best_but_not_surely_better_than_none_is_named_apart() -> None:
    rows = [noisy("none", 1.0, 0.1, 0), noisy("a", 0.95, 0.1, 1), noisy("wild", 0.96, 3.0, 2)]
    assert ranked(rows, {}, "regression", {}).sentence == (
        "A is better than none. Wild cannot be told from a."
    )


def test_nothing_trained_is_one_error() -> None:
    X, y, test = split(planted(), 60)
    wild = {"wild": functools.partial(SGD, lr=1e12)}
    with pytest.raises(ShrinkageError, match=r"nothing could be trained: .*diverged"):
        compare(nn.Linear(40, 1), X, y, test=test, **{**TINY, "optimizers": wild})


def test_rows_drawn_anew_and_bfloat16_are_those_of_each_path() -> None:
    X, y, test = split(classes(), 60)

    def mixed(items: list[Any]) -> tuple[Tensor, Tensor]:
        x, targets = default_collate(items)
        other, targets = torch.randperm(len(x)), F.one_hot(targets, 3)
        return 0.7 * x + 0.3 * x[other], 0.7 * targets + 0.3 * targets[other]

    rows = TensorDataset(X, y)
    settings = {**TINY, "batch_size": None, "methods": ["l2", "label_smoothing"], "seeds": 1}
    view = {"augmented": DataLoader(rows, 16, collate_fn=mixed), "autocast": torch.bfloat16}
    held = TensorDataset(*test)
    found = compare(without_dropout, rows, None, test=held, **view, **settings)
    strengths = found.paths["adam", "L2"].strengths.tolist()
    own = {"strengths": strengths, "seeds": 1, "batch_size": 16, **view}
    _, cv_loss, losses = plain(without_dropout, L2(1.0), **own)
    contender = row_of(found, "L2").contender
    assert contender.cv_loss == pytest.approx(cv_loss, rel=0.02)
    torch.testing.assert_close(contender.losses, losses, rtol=0.05, atol=0.02)
    facts = found.about["plan"]
    assert facts["augmented"].startswith("TensorDataset, drawn ")
    assert (facts["autocast"], facts["batch_size"]) == ("torch.bfloat16", 16)


class Killed(BaseException): ...


def kill() -> None:
    raise Killed


def test_a_killed_comparison_goes_on_to_the_same_bits(
    small: Comparison, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    X, y, test = split(classes(), 60)
    kept = {**TINY, "checkpoint": tmp_path / "kept"}
    with monkeypatch.context() as patched:
        killed = Counter(patched, at=500, do=kill)
        with pytest.raises(Killed):
            compare(net, X, y, test=test, **kept)
    with monkeypatch.context() as patched:
        rest = Counter(patched)
        found = compare(net, X, y, test=test, **kept)
    assert found.records() == small.records()
    for one, other in zip(found.rows, small.rows, strict=True):
        assert torch.equal(one.contender.losses, other.contender.losses)
    for name, path in small.paths.items():
        assert_same(found.paths[name], path)
    with monkeypatch.context() as patched:
        again = Counter(patched)
        compare(net, X, y, test=test, **kept)
        assert again.steps == 0
    assert rest.steps > 0
    assert killed.steps == 500
    assert {place.name for place in (tmp_path / "kept").iterdir()} == {
        "-".join(names).replace(" ", "-").replace("-+-", "-") for names in small.paths
    }


def test_the_checkpoint_of_another_comparison_is_refused(tmp_path: Path) -> None:
    X, y, test = split(planted(), 60)
    kept = {**TINY, "methods": ["l2"], "checkpoint": tmp_path}
    compare(nn.Linear(40, 1), X, y, test=test, **kept)
    with pytest.raises(CheckpointError, match="belongs to another run:\n  data: "):
        compare(nn.Linear(40, 1), 2 * X, y, test=test, **kept)


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown method": ({"methods": ["lasso"]}, "'lasso' is unknown; .*choose from l2, l1"),
    "a method twice": ({"methods": ["l2", "l2"]}, "given twice"),
    "the pair alone": ({"methods": ["best_pair"]}, "at least one beside"),
    "dropout without dropout": ({"methods": ["dropout"]}, "the model has no dropout layers"),
    "smoothing of numbers": ({"methods": ["label_smoothing"]}, "the loss is not cross-entropy"),
    "too few values": ({"values": 3}, "values=3: give a whole number of at least 4"),
    "epochs in a text": ({"epochs": "3"}, "epochs='3': give a whole number"),
    "values in a text": ({"values": "8"}, "values='8': give a whole number"),
    "no optimizer": ({"optimizers": {}}, "give at least one"),
    "rows drawn of others": ({"augmented": TensorDataset(*planted(50))}, "nothing .*has 50 items"),
    "float16": ({"autocast": torch.float16}, "autocast=torch.float16: give torch.bfloat16"),
    "rows that do not fit": ({"test": (torch.zeros(5, 3), torch.zeros(5))}, "nothing could be"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_bad_input_is_refused(name: str) -> None:
    changes, words = REFUSED[name]
    X, y, test = split(planted(), 60)
    with pytest.raises(ShrinkageError, match=words):
        compare(nn.Linear(40, 1), X, y, **{"test": test, **TINY, **changes})


def test_pairs_of_methods() -> None:
    off = {"epochs": 40.0, "label_smoothing": 0.0, "dropout": 0.0}
    methods = {m.name: m for m in make_methods(None, 8, off)}
    assert methods["early stopping"].settings["epochs"] == [40, 35, 30, 25, 20, 15, 10, 5]
    assert methods["dropout"].settings["dropout"] == [0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7]
    assert not combinable(methods["L2"], methods["L1"])
    assert combinable(methods["L2"], methods["dropout"])
    tried = [10.0**i for i in range(-6, 1)]
    chosen = {"strength": 1e-3, "dropout": 0.2}
    pair = make_pair(methods["dropout"], methods["L1"], tried, chosen, 8)
    assert pair.name == "dropout + L1"
    assert pair.strengths == [1e-4, 1e-3, 1e-2]
    assert (pair.settings, pair.fixed) == ({"dropout": [0.1, 0.2]}, {"l1_ratio": 1.0})
    assert pair.grid(off) == {
        "epochs": [40.0], "label_smoothing": [0.0], "dropout": [0.1, 0.2], "l1_ratio": [1.0],
    }  # fmt: skip
    two = make_pair(
        methods["early stopping"], methods["dropout"], [], {"epochs": 35, "dropout": 0.7}, 8
    )
    assert two.settings == {"epochs": [40, 35, 30, 25], "dropout": [0.6, 0.7]}
    assert not two.penalizes


@pytest.mark.parametrize(
    ("chosen", "count", "expected"), [(0.0, 2, [0, 1]), (3.0, 2, [2, 3]), (1.0, 3, [0, 1, 2])]
)
def test_around_keeps_the_chosen_value_and_its_neighbors(
    chosen: float, count: int, expected: list[float]
) -> None:
    assert around([0, 1, 2, 3], chosen, count) == expected


def test_every_method_trains_the_same_settings() -> None:
    off = {"epochs": 9.0, "dropout": 0.0}
    for method in make_methods(None, 5, off):
        own = {name: value for name, value in method.grid(off).items() if name not in method.fixed}
        assert list(own) == list(off)
        assert isinstance(method, Method)


def test_words_where_cross_validation_chose_none_for_all() -> None:
    rows = [contender("none", [1.0, 2.0]), replace(contender("a", [1.0, 2.0]), chosen={})]
    found = ranked(rows, {}, "regression", {})
    assert found.sentence == "Cross-validation chose no regularization for every method."
    assert [row.rank for row in found.rows] == [1, 1]
    assert [row.setting for row in found.rows] == ["", "none"]
