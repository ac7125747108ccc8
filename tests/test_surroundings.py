"""A call gives its numbers, and leaves the process alone, whatever threads and modes are around."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from types import ModuleType
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adagrad
from torch.utils.checkpoint import checkpoint

from shrinkage import L2, PathResult, ShrinkageError, fit_path, train
from shrinkage.tensors.own_thread import current, one_thread, own_random_numbers, replaced

X = torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
Y = (X.sum(1) > 0).long()

ARGUMENTS: dict[str, Any] = {
    "strengths": [0.1],
    "folds": 2,
    "seeds": 1,
    "epochs": 2,
    "optimizer": partial(SGD, lr=0.1),
    "compile": False,
}


def attending() -> nn.Module:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(6, 2, dropout=0.5, batch_first=True)
            self.out = nn.Linear(6, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = x.unsqueeze(1)
            return self.out(self.attention(x, x, x)[0].squeeze(1))

    return Attending()


NETS: dict[str, Callable[[], nn.Module]] = {
    "dropout": lambda: nn.Sequential(nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 2)),
    "normalized": lambda: nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Linear(8, 2)),
    "attending": attending,
    "one by one": lambda: nn.Sequential(nn.Linear(6, 8), nn.AlphaDropout(0.5), nn.Linear(8, 2)),
}


def fit(net: Callable[[], nn.Module], **given: Any) -> PathResult:
    return fit_path(net, X, Y, L2(1.0), **{**ARGUMENTS, **given})


def numbers(result: PathResult) -> list[Tensor]:
    assert result.refit is not None
    return [result.train_loss, result.valid_loss, *result.refit.weights.values()]


def assert_equal(one: list[Tensor], other: list[Tensor]) -> None:
    assert all(map(torch.equal, one, other))


@contextmanager
def another_thread() -> Iterator[None]:
    """A thread that draws random numbers all the time."""
    over = threading.Event()

    def draw() -> None:
        while not over.wait(0.001):
            torch.rand(3)

    thread = threading.Thread(target=draw)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


@pytest.mark.parametrize("name", NETS)
def test_paths_in_threads_have_the_numbers_of_one_alone_and_leave_torch_whole(name: str) -> None:
    before = {name: getattr(F, name) for name in vars(F)}
    alone = numbers(fit(NETS[name]))
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda _: numbers(fit(NETS[name])), range(3)))
    for each in together:
        assert_equal(each, alone)
    assert {name: getattr(F, name) for name in vars(F)} == before


def own_training() -> Tensor:
    net, step = nn.Linear(6, 2), partial(F.dropout, p=0.5)
    generator = torch.Generator().manual_seed(1)
    net.load_state_dict(
        {n: torch.randn(w.shape, generator=generator) for n, w in net.state_dict().items()}
    )
    torch.manual_seed(2)
    optimizer = SGD(net.parameters(), lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        F.cross_entropy(net(step(X)), Y).backward()
        optimizer.step()
    return net.weight.detach()


@pytest.mark.parametrize("name", ["dropout", "attending"])
def test_whoever_trains_in_another_thread_is_not_touched(name: str) -> None:
    alone = own_training()
    over = threading.Event()
    failed: list[BaseException] = []

    def fit_again_and_again() -> None:
        while not over.is_set():
            try:
                fit(NETS[name])
            except BaseException as error:
                failed.append(error)

    thread = threading.Thread(target=fit_again_and_again)
    thread.start()
    try:
        beside = [own_training() for _ in range(3)]
    finally:
        over.set()
        thread.join()
    assert not failed
    for each in beside:
        assert torch.equal(each, alone)


def test_a_training_beside_a_thread_that_draws_has_its_own_numbers() -> None:
    def trained() -> list[Tensor]:
        torch.manual_seed(3)
        net = NETS["dropout"]()
        train(net, X, Y, L2(0.1), epochs=2)
        return list(net.state_dict().values())

    alone = trained()
    with another_thread():
        with own_random_numbers(3):
            net = NETS["dropout"]()
        train(net, X, Y, L2(0.1), epochs=2)
    assert_equal(list(net.state_dict().values()), alone)


DRAWS: list[Callable[[], Tensor]] = [
    lambda: torch.randn(3),
    lambda: torch.rand(3, dtype=torch.double),
    lambda: torch.randperm(5),
    lambda: torch.randint(2, 9, (3,)),
    lambda: torch.randint(9, (3,)),
    lambda: torch.rand_like(torch.ones(3)),
    lambda: torch.randn_like(torch.ones(3)),
    lambda: torch.normal(torch.zeros(3), torch.ones(3)),
    lambda: torch.bernoulli(torch.full((5,), 0.5)),
    lambda: torch.multinomial(torch.ones(5), 3),
    lambda: torch.empty(3).exponential_(),
    lambda: F.dropout(torch.ones(9)),
    lambda: F.alpha_dropout(torch.ones(9), training=True),
    lambda: F.rrelu(-torch.ones(9), training=True),
    lambda: nn.init.trunc_normal_(torch.empty(3)),
    lambda: nn.init.orthogonal_(torch.empty(3, 3)),
    lambda: nn.LSTM(2, 2, num_layers=2, dropout=0.5)(torch.ones(4, 1, 2))[0],
    lambda: torch.distributions.Gamma(1.0, 1.0).sample(),
]


@pytest.mark.parametrize("draw", DRAWS)
def test_beside_other_threads_all_that_draws_draws_what_the_seed_gives(
    draw: Callable[[], Tensor],
) -> None:
    torch.manual_seed(5)
    wanted, state = draw(), torch.get_rng_state()
    torch.manual_seed(6)
    before = torch.get_rng_state()
    over = threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()
    try:
        with own_random_numbers(5):
            assert torch.equal(draw(), wanted)
            assert torch.equal(torch.get_rng_state(), state)
    finally:
        over.set()
        thread.join()
    assert torch.equal(torch.get_rng_state(), before)


def test_activations_that_are_computed_twice_drop_the_same_beside_other_threads() -> None:
    net = nn.Sequential(nn.Linear(6, 50), nn.Dropout(0.5), nn.Linear(50, 1))

    def gradients(twice: bool) -> list[Tensor]:
        net.zero_grad()
        output: Any = checkpoint(net, X, use_reentrant=False) if twice else net(X)
        output.sum().backward()
        return [p.grad.clone() for p in net.parameters() if p.grad is not None]

    torch.manual_seed(1)
    alone = gradients(twice=False)
    with another_thread(), own_random_numbers(1):
        assert_equal(gradients(twice=True), alone)


def test_a_function_is_replaced_for_one_thread_and_its_blocks_nest() -> None:
    place: Any = ModuleType("place")  # torch's own functions may call themselves by name
    usual = place.same = lambda x: x
    seen: list[int] = []

    def doubled() -> dict[str, Callable[[int], int]]:
        once = current(place, "same")
        return {"same": lambda x: 2 * once(x)}

    with replaced(place, doubled()):
        with replaced(place, doubled()):
            assert place.same(1) == 4
            thread = threading.Thread(target=lambda: seen.append(place.same(1)))
            thread.start()
            thread.join()
        assert place.same(1) == 2
    assert seen == [1]
    assert place.same is usual


def test_a_thread_that_starts_beside_work_on_one_thread_has_all_of_its_own() -> None:
    seen: list[int] = []
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with one_thread():
            assert torch.get_num_threads() == 1
            thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
            thread.start()
            thread.join()
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)
    assert seen == [3]


MODES: dict[str, Callable[[], Any]] = {
    "autocast": lambda: torch.autocast("cpu", torch.bfloat16),
    "no_grad": torch.no_grad,
    "inference_mode": torch.inference_mode,
}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(
    "given", [{}, {"optimizer": partial(Adagrad, lr=0.1)}, {"solver": "exact"}], ids=str
)
def test_modes_around_a_path_change_nothing(mode: str, given: dict[str, Any]) -> None:
    exact = "solver" in given  # whose loss of separated classes has no minimum
    y, net = (X[:, 0], partial(nn.Linear, 6, 1)) if exact else (Y, partial(nn.Linear, 6, 2))
    arguments = {**ARGUMENTS, **given}
    if exact:
        del arguments["optimizer"]
    usual = fit_path(net, X, y, L2(1.0), **arguments)
    with MODES[mode]():
        within = fit_path(net, X.clone(), y.clone(), L2(1.0), **arguments)
    assert_equal(numbers(within), numbers(usual))
    assert within.about == usual.about


@pytest.mark.parametrize("mode", ["autocast", "no_grad"])
def test_modes_around_a_training_change_nothing(mode: str) -> None:
    torch.manual_seed(0)
    net = nn.Linear(6, 2)
    start = {name: w.clone() for name, w in net.state_dict().items()}
    usual = train(net, X, Y, L2(0.1), epochs=2)
    net.load_state_dict(start)
    with MODES[mode]():
        within = train(net, X, Y, L2(0.1), epochs=2)
    assert within.curves == usual.curves


def test_a_model_that_was_made_where_nothing_trains_is_refused() -> None:
    with torch.inference_mode():
        net = nn.Linear(6, 2)
    with pytest.raises(ShrinkageError, match=r"made inside torch.inference_mode\(\)"):
        train(net, X, Y, L2(0.1), epochs=1)


def numbers_of(name: str) -> Callable[..., list[Tensor]]:
    def path(**given: Any) -> list[Tensor]:
        optimizer = partial(Adagrad if name == "one by one" else SGD, lr=0.1)
        return numbers(fit(NETS["dropout"], optimizer=optimizer, **given))

    return path


@pytest.mark.parametrize("name", ["together", "one by one"])
def test_a_thread_that_ends_during_a_path_changes_no_number(name: str) -> None:
    run = numbers_of(name)
    alone, over = run(), threading.Event()
    thread = threading.Thread(target=over.wait)
    thread.start()

    def end_it(progress: Any) -> None:
        over.set()
        thread.join()

    assert_equal(run(progress=end_it), alone)


def test_what_progress_draws_is_not_taken_from_the_training() -> None:
    def curves(progress: Any) -> list[dict[str, float]]:
        torch.manual_seed(0)
        return train(NETS["dropout"](), X, Y, L2(0.1), epochs=2, progress=progress).curves

    assert curves(lambda _: torch.rand(3)) == curves(None)


@pytest.mark.parametrize("kind", [SGD, Adagrad])
def test_a_hook_that_changes_gradients_acts_on_those_of_its_step(kind: Any) -> None:
    def without_gradients(parameters: Any) -> torch.optim.Optimizer:
        optimizer = kind(parameters, lr=0.1)

        def silence(own: Any, *_: Any) -> None:
            for group in own.param_groups:
                for p in group["params"]:
                    p.grad.zero_()

        optimizer.register_step_pre_hook(silence)
        return optimizer

    net = nn.Linear(6, 2)
    before = net.weight.detach().clone()
    train(net, X, Y, epochs=1, optimizer=without_gradients)
    assert torch.equal(net.weight, before)
