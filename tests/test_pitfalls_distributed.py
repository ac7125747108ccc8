"""Pitfalls of training in several processes; two of them end where one with all rows does."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.distributed as dist
from _pitfalls import COUPLINGS, Attach, nothing, ours, pitfall
from _ranks import in_two_processes
from _sharing import CASES, NAIVE, train
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim import SGD, Optimizer
from torch.testing import assert_close

from shrinkage.errors import ShrinkageError, ShrinkageWarning
from shrinkage.penalties import L2
from shrinkage.regularizing.regularize import regularize
from shrinkage.shrinking import shrink
from shrinkage.tensors.sharded import version

MESSAGES = {
    "l2": 0,
    "l2-decoupled": 0,
    "l1": 0,
    "elastic_net": 0,
    "columns": 3,
    "columns-decoupled": 3,
    "columns-coupled": 6,
    "max_norm-rows": 3,
}
"""How many a process sends in a step of a penalty on three tensors; none without a penalty."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    return in_two_processes(train, CASES, tmp_path_factory.mktemp("ranks"))


@pytest.fixture
def one_process() -> Iterator[None]:
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pitfall(
    ours={name: name for name in CASES if name not in NAIVE}, naive={name: name for name in NAIVE}
)
def test_d1_d3_two_processes_are_one(name: str, seen: dict[str, list[Any]]) -> None:
    """A penalty in a loss that is summed counts twice, a norm of a shard is none of the whole."""
    expected = train(name)
    for outcome in seen[name]:
        assert not isinstance(outcome, str), outcome
        assert_close(outcome["weights"], expected["weights"])
        assert_close(outcome["value"], expected["value"])
        for row, other in zip(outcome["rows"], expected["rows"], strict=True):
            assert row["value"] == pytest.approx(other["value"])
            exact = row.keys() - {"value"}
            assert {key: row[key] for key in exact} == {key: other[key] for key in exact}


@pytest.mark.parametrize("name", MESSAGES)
def test_d3_only_what_needs_the_whole_gathers_it(name: str, seen: dict[str, list[Any]]) -> None:
    assert [outcome["messages"] for outcome in seen[f"fsdp-{name}"]] == [MESSAGES[name]] * 2


def test_d1_in_a_loss_that_is_summed_a_penalty_counts_once_for_every_process(
    seen: dict[str, list[Any]],
) -> None:
    naive, _ = seen["sum-l1-loss"]
    assert_close(naive["weights"], train("sum-l1-loss", factor=2)["weights"])


def decay_matrices(model: nn.Module, optimizer: Optimizer) -> None:
    """Decoupled L2 on what has two axes, as a step post-hook of one line."""

    def hook(*_: object) -> None:
        for w in model.parameters():
            if w.dim() >= 2:
                w.data.mul_(1 - 0.1 * 2 * 0.1)

    optimizer.register_step_post_hook(hook)


def penalize_in_loss(model: nn.Module, optimizer: Optimizer) -> Tensor:
    return L2(0.1)(model)


def penalize_all_in_loss(model: nn.Module, optimizer: Optimizer) -> Tensor:
    return sum(w.square().sum() for w in model.parameters())


@pytest.mark.filterwarnings("ignore:FSDP is switching:UserWarning")
@pitfall(ours={"steps": ours(L2(0.1)), "loss": penalize_in_loss}, naive=decay_matrices)
@pytest.mark.parametrize("use_orig_params", [False, True])
def test_d2_flat_parameters_are_refused(
    attach: Attach, use_orig_params: bool, one_process: None
) -> None:
    """They mix biases and weights, and have one axis: a group is one number, ndim < 2 is true."""
    from torch.distributed.fsdp import FullyShardedDataParallel

    device = torch.device("cpu")
    model = FullyShardedDataParallel(
        nn.Linear(3, 2), use_orig_params=use_orig_params, device_id=device
    )
    if not use_orig_params:
        assert [tuple(w.shape) for w in model.parameters()] == [(8,)]
    optimizer = SGD(model.parameters(), lr=0.1)
    with pytest.raises(ShrinkageError, match=r"FSDP1.*use_orig_params.*fully_shard.*DDP"):
        attach(model, optimizer)


