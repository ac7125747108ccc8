"""The verb: what it takes, what it refuses, what it leaves alone."""

from __future__ import annotations

import copy
import functools
import gc
import random
import re
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from _problems import SGD, assert_same_result, classes, fit, linear, numbers, perceptron
from sklearn.model_selection import KFold
from torch import Tensor, nn

from shrinkage.engine import Progress
from shrinkage.engine.member.fresh import make_builder
from shrinkage.engine.run.workers import run_in_workers
from shrinkage.errors import ShrinkageError
from shrinkage.parameters import everything
from shrinkage.penalties import L1, L2, GroupLasso
from shrinkage.rows.groups import Group, key

X, Y = classes()
X_NUMBERS, T = numbers()
QUICK: dict[str, Any] = {"epochs": 1, "seeds": 1}


def test_every_number_has_the_axes_of_the_plan() -> None:
    result = fit(perceptron(), X, Y, L1(1.0), test=(X[:7], Y[:7]), epochs=4)
    K, F_, S, E, N, P = 3, 3, 2, 4, 32, 2
    assert result.predictions.shape == (K, S, N, 3)
    assert result.train_loss.shape == result.valid_loss.shape == (K, F_, S, E)
    assert result.norms.shape == (K, F_, S, P)
    assert result.tensor_names == ("0.weight", "2.weight")
    assert result.refit.test_predictions is not None
    assert result.refit.test_predictions.shape == (K, S, 7, 3)
    assert torch.equal(result.targets, Y)
    assert torch.equal(result.refit.test_targets, Y[:7])
    assert result.seeds == (0, 1)
    assert (result.diverged == -1).all()
    finite = [result.train_loss, result.valid_loss, result.fit_loss, result.predictions]
    assert all(tensor.isfinite().all() for tensor in finite)


def test_losses_follow_from_the_predictions() -> None:
    result = fit(perceptron(), X, Y)
    for k in range(3):
        for s in range(2):
            for fold in range(3):
                held = result.folds == fold
                loss = F.cross_entropy(result.predictions[k, s, held], Y[held])
                torch.testing.assert_close(result.valid_loss[k, fold, s, -1], loss)


def test_refit_weights_make_the_test_predictions() -> None:
    result = fit(perceptron(), X, Y, test=(X[:7], Y[:7]))
    model = perceptron()
    model.load_state_dict({name: t[1, 1] for name, t in result.refit.weights.items()})
    outputs = model(X[:7]).detach()
    assert result.refit.test_predictions is not None
    assert result.refit.test_loss is not None
    kept = result.refit.test_predictions[1, 1].float()
    torch.testing.assert_close(kept, outputs.float())
    loss = F.cross_entropy(outputs, Y[:7]).float()
    torch.testing.assert_close(result.refit.test_loss[1, 1].float(), loss)
    norm = model[0].weight.norm().float()
    torch.testing.assert_close(result.refit.norms[1, 1, 0], norm)


def test_a_path_without_a_refit() -> None:
    result = fit(perceptron(), X, Y, refit=False)
    assert result.refit is None
    torch.testing.assert_close(result.predictions, fit(perceptron(), X, Y).predictions)


def test_test_rows_change_nothing_else() -> None:
    one, two = fit(perceptron(), X, Y), fit(perceptron(), X, Y, test=(X[:7] * 9, Y[:7]))
    for name, tensor in one.refit.weights.items():
        assert torch.equal(two.refit.weights[name], tensor)
    assert torch.equal(one.predictions, two.predictions)


@pytest.mark.parametrize("shape", ["vector", "column"])
@pytest.mark.parametrize("output", ["vector", "column"])
@pytest.mark.parametrize("engine", ["vectorized", "one by one"])
def test_numbers_in_every_shape(shape: str, output: str, engine: str) -> None:
    model = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0 if output == "vector" else 1)).double()
    y = T if shape == "vector" else T[:, None]
    make = SGD if engine == "vectorized" else lambda ps: SGD(ps)
    result = fit(model, X_NUMBERS, y, test=(X_NUMBERS[:3], y[:3]), optimizer=make)
    assert result.about["engine"].startswith(engine)
    assert result.targets.shape == (32,)
    assert result.predictions.shape == (3, 2, 32, 1)
    assert result.refit.test_predictions is not None
    assert result.refit.test_predictions.shape == (3, 2, 3, 1)
    held = result.folds == 1
    loss = F.mse_loss(result.predictions[0, 0, held, 0], T[held].float())
    torch.testing.assert_close(result.valid_loss[0, 1, 0, -1], loss)


