"""Penalties on the outputs of modules: what counts, when, and what is refused."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence
from torch.testing import assert_close

from shrinkage import activity
from shrinkage.errors import ShrinkageError
from shrinkage.penalties import L1, L2, GroupLasso

X = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))


def net() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1))


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.act = nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.layer(self.act(self.layer(x))))


@pytest.mark.parametrize("penalty", [L1(0.3), L2(0.2), L1(0.3) + L2(0.2)], ids=repr)
def test_it_is_the_mean_over_the_batch_as_in_keras(penalty: Any) -> None:
    """Keras: penalty(output) / batch_size, for every output."""
    model = net()
    with activity(model, penalty, nn.ReLU) as extra:
        loss = model(X).square().mean() + extra.value()
    loss.backward()
    ours = [w.grad.clone() for w in model.parameters()]
    model.zero_grad()
    first = model[:2](X)
    second = model[2:4](first)
    by_hand = model[4](second).square().mean()
    by_hand = by_hand + (penalty.value(first) + penalty.value(second)) / len(X)
    assert_close(loss, by_hand)
    by_hand.backward()
    assert_close(ours, [w.grad for w in model.parameters()])


@pytest.mark.parametrize(
    ("select", "names"),
    [
        ("1", ("1",)),
        ("[13]", ("1", "3")),
        (nn.Linear, ("0", "2", "4")),
        (lambda name, module: name == "3" and isinstance(module, nn.ReLU), ("3",)),
        (nn.Sequential, ("",)),
    ],
)
def test_the_value_sums_the_selected_modules_alone(select: Any, names: tuple[str, ...]) -> None:
    model = net()
    with activity(model, L1(1.0), select) as extra:
        model(X)
    assert extra.names == names
    assert repr(extra) == f"L1(1) on the outputs of {', '.join(names) or 'the model'}"
    counted = [model[: int(name) + 1 if name else 5](X).abs().sum() / 5 for name in names]
    assert_close(extra.value(), torch.stack(counted).sum())


def test_a_module_called_twice_counts_twice() -> None:
    model = Twice()
    with activity(model, L2(1.0), "act") as extra:
        model(X)
    inner = model.act(model.layer(X))
    outer = model.act(model.layer(inner))
    assert_close(extra.value(), (inner.square().sum() + outer.square().sum()) / 5)


def test_every_call_of_the_model_starts_anew() -> None:
    model = net()
    with activity(model, L1(1.0), "1") as extra:
        model(X)
        first = extra.value()
        assert torch.equal(extra.value(), first)
        model(2 * X)
        assert_close(extra.value(), model[:2](2 * X).abs().sum() / 5)
        model[:2](100 * X)  # not a call of the model
        assert_close(extra.value(), model[:2](2 * X).abs().sum() / 5)


def test_a_validation_loss_contains_no_penalty() -> None:
    model = net()
    with activity(model, L1(1.0), nn.ReLU) as extra:
        model(X)
        extra.value()
        with torch.no_grad():
            model(X)
            assert extra.value() == 0
        with torch.inference_mode():
            model(X)
            assert extra.value() == 0
        model.eval()
        model(X)
        assert extra.value() > 0  # some are trained in evaluation mode


def test_remove_restores_the_model() -> None:
    model = net()
    before = copy.deepcopy(model.state_dict())
    extra = activity(model, L1(1.0), nn.ReLU)
    assert model.state_dict().keys() == before.keys()
    model(X)
    value = extra.value()
    extra.remove()
    model(2 * X)
    assert torch.equal(extra.value(), value)
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert all(torch.equal(w, before[name]) for name, w in model.state_dict().items())


def test_a_copy_of_the_model_does_not_count() -> None:
    model = net()
    with activity(model, L1(1.0), nn.ReLU) as extra:
        model(X)
        value = extra.value()
        for average in (copy.deepcopy(model), copy.copy(model)):
            average(3 * X)
            assert torch.equal(extra.value(), value)


def test_the_strength_can_change_on_the_way() -> None:
    model = net()
    with activity(model, L1(1.0), "1") as extra:
        model(X)
        value = extra.value()
        extra.penalty = extra.penalty.at(2.0)
        model(X)
        assert_close(extra.value(), 2 * value)


def test_checkpointed_modules_count_once() -> None:
    class Checkpointed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inner = net()

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = torch.utils.checkpoint.checkpoint(self.inner, x, use_reentrant=False)
            return out

    model = Checkpointed()
    with activity(model, L1(1.0), "inner.1") as extra:
        loss = model(X).mean() + extra.value()
        loss.backward()
        assert_close(extra.value(), model.inner[:2](X).abs().sum() / 5)


@pytest.mark.parametrize("batch_first", [True, False])
def test_of_a_tuple_the_first_tensor_counts(batch_first: bool) -> None:
    model = nn.Sequential(nn.LSTM(4, 3, batch_first=batch_first))
    x = torch.randn(5, 2, 4, generator=torch.Generator().manual_seed(2))
    with activity(model, L1(1.0), nn.LSTM) as extra:
        output, _ = model(x)
        assert_close(extra.value(), output.abs().sum() / (5 if batch_first else 2))
        output, _ = model(x[0])  # one sequence without a batch
        assert_close(extra.value(), output.abs().sum())


TRANSFORMERS: dict[str, Any] = {
    "encoder layer": lambda **layout: nn.TransformerEncoderLayer(8, 2, 16, 0.0, **layout),
    "decoder layer": lambda **layout: nn.TransformerDecoderLayer(8, 2, 16, 0.0, **layout),
    "encoder": lambda **layout: nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, 0.0, **layout), 2, enable_nested_tensor=False
    ),
    "decoder": lambda **layout: nn.TransformerDecoder(
        nn.TransformerDecoderLayer(8, 2, 16, 0.0, **layout), 2
    ),
    "both": lambda **layout: nn.Transformer(8, 2, 1, 1, 16, 0.0, **layout),
}


@pytest.mark.filterwarnings("ignore:enable_nested_tensor")
@pytest.mark.parametrize("name", TRANSFORMERS)
@pytest.mark.parametrize("batch_first", [True, False])
def test_a_transformer_divides_by_the_batch_in_both_layouts(name: str, batch_first: bool) -> None:
    torch.manual_seed(0)
    module = TRANSFORMERS[name](batch_first=batch_first)
    x = torch.randn(*((3, 7) if batch_first else (7, 3)), 8)
    with activity(module, L1(1.0), type(module)) as extra:
        output = module(x) if name.startswith("encoder") else module(x, x)
        value = extra.value()
    if name.endswith("layer") or name == "both":
        assert_close(value, output.abs().sum() / 3)
    else:
        assert value > output.abs().sum() / 4


@pytest.mark.parametrize("batch_dim", [1, -2])
def test_the_axis_of_the_batch_can_be_given(batch_dim: int) -> None:
    model, sequence_first = net(), torch.stack([X, 2 * X])
    with activity(model, L1(1.0), "1", batch_dim=batch_dim) as extra:
        model(sequence_first)
        assert_close(extra.value(), model[:2](sequence_first).abs().sum() / len(X))


def test_an_axis_that_is_none_is_refused() -> None:
    with pytest.raises(ShrinkageError, match="batch_dim=True is no axis; give a whole number"):
        activity(net(), L1(1.0), "1", batch_dim=True)
    model = net()
    with (
        activity(model, L1(1.0), "1", batch_dim=2),
        pytest.raises(ShrinkageError, match=r"batch_dim=2 is no axis .* ReLU, whose shape is \(5"),
    ):
        model(X)


@pytest.mark.parametrize("second", [torch.enable_grad, torch.no_grad])
def test_a_call_whose_value_was_not_asked_for_is_not_lost_in_silence(second: Any) -> None:
    model = net()
    with activity(model, L1(1.0), "1") as extra:
        model(X)
        with second():
            model(2 * X)
        with pytest.raises(ShrinkageError, match="called several times since the last value"):
            extra.value()
        model(X)
        total = extra.value()
        model(2 * X)
        total = total + extra.value()
        assert_close(total, model[:2](torch.cat([X, 2 * X])).abs().sum() / 5)


def test_a_call_that_failed_may_be_tried_again() -> None:
    model = net()
    with activity(model, L1(1.0), "1") as extra:
        with pytest.raises(RuntimeError):
            model(X[:, :2])
        model(X)
        assert_close(extra.value(), model[:2](X).abs().sum() / 5)


def test_a_model_is_saved_with_its_activity_and_loaded_without() -> None:
    model, buffer = net(), io.BytesIO()
    with activity(model, L1(1.0), nn.ReLU) as extra:
        torch.save(model, buffer)
        model(X)
        value = extra.value()
        buffer.seek(0)
        for copied in (torch.load(buffer, weights_only=False), pickle.loads(pickle.dumps(model))):
            assert torch.equal(copied(X), model(X))
            assert torch.equal(extra.value(), value)


def test_groups_are_over_the_whole_batch() -> None:
    model = net()
    with activity(model, GroupLasso(1.0, dim=1), "1") as extra:
        out = model[:2](X)
        model(X)
    norms = torch.linalg.vector_norm(out, dim=0)
    assert_close(extra.value(), 5**0.5 * norms.sum() / 5)


def test_compiled_after_it_acts_and_compiles_once() -> None:
    from torch._dynamo.testing import CompileCounterWithBackend

    model, counter = net(), CompileCounterWithBackend("aot_eager")
    with activity(model, L1(1.0), nn.ReLU) as extra:
        fast = torch.compile(model, backend=counter, fullgraph=True)
        for scale in (1.0, 2.0, 3.0, 4.0):
            fast(scale * X)
            value = extra.value()
            model(scale * X)
            assert_close(value, extra.value())
        model.zero_grad()
        fast(X)
        extra.value().backward()
        assert model[0].weight.grad.any()
    assert counter.frame_count <= 2
    torch._dynamo.reset()


def test_c8_hooks_that_a_compiled_model_does_not_see_are_refused() -> None:
    model = net()
    fast = torch.compile(model, backend="eager")
    with pytest.raises(ShrinkageError, match=r"OptimizedModule is compiled.*after it"):
        activity(fast, L1(1.0), nn.ReLU)
    fast(X)
    with activity(model, L1(1.0), nn.ReLU) as extra:
        fast(X)
        with pytest.raises(ShrinkageError, match="compile it after activity"):
            extra.value()
    model[2].compile(backend="eager")
    with pytest.raises(ShrinkageError, match="2 is compiled"):
        activity(model, L1(1.0), nn.ReLU)
    torch._dynamo.reset()


def test_names_are_those_of_the_model_inside_data_parallel() -> None:
    model = nn.DataParallel(net())
    with activity(model, L1(1.0), "1") as extra:
        model(X)
        assert list(extra.names) == ["1"]
        assert extra.value() > 0


def test_value_before_a_call_is_refused() -> None:
    with (
        activity(net(), L1(1.0), nn.ReLU) as extra,
        pytest.raises(ShrinkageError, match="no call of the model was seen"),
    ):
        extra.value()


def test_a_module_that_is_never_called_is_refused() -> None:
    class Bypassing(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.act = nn.ReLU()

        def forward(self, x: Tensor) -> Tensor:
            return F.relu(x)

    model = Bypassing()
    with activity(model, L1(1.0), nn.ReLU) as extra:
        model(X)
        with pytest.raises(ShrinkageError, match="none of act was called"):
            extra.value()


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ("relu*", r"'relu\*' matches no module; nearest names: 0, 1, 2"),
        (nn.GELU, "'GELU' matches no module"),
        (3, "select=3 selects no modules"),
        (int, "selects no modules"),
    ],
)
def test_a_selection_of_nothing_is_refused(select: Any, message: str) -> None:
    with pytest.raises(ShrinkageError, match=message):
        activity(net(), L1(1.0), select)


@pytest.mark.parametrize("penalty", [1.0, L1(1.0, toward=X), L1(1.0) + L2(1.0, toward=X)], ids=str)
def test_penalties_that_make_no_sense_are_refused(penalty: Any) -> None:
    with pytest.raises(ShrinkageError, match=r"is not a penalty|leave toward= out"):
        activity(net(), penalty, nn.ReLU)


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ({"logits": X}, "is dict, not a tensor of rows"),
        ((), "is tuple"),
        (torch.tensor(1.0), "is a number"),
        (pack_sequence([X]), "is PackedSequence"),
    ],
)
def test_outputs_that_are_no_rows_are_refused(output: Any, message: str) -> None:
    class Constant(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return output

    model = nn.Sequential(Constant())
    with (
        activity(model, L1(1.0), Constant),
        pytest.raises(ShrinkageError, match=f"the output of Constant {message}"),
    ):
        model(X)


def test_arguments_in_the_order_of_regularize_are_refused_in_a_line() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.ReLU())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    with pytest.raises(ShrinkageError, match="penalty=SGD is not a penalty") as refused:
        activity(model, optimizer, nn.ReLU)
    assert len(str(refused.value).splitlines()) == 1