@pitfall(
    ours={"steps": ours(L2(0.1)), "loss": penalize_in_loss},
    naive={"steps": decay_matrices, "loss": penalize_all_in_loss},
)
def test_d4_parameters_that_are_elsewhere_are_refused(attach: Attach) -> None:
    """ZeRO-3 leaves tensors of size 0 between uses: a penalty of theirs is zero."""
    model = nn.Linear(3, 2)
    for number, w in enumerate(model.parameters()):
        w.ds_id, w.ds_shape = number, w.shape
        w.data = torch.empty(0)
    optimizer = SGD(model.parameters(), lr=0.1)
    assert penalize_all_in_loss(model, optimizer) == 0
    with pytest.raises(ShrinkageError, match=r"weight is sharded by DeepSpeed's ZeRO-3.*DDP"):
        attach(model, optimizer)


class Unused(nn.Module):
    """A weight that no forward pass uses, beside one that it does."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, X: Tensor) -> Tensor:
        return self.used(X)


def no_penalty_in_loss(model: nn.Module) -> Tensor:
    return torch.zeros(())


@pitfall(ours=(ours(L2(0.5)), no_penalty_in_loss), naive=(nothing, L2(0.5)), fails=RuntimeError)
def test_d5_a_tensor_that_only_the_penalty_uses(
    penalize: tuple[Attach, Callable[[nn.Module], Tensor]], one_process: None
) -> None:
    """In the loss, the penalty is a second use that the wrapper has not been told of."""
    attach, in_loss = penalize
    model = Unused()
    before = copy.deepcopy(model)
    shared = DistributedDataParallel(model, find_unused_parameters=True)
    optimizer = SGD(model.parameters(), lr=0.1)
    attach(model, optimizer)
    (shared(torch.ones(1, 3)).sum() + in_loss(model)).backward()
    optimizer.step()
    assert torch.equal(model.unused.weight, before.unused.weight)
    assert_close(model.used.weight, before.used.weight - 0.1 * (1 + before.used.weight))


def decay_by_torch(model: nn.Module, optimizer: Optimizer) -> None:
    """Fail in the middle: torch adds no dense decay to a sparse gradient."""
    optimizer.param_groups[0]["weight_decay"] = 0.2


def decay_rows_with_gradients(model: nn.Module, optimizer: Optimizer) -> None:
    def hook(*_: object) -> None:
        for w in model.parameters():
            rows = w.grad.coalesce().indices()[0] if w.grad.is_sparse else slice(None)
            w.data[rows] *= 1 - 0.1 * 2 * 0.1

    optimizer.register_step_post_hook(hook)


@pitfall(
    ours={how: ours({"*weight": L2(0.1)}, how) for how in COUPLINGS},
    naive={f.__name__: f for f in (decay_by_torch, decay_rows_with_gradients)},
    fails=RuntimeError,
)
def test_d6_sparse_gradients_are_refused_before_anything_moves(attach: Attach) -> None:
    """Which rows a penalty takes is not settled."""
    model = nn.ModuleDict({"head": nn.Linear(2, 2), "embed": nn.Embedding(4, 2, sparse=True)})
    before = copy.deepcopy(model)
    optimizer = SGD(model.parameters(), lr=0.1)
    attach(model, optimizer)
    model["head"](model["embed"](torch.tensor([0]))).sum().backward()
    gradient = model["head"].weight.grad.clone()
    with pytest.raises(ShrinkageError, match=r"embed\.weight has a sparse gradient.*sparse=False"):
        optimizer.step()
    assert torch.equal(model["head"].weight.grad, gradient)
    assert_close(model.state_dict(), before.state_dict(), rtol=0, atol=0)


def test_gradients_that_are_split_otherwise_are_refused(one_process: None) -> None:
    """The local part of a sum would get the whole penalty, on every process."""
    from torch.distributed.tensor import Replicate, Shard, distribute_tensor, init_device_mesh

    mesh = init_device_mesh("cpu", (1,))
    model = nn.Linear(4, 3, bias=False)
    model.weight = nn.Parameter(distribute_tensor(model.weight.detach(), mesh, [Replicate()]))
    optimizer = SGD(model.parameters(), lr=0.1)
    regularize(model, optimizer, L2(0.1))
    X = distribute_tensor(torch.ones(2, 4), mesh, [Shard(0)])
    model(X).sum().backward()
    assert model.weight.grad.placements[0].is_partial()
    with pytest.raises(ShrinkageError, match=r"weight and its gradient.*redistribute"):
        optimizer.step()
    model.weight.grad = model.weight.grad.redistribute(placements=model.weight.placements)
    optimizer.step()


def test_what_is_said_of_a_sharded_model_is_said_of_the_whole_one(one_process: None) -> None:
    from torch.distributed.fsdp import fully_shard

    def reasons_and_cautions(model: nn.Module) -> tuple[list[str], list[str]]:
        optimizer = SGD(model.parameters(), lr=0.1)
        with pytest.warns(ShrinkageWarning, match=r"scale-invariant: 0\.weight"):
            handle = regularize(model, optimizer, L2(0.1))
        return [row["why"] for row in handle.summary().rows], handle.cautions()

    whole, sharded = (nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)) for _ in range(2))
    fully_shard(sharded[0])
    fully_shard(sharded)
    assert reasons_and_cautions(sharded) == reasons_and_cautions(whole)


def test_every_change_of_a_gradient_is_noticed(one_process: None) -> None:
    """``fully_shard`` adds to the shard alone, ``zero_`` counts for the tensor alone."""
    from torch.distributed.fsdp import fully_shard

    model = fully_shard(nn.Linear(3, 2))
    model(torch.ones(1, 3)).sum().backward()
    gradient = model.weight.grad
    versions = [version(gradient)]
    for change in (lambda: model(torch.ones(1, 3)).sum().backward(), gradient.zero_):
        change()
        versions.append(version(gradient))
    assert model.weight.grad is gradient
    assert versions == sorted(set(versions))


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own
def test_an_optimizer_that_steps_during_the_backward_pass_is_refused(one_process: None) -> None:
    from torch.distributed.optim import ZeroRedundancyOptimizer

    model = nn.Linear(3, 2)
    optimizer = ZeroRedundancyOptimizer(model.parameters(), SGD, overlap_with_ddp=True, lr=0.1)
    with pytest.raises(ShrinkageError, match="overlap_with_ddp"):
        regularize(model, optimizer, L2(0.1))


def sparse_net() -> nn.Sequential:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    with torch.no_grad():
        model[0].weight[:3] = 0
    return model


def fully_sharded(model: nn.Sequential) -> nn.Module:
    from torch.distributed.fsdp import fully_shard

    fully_shard(model[0])
    return fully_shard(model)


def tensor_parallel(model: nn.Sequential) -> nn.Module:
    from torch.distributed.tensor import Shard, distribute_tensor, init_device_mesh

    w = distribute_tensor(model[0].weight.detach(), init_device_mesh("cpu", (1,)), [Shard(0)])
    model[0].weight = nn.Parameter(w)
    return model


def flat(model: nn.Sequential) -> nn.Module:
    from torch.distributed.fsdp import FullyShardedDataParallel

    return FullyShardedDataParallel(model, device_id=torch.device("cpu"))


@pytest.mark.filterwarnings("ignore:FSDP is switching:UserWarning")
@pytest.mark.filterwarnings("ignore:When using ``NO_SHARD``:UserWarning")
@pytest.mark.parametrize("sharded", [fully_sharded, tensor_parallel, flat])
def test_a_sharded_model_is_not_shrunk_before_it_is_gathered(
    sharded: Callable[[nn.Sequential], nn.Module], one_process: None
) -> None:
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    model = sharded(sparse_net())
    with pytest.raises(ShrinkageError, match=r"sharded over processes.*get_model_state_dict"):
        shrink(model)
    gathered = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 2))
    options = StateDictOptions(full_state_dict=True)
    gathered.load_state_dict(get_model_state_dict(model, options=options))
    assert shrink(gathered).model[0].out_features == 3


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's own
@pytest.mark.parametrize("wrap", [DistributedDataParallel, nn.DataParallel, torch.compile])
def test_a_wrapped_model_is_shrunk_inside(
    wrap: Callable[[nn.Module], nn.Module], one_process: None
) -> None:
    shrunk = shrink(wrap(sparse_net()), torch.ones(1, 4))
    assert [row["name"] for row in shrunk.rows] == ["0", "2"]
    assert shrunk.model[0].out_features == 3