def test_arrays_and_tensors_of_any_number_type_are_one() -> None:
    model = nn.Linear(4, 3)
    one = fit(model, X, Y, **QUICK)
    for rows, targets in [
        (X.numpy(), Y.numpy()),
        (X.float(), Y.to(torch.uint8)),
        (X.tolist(), Y.tolist()),
        (X.clone().requires_grad_(), Y.to(torch.int32)),
    ]:
        assert_same_result(fit(model, rows, targets, **QUICK), one, rtol=1e-5, atol=1e-6)


def test_the_data_is_cast_to_the_models_type() -> None:
    weights = fit(nn.Linear(4, 3).double(), X.float(), Y, **QUICK).refit.weights
    assert weights["weight"].dtype == torch.float64
    assert fit(nn.Linear(4, 3), X, Y, **QUICK).refit.weights["weight"].dtype == torch.float32


@pytest.mark.parametrize("kind", ["rows", "targets", "test rows", "in single precision"])
def test_numbers_that_are_not_finite_are_counted_and_located(kind: str) -> None:
    rows, targets, bad = X_NUMBERS.clone(), T.clone(), torch.tensor([3, 9])
    test, model = None, linear(4, 1)
    if kind == "rows":
        rows[bad, 2] = torch.tensor([float("nan"), float("inf")], dtype=torch.float64)
        words = r"^X holds NaN or infinite numbers in 2 of 32 rows, first in row 3"
    elif kind == "targets":
        targets[bad] = -float("inf")
        words = r"^y holds NaN or infinite numbers in 2 of 32 rows, first in row 3"
    elif kind == "test rows":
        test = (X_NUMBERS[:5].clone(), T[:5])
        test[0][4] = float("nan")
        words = r"^test X holds NaN or infinite numbers in 1 of 5 rows, first in row 4"
    else:
        rows[bad, 0] = 1e300
        model = nn.Linear(4, 1)
        words = r"^X as torch.float32.* in 2 of 32 rows, first in row 3"
    with pytest.raises(ShrinkageError, match=words):
        fit(model, rows, targets, test=test, **QUICK)


def junk_factory() -> Any:
    return "a model"


class NoReset(nn.Module):
    """Owns a parameter and cannot start it again."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(4))
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(x * self.scale)


class TwoOutputs(nn.Linear):
    """Returns a tuple."""

    def forward(self, x: Tensor) -> Any:
        return super().forward(x), x


ONE_MODULE = nn.Linear(4, 3)

REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "fewer targets": ({"y": Y[:-1]}, "X has 32 rows and y has 31"),
    "no rows": ({"X": X[:0], "y": Y[:0]}, "holds no rows"),
    "a scalar": ({"X": 3.0}, "holds no rows"),
    "text": ({"X": np.array([["a"] * 4] * 32)}, "X is not an array of numbers"),
    "names of classes": (
        {"y": np.array(["a", "b"] * 16)},
        r"numpy\.unique\(y, return_inverse=True\)",
    ),
    "objects": ({"y": np.array([None] * 32)}, "y is not an array of numbers"),
    "two classes a row": ({"y": X[:, :2] > 0}, "one class or number per row"),
    "a target too deep": ({"y": X[:, :, None]}, "one class or number per row"),
    "a weight of 0": ({"sample_weight": torch.arange(32)}, "give 32 numbers above 0"),
    "too few weights": ({"sample_weight": [1.0]}, "give 32 numbers above 0"),
    "one row left for BatchNorm": (
        {
            "model": lambda: nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)).double(),
            "batch_size": 21,
        },
        "the last batch of an epoch has one row",
    ),
    "one row": ({"X": X[:1], "y": Y[:1]}, "there is one row"),
    "fewer rows than folds": ({"folds": 33}, "give 2 to 32 folds"),
    "a rare class": ({"folds": 12}, "fewer than folds=12"),
    "a missing class": ({"folds": KFold(3), "y": Y.sort().values}, "no row of class"),
    "few outputs": ({"model": linear(4, 2)}, r"one output per class \(3\)"),
    "negative classes": ({"y": Y - 1}, "classes -1 to 1"),
    "numbers for classes": ({"y": T, "loss": "cross_entropy"}, "integer classes"),
    "many outputs for numbers": ({"y": T}, "one output per target"),
    "a test class without output": ({"test": (X[:2], Y[:2] + 2)}, "one output per class"),
    "numbers as test targets": ({"test": (X[:2], T[:2])}, "targets of torch.float"),
    "test rows of another width": (
        {"test": (X[:2, :3], Y[:2])},
        r"rows of shape \(3,\)",
    ),
    "test targets missing": ({"test": (X[:2], Y[:1])}, "test X has 2 rows and test y has 1"),
    "wrong width": ({"model": linear(5)}, r"refuses rows of shape \(4,\)"),
    "rows of integers": ({"X": (X * 3).long()}, "refuses rows"),
    "two outputs": ({"model": lambda: TwoOutputs(4, 3).double()}, "returned tuple"),
    "an output too deep": (
        {"model": lambda: nn.Sequential(nn.Linear(4, 3), nn.Unflatten(1, (3, 1))).double()},
        r"returned shape \(2, 3, 1\)",
    ),
    "no model": ({"model": "mlp:3"}, "neither a module nor a factory"),
    "a class": ({"model": nn.Linear}, "cannot be called without arguments: missing a required"),
    "a factory of junk": ({"model": junk_factory}, "factory returned str"),
    "a factory of one module": ({"model": lambda: ONE_MODULE}, "the same module twice"),
    "no reset": ({"model": NoReset()}, "scale belongs to a NoReset without reset_parameters"),
    "parametrized": (
        {"model": nn.utils.parametrizations.weight_norm(nn.Linear(4, 3))},
        "without reset_parameters",
    ),
    "lazy": ({"model": lambda: nn.LazyLinear(3)}, "lazy"),
    "no penalty": ({"penalty": 0.1}, "is not a penalty"),
    "a penalty class": ({"penalty": L2}, "is not a penalty"),
    "an axis too many": ({"penalty": GroupLasso(1.0, dim=2)}, "not an axis"),
    "nothing selected": ({"select": "conv*"}, "matches no parameter"),
    "unknown coupling": ({"how": "glued"}, "is not a coupling"),
    "no epochs": ({"epochs": 0}, "epochs=0"),
    "no batch": ({"batch_size": -1}, "batch_size=-1"),
    "no members a chunk": ({"chunk": 0}, "chunk=0"),
    "no seeds": ({"seeds": 0}, "seeds=0"),
    "a seed twice": ({"seeds": [1, 1]}, "seeds="),
    "a negative strength": ({"strengths": [-1.0, 1.0]}, "finite and >= 0"),
    "an unknown loss": ({"loss": "hinge"}, "unknown loss"),
    "unknown settings": ({"optimizer": functools.partial(torch.optim.SGD, rate=1)}, "rate"),
    "too little memory": ({"max_memory": 10}, "max_memory"),
    "no targets": ({"y": None}, "y is missing; give X and y, or a Dataset"),
    "test rows without targets": ({"test": X[:2]}, "test y is missing"),
    "a test pair without targets": ({"test": (X[:2],)}, "test y is missing"),
    "an optimizer's name": ({"optimizer": "adam"}, r"optimizer='adam': give .*partial\("),
    "an optimizer": (
        {"optimizer": torch.optim.SGD(linear().parameters(), lr=0.1)},
        "^optimizer=SGD: give what makes an optimizer for each member",
    ),
    "a scheduler's name": (
        {"scheduler": "step"},
        r"scheduler='step' makes no schedule .*partial\(",
    ),
    "a scheduler without its settings": (
        {"scheduler": torch.optim.lr_scheduler.StepLR},
        "makes no schedule from an optimizer: .*'step_size'; give one",
    ),
    "a loss class": ({"loss": nn.CrossEntropyLoss}, r"is a class; give an instance, .*Loss\(\)"),
    "a mean loss": ({"loss": nn.functional.cross_entropy}, "one value per row, .*reduction='none'"),
    "a misspelled loss": ({"loss": "crossentropy"}, "did you mean 'cross_entropy'"),
    "classes in floating point": ({"y": Y.float()}, r"Classes are integers: y\.long\(\)"),
    "a progress bar": (
        {"progress": True},
        "progress=True: give a function of a Progress, or print",
    ),
    "compile in a text": ({"compile": "no"}, "compile='no': choose True, False or 'auto'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused(case: str) -> None:
    changes, words = REFUSED[case]
    given = {"model": linear(), "X": X, "y": Y, "penalty": L2(1.0), **QUICK, **changes}
    with pytest.raises(ShrinkageError, match=words):
        fit(given.pop("model"), given.pop("X"), given.pop("y"), given.pop("penalty"), **given)


WHOLE = ("epochs", "batch_size", "chunk", "refine", "max_memory")


@pytest.mark.parametrize("value", ["3", 1.5, 2.0, -1, [2], False])
@pytest.mark.parametrize("name", WHOLE)
def test_counts_are_whole_numbers(name: str, value: Any) -> None:
    said = re.escape(f"{name}={value!r}: give a whole number of at least")
    with pytest.raises(ShrinkageError, match=said):
        fit(linear(), X, Y, **{**QUICK, name: value})


def test_whole_numbers_of_numpy_and_torch_are_numbers() -> None:
    counts = {"epochs": np.int64(2), "batch_size": torch.tensor(8), "chunk": np.uint8(1)}
    given = {**counts, "folds": np.int32(3), "seeds": np.int64(2), "strengths": np.int64(2)}
    plain = {name: int(value) for name, value in given.items()}
    assert_same_result(fit(linear(), X, Y, **given), fit(linear(), X, Y, **plain), rtol=0, atol=0)


def compiled_inside() -> nn.Module:
    return nn.Sequential(torch.compile(nn.Linear(4, 3), backend="eager"))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's compiler itself
@pytest.mark.parametrize(
    "wrapped",
    [
        torch.compile(nn.Sequential(nn.Linear(4, 3)), backend="eager"),
        lambda: torch.compile(nn.Sequential(nn.Linear(4, 3)), backend="eager"),
        nn.DataParallel(nn.Sequential(nn.Linear(4, 3))),
        compiled_inside(),
        compiled_inside,
    ],
    ids=["compiled", "a factory of compiled", "data parallel", "compiled inside", "its factory"],
)
def test_a_wrapped_model_is_the_model_inside(wrapped: Any) -> None:
    plain = fit(nn.Sequential(nn.Linear(4, 3)), X.float(), Y, **QUICK)
    result = fit(wrapped, X.float(), Y, **QUICK)
    assert result.tensor_names == ("0.weight",)
    assert_same_result(result, plain, rtol=0, atol=0)


def test_the_same_module_under_a_factory_is_the_module_itself() -> None:
    one = fit(nn.Linear(4, 3), X, Y, **QUICK)
    two = fit(lambda: nn.Linear(4, 3), X, Y, **QUICK)
    assert_same_result(one, two, rtol=0, atol=0)


@pytest.mark.parametrize("fold", [0, 2])
@pytest.mark.parametrize("batch_size", [5, 32])
def test_a_fold_learns_nothing_from_the_rows_it_holds(fold: int, batch_size: int) -> None:
    folds = torch.arange(32) % 3
    model = perceptron()
    settings = {"folds": folds, "batch_size": batch_size, "epochs": 2}
    clean = fit(model, X, Y, L1(1.0), **settings)
    poisoned, targets = X.clone(), Y.clone()
    held = folds == fold
    poisoned[held] = 1e30 * torch.randn(int(held.sum()), 4, dtype=torch.float64)
    targets[held] = (targets[held] + 1) % 3
    other = fit(model, poisoned, targets, L1(1.0), **settings)
    for name in ("train_loss", "fit_loss", "norms", "sparsity", "diverged"):
        assert torch.equal(getattr(clean, name)[:, fold], getattr(other, name)[:, fold]), name
    assert not torch.equal(clean.fit_loss, other.fit_loss)
    assert not torch.equal(clean.predictions[:, :, held], other.predictions[:, :, held])


def test_a_huge_held_row_does_not_reach_the_padding() -> None:
    # a square of 1e200 overflows: a zero weight would make it NaN
    rows, folds = X_NUMBERS.clone(), torch.arange(32) % 2
    rows[0] = 1e200
    result = fit(nn.Linear(4, 1).double(), rows, T, folds=folds, batch_size=7, refit=True, **QUICK)
    assert (result.diverged[:, 0] == -1).all()
    assert (result.diverged[:, 1] > 0).all()


@pytest.mark.parametrize("engine", ["vectorized", "one by one"])
def test_all_diverged_is_an_error_that_names_the_rate(engine: str) -> None:
    make = functools.partial(torch.optim.SGD, lr=1e6)
    chosen = make if engine == "vectorized" else lambda ps: make(ps)
    with pytest.raises(ShrinkageError, match=r"all 24 members diverged \(learning rate 1e\+06"):
        fit(nn.Linear(4, 1), X_NUMBERS, T, optimizer=chosen, epochs=40)


def dropout() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 5), nn.Dropout(0.5), nn.Linear(5, 3)).double()


@pytest.mark.parametrize("model", [linear, dropout])
@pytest.mark.parametrize("strengths", [[0.1], 3])
def test_the_callers_random_state_is_untouched(model: Any, strengths: Any) -> None:
    torch.manual_seed(5)
    np.random.seed(5)
    random.seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].copy(), random.getstate()
    fit(model, X, Y, L1(1.0), strengths=strengths, test=(X[:3], Y[:3]), **QUICK)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1] == before[1]).all()
    assert random.getstate() == before[2]


@pytest.mark.parametrize("model", [linear, dropout])
def test_the_callers_random_state_has_no_say(model: Any) -> None:
    torch.manual_seed(5)
    one = fit(model, X, Y, L1(1.0), strengths=3, **QUICK)
    torch.manual_seed(6)
    two = fit(model, X, Y, L1(1.0), strengths=3, **QUICK)
    assert_same_result(one, two, rtol=0, atol=0)


def test_garbage_is_searched_for_among_new_objects_only_and_only_for_the_run() -> None:
    gc.unfreeze()
    during: list[int] = []
    fit(perceptron(), X, Y, **QUICK, progress=lambda _: during.append(gc.get_freeze_count()))
    assert min(during) > 0
    assert gc.get_freeze_count() == 0
    with pytest.raises(ShrinkageError):
        fit(perceptron(), X, Y, epochs=0)
    assert gc.get_freeze_count() == 0


@pytest.mark.parametrize("much", ["nothing", "WORTH_FORKING", "WORTH_FORKING_BYTES"])
def test_one_thread_prepares_and_does_what_is_little_and_workers_go_by_the_callers(
    monkeypatch: Any, much: str
) -> None:
    used: list[int] = []
    workers: list[int] = []

    class Noting(nn.Linear):
        def forward(self, input: Tensor) -> Tensor:
            used.append(torch.get_num_threads())  # what forked workers note is theirs
            return super().forward(input)

    def run(jobs: int, work: Any, look: Any, count: int) -> None:
        workers.append(count)
        run_in_workers(jobs, work, look, count)

    monkeypatch.setattr(f"shrinkage.engine.run.together.{much}", 0, raising=False)
    monkeypatch.setattr("shrinkage.engine.run.together.worker_count", torch.get_num_threads)
    monkeypatch.setattr("shrinkage.engine.run.chunks.run_in_workers", run)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        fit(lambda: nn.Sequential(Noting(4, 3)), X, Y, **QUICK)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert set(used) == {1}
    assert workers == [1 if much == "nothing" else 2]


def test_what_the_caller_keeps_from_the_garbage_collector_is_left_so() -> None:
    gc.freeze()
    try:
        fit(perceptron(), X, Y, **QUICK)
        assert gc.get_freeze_count() > 0
    finally:
        gc.unfreeze()


@pytest.mark.parametrize("training", [True, False])
def test_the_callers_model_and_data_are_untouched(training: bool) -> None:
    model = nn.Sequential(nn.Linear(4, 5), nn.BatchNorm1d(5), nn.Linear(5, 3)).double()
    model.train(training)
    rows, targets = X.clone(), Y.clone()
    before = copy.deepcopy(model.state_dict())
    one = fit(model, rows, targets, strengths=3, **QUICK)
    assert model.training is training
    assert all(p.grad is None for p in model.parameters())
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert torch.equal(rows, X)
    assert torch.equal(targets, Y)
    with torch.no_grad():
        model[0].weight.add_(5)
    assert_same_result(fit(model, X, Y, strengths=3, **QUICK), one, rtol=0, atol=0)


def test_members_of_a_group_start_from_one_point_and_groups_from_others() -> None:
    result = fit(perceptron(), X, Y, epochs=1, seeds=2, optimizer=functools.partial(SGD, lr=1e-30))
    starts = result.refit.weights["0.weight"]
    assert torch.equal(starts[0], starts[2])
    assert not torch.equal(starts[0, 0], starts[0, 1])
    assert result.norms[0, :, :, 0].unique().numel() == 3 * 2
    expected = make_builder(perceptron())(key("initial weights", Group(-1, 1)))
    assert torch.equal(starts[0, 1], expected[0].weight)


def test_a_reset_model_is_a_new_model() -> None:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.norm = nn.BatchNorm1d(4)

        def forward(self, x: Tensor) -> Tensor:
            return self.norm(self.attention(x, x, x)[0])

    used = Attention()
    with torch.no_grad():
        for tensor in used.state_dict().values():
            tensor.fill_(7)
    reset = make_builder(used)(3)
    for name, tensor in reset.state_dict().items():
        assert not (tensor == 7).any(), name
    # the parent's own rule (no bias) holds over that of its child, a linear layer
    assert not reset.attention.out_proj.bias.any()
    assert (used.attention.out_proj.bias == 7).all()


def test_a_selection_reaches_the_members() -> None:
    biases = fit(perceptron(), X, Y, select="*.bias", strengths=[5.0], epochs=8)
    assert biases.tensor_names == ("0.bias", "2.bias")
    assert (biases.refit.norms[1] < biases.refit.norms[0]).all()
    whole = fit(perceptron(), X, Y, select=everything, **QUICK)
    assert whole.tensor_names == ("0.weight", "0.bias", "2.weight", "2.bias")


def test_a_loss_of_ones_own() -> None:
    def squared_hinge(output: Tensor, target: Tensor) -> Tensor:
        signs = 2 * F.one_hot(target, 3) - 1
        return (1 - signs * output).clamp_min(0).square().sum(1)

    result = fit(linear(), X, Y, loss=squared_hinge)
    assert result.about["plan"]["loss"] == "squared_hinge"
    assert (result.refit.train_loss[0, :, -1] < result.refit.train_loss[0, :, 0]).all()
    held = result.folds == 1
    expected = squared_hinge(result.predictions[1, 0, held], Y[held]).mean()
    torch.testing.assert_close(result.valid_loss[1, 1, 0, -1], expected)


def test_what_the_run_was_is_written_down() -> None:
    result = fit(perceptron(), X, Y, **QUICK)
    assert result.about["engine"] == "vectorized, eager"
    plan = result.about["plan"]
    assert plan["optimizer"] == "SGD(lr=0.1, momentum=0.9)"
    assert (plan["loss"], plan["how"], plan["epochs"]) == ("cross_entropy", "coupled", 1)
    assert plan["selected"] == ["0.weight", "2.weight"]


def test_progress_passes_the_stages_in_order() -> None:
    seen: list[Progress] = []
    fit(perceptron(), X, Y, progress=seen.append, **QUICK)
    stages = [now.stage for now in seen]
    assert list(dict.fromkeys(stages)) == ["check", "train"]
    assert not any(now.note for now in seen)


def test_a_result_survives_the_disk(tmp_path: Any) -> None:
    result = fit(perceptron(), X, Y, test=(X[:7], Y[:7]), strengths=[0.01, 1e3])
    result.save(tmp_path / "run")
    assert_same_result(type(result).load(tmp_path / "run"), result, rtol=0, atol=0)


def test_constant_and_repeated_columns() -> None:
    rows = torch.cat([X, torch.zeros(32, 1), X[:, :1], torch.full((32, 1), 3.0)], 1)
    result = fit(linear(7), rows, Y, L1(1.0), strengths=4)
    assert result.predictions.isfinite().all()
