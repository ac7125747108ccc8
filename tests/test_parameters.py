"""Which tensors are penalized; numbers are pitfalls."""

from __future__ import annotations

import re
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils import prune

from shrinkage.errors import ShrinkageError
from shrinkage.parameters import everything, explain_selection, selected_parameters, weights
from shrinkage.penalties import L2


def names(model: nn.Module, select: Any = weights) -> set[str]:
    return set(selected_parameters(model, select))


MODULES: list[tuple[nn.Module, set[str]]] = [
    (nn.Linear(2, 2), {"weight"}),
    (nn.Bilinear(2, 2, 2), {"weight"}),
    (nn.Conv1d(1, 1, 2), {"weight"}),
    (nn.Conv2d(1, 1, 2), {"weight"}),
    (nn.ConvTranspose3d(1, 1, 2), {"weight"}),
    (nn.LSTM(2, 2), {"weight_ih_l0", "weight_hh_l0"}),
    (nn.LSTM(2, 2, proj_size=1), {"weight_ih_l0", "weight_hh_l0", "weight_hr_l0"}),
    (nn.GRUCell(2, 2), {"weight_ih", "weight_hh"}),
    (nn.MultiheadAttention(2, 1, add_bias_kv=True), {"in_proj_weight", "out_proj.weight"}),
    (
        nn.MultiheadAttention(2, 1, kdim=3, vdim=3),
        {"q_proj_weight", "k_proj_weight", "v_proj_weight", "out_proj.weight"},
    ),
    (
        nn.TransformerEncoderLayer(2, 1, 4),
        {
            "self_attn.in_proj_weight",
            "self_attn.out_proj.weight",
            "linear1.weight",
            "linear2.weight",
        },
    ),
    (nn.Embedding(3, 2), set()),
    (nn.EmbeddingBag(3, 2), set()),
    (nn.PReLU(), set()),
    (nn.LayerNorm(2), set()),
    (nn.RMSNorm(2), set()),
    (nn.GroupNorm(1, 2), set()),
    (nn.BatchNorm1d(2), set()),
    (nn.InstanceNorm2d(2, affine=True), set()),
]


@pytest.mark.parametrize(("module", "expected"), MODULES, ids=lambda m: type(m).__name__)
def test_a2_default_selection_by_type_of_module(module: nn.Module, expected: set[str]) -> None:
    model = nn.ModuleDict({"tested": module, "other": nn.Linear(1, 1)})
    assert names(model) == {f"tested.{name}" for name in expected} | {"other.weight"}


def test_a2_own_parameters_scalars_and_marked_tensors_are_left_alone() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(()))
            self.kernel = nn.Parameter(torch.ones(2, 2))
            self.marked = nn.Linear(2, 2)
            self.marked.weight._no_weight_decay = True  # type: ignore[assignment]
            self.plain = nn.Linear(2, 2)

    reasons = {row.name: row.reason for row in explain_selection(Block())}
    assert names(Block()) == {"plain.weight"}
    assert reasons["marked.weight"] == "marked _no_weight_decay"
    assert reasons["plain.bias"] == "bias of Linear"
    assert "not a weight by role" in reasons["kernel"]


class Multiplies(nn.Module):
    """A module that torch does not know."""

    __module__ = "library.layers"

    def __init__(self, *shape: int, name: str = "weight") -> None:
        super().__init__()
        self.register_parameter(name, nn.Parameter(torch.ones(shape)))
        self.bias = nn.Parameter(torch.ones(2, 2))


Conv1D = type("Conv1D", (Multiplies,), {"__module__": "transformers.pytorch_utils"})
LayerNorm2d = type("LayerNorm2d", (Multiplies,), {"__module__": "library.layers"})
LookupEmbedding = type("LookupEmbedding", (Multiplies,), {"__module__": "library.layers"})


class Cosine(nn.Linear):
    """A subclass says what it is, whatever its name."""


CosineNorm = type("CosineNorm", (Cosine,), {"__module__": "library.layers"})


def scripted(module: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(module)


OTHERS: list[tuple[nn.Module, str, str]] = [
    (Conv1D(2, 3), "weight", "weight of transformers.Conv1D"),
    (Multiplies(2, 3, 4), "weight", "weight of library.Multiplies"),
    (Multiplies(2, 3, name="key_weight"), "key_weight", "weight of library.Multiplies"),
    (Multiplies(3), "", "not a weight by role"),
    (Multiplies(2, 3, name="kernel"), "", "kernel of library.Multiplies: not a weight"),
    (LayerNorm2d(2, 3), "", "not a weight by role"),
    (nn.LayerNorm((2, 3)), "", "not a weight by role"),
    (LookupEmbedding(2, 3), "", "weight of library.LookupEmbedding: an embedding"),
    (CosineNorm(2, 3), "weight", "weight of library.CosineNorm"),
    (scripted(nn.Linear(2, 3)), "weight", "weight of Linear"),
    (scripted(nn.LayerNorm((2, 3))), "", "not a weight by role"),
    (scripted(nn.Embedding(2, 3)), "", "weight of Embedding: an embedding"),
]


@pytest.mark.parametrize(("module", "expected", "reason"), OTHERS)
def test_modules_of_other_libraries_go_by_role(
    module: nn.Module, expected: str, reason: str
) -> None:
    model = nn.ModuleDict({"tested": module, "other": nn.Linear(1, 1)})
    assert names(model) == {f"tested.{expected}"} - {"tested."} | {"other.weight"}
    first, *_ = explain_selection(model)
    assert reason in first.reason


def test_a_lazy_weight_of_another_library_waits_for_its_size() -> None:
    module = Multiplies(1, 1)
    module.weight = nn.UninitializedParameter()
    assert explain_selection(module)[0].waiting
    module.weight.materialize((3,))
    with pytest.raises(ShrinkageError, match="matches no parameter"):
        explain_selection(module)


class Computes(nn.Module):
    """Its weight is a property of its parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight_raw = nn.Parameter(torch.ones(2, 2))

    @property
    def weight(self) -> Tensor:
        return self.weight_raw.tanh()


def masked(name: str, module: nn.Module) -> nn.Module:
    return prune.random_unstructured(module, name, amount=0.5)


PARTS = {
    "prune": (lambda: masked("weight", nn.Linear(2, 2)), "weight"),
    "prune of a recurrent layer": (lambda: masked("weight_hh_l0", nn.LSTM(2, 2)), "weight_hh_l0"),
    "spectral_norm": (lambda: nn.utils.spectral_norm(nn.Linear(2, 2)), "weight"),
    "a property": (Computes, "weight"),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_parameter_from_which_a_weight_is_computed_is_not_the_weight(name: str) -> None:
    make, effective = PARTS[name]
    model = nn.ModuleDict({"tested": make(), "other": nn.Linear(1, 1)})
    rows = [row for row in explain_selection(model) if row.role == "part"]
    assert [row.parametrized for row in rows] == [True]
    assert f"only a part of the effective weight tested.{effective}," in rows[0].reason
    assert rows[0].name not in names(model)
    assert rows[0].name in names(model, rows[0].name)


def test_both_directions_of_a_pruned_recurrent_layer_are_told_apart() -> None:
    model = masked("weight_hh_l0", nn.LSTM(2, 2, bidirectional=True))
    assert names(model) == {"weight_ih_l0", "weight_ih_l0_reverse", "weight_hh_l0_reverse"}


@pytest.mark.parametrize("name", ["bn1", "ln_f", "norm", "attn", "bias_free", "weight"])
def test_a3_names_decide_nothing(name: str) -> None:
    model = nn.ModuleDict({name: nn.Linear(2, 2), "other": nn.ModuleDict({name: nn.LayerNorm(2)})})
    assert names(model) == {f"{name}.weight"}


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(4, 2)
        self.head = nn.Linear(2, 4, bias=False)
        self.head.weight = self.embed.weight
        self.again = self.head


def test_a4_tied_weights_are_listed_once_with_all_their_names() -> None:
    (row,) = explain_selection(Tied(), everything)
    assert (row.name, row.shared) == ("embed.weight", ("head.weight", "again.weight"))
    for select in (everything, "head.*", re.compile("again"), nn.Linear, nn.Embedding):
        assert names(Tied(), select) == {"embed.weight"}


def test_an_embedding_is_one_also_where_an_output_layer_is_tied_to_it() -> None:
    model = nn.ModuleDict({"tied": Tied(), "body": nn.Linear(2, 2)})
    head_first = nn.Sequential(nn.Linear(2, 4), Tied())
    head_first[0].weight = head_first[1].embed.weight
    assert names(model) == {"body.weight"}
    with pytest.raises(ShrinkageError, match=r"has 0.weight \(weight of Embedding\), 0.bias"):
        explain_selection(head_first)


def compiled(model: nn.Module) -> Any:
    return torch.compile(model, backend="eager")


def compiled_inside(model: nn.ModuleDict) -> nn.Module:
    model["features"] = compiled(model["features"])
    return model


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")  # torch's compiler itself
@pytest.mark.parametrize(
    "wrap",
    [compiled, nn.DataParallel, lambda m: nn.DataParallel(compiled(m)), compiled_inside],
    ids=["compile", "data parallel", "both", "a part"],
)
def test_names_are_those_of_the_model_inside_its_wrappers(wrap: Any) -> None:
    inner = nn.ModuleDict({"features": nn.Sequential(nn.Linear(2, 2)), "head": nn.Linear(2, 2)})
    expected, wrapped = dict(inner.named_parameters()), wrap(inner)
    rows = explain_selection(wrapped)
    assert {row.name for row in rows} == expected.keys()
    assert all(row.tensor is expected[row.name] for row in rows)
    assert names(wrapped, "features.*") == {"features.0.weight", "features.0.bias"}


def test_the_linear_layer_inside_attention_is_called_one() -> None:
    reasons = {row.name: row.reason for row in explain_selection(nn.MultiheadAttention(2, 1))}
    assert reasons["out_proj.weight"] == "weight of Linear"


def test_a_model_without_weights_by_role_says_what_it_has() -> None:
    message = r"the model has weight \(weight of Embedding\); select some by name, or everything"
    with pytest.raises(ShrinkageError, match=message):
        selected_parameters(nn.Embedding(3, 2))


def test_a5_a_selection_can_be_used_again() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    assert names(model) == names(model) == {"0.weight", "1.weight"}


def test_a7_a_parametrized_weight_is_not_taken_for_the_weight() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    nn.utils.parametrizations.weight_norm(model[0])
    reasons = {row.name: row.reason for row in explain_selection(model)}
    assert names(model) == {"1.weight"}
    assert "effective weight" in reasons["0.parametrizations.weight.original1"]


MODEL = nn.ModuleDict(
    {"features": nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), "head": nn.Linear(2, 2)}
)


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        (weights, {"features.0.weight", "head.weight"}),
        (everything, set(dict(MODEL.named_parameters()))),
        ("head.*", {"head.weight", "head.bias"}),
        ("*.weight", {"features.0.weight", "features.1.weight", "head.weight"}),
        ("head.weight", {"head.weight"}),
        (re.compile(r"^features\.0"), {"features.0.weight", "features.0.bias"}),
        (re.compile("bias"), {"features.0.bias", "features.1.bias", "head.bias"}),
        (nn.LayerNorm, {"features.1.weight"}),
        (nn.Linear, {"features.0.weight", "head.weight"}),
        (lambda name, tensor: tensor.dim() == 2, {"features.0.weight", "head.weight"}),
        (lambda name, tensor: name.startswith("head"), {"head.weight", "head.bias"}),
    ],
)
def test_ways_to_select(select: Any, expected: set[str]) -> None:
    assert names(MODEL, select) == expected


@pytest.mark.parametrize(
    ("select", "message"),
    [
        ("heed.weight", r"'heed\.weight' matches no parameter.*nearest names: head\.weight"),
        ("*.gamma", "matches no parameter that can be penalized; nearest names: "),
        ("features.?", r"these are modules, .*names of tensors: 'features\.\?\.\*'"),
        (nn.Conv2d, "select=Conv2d matches no.*the model has parameters of Linear, LayerNorm"),
        (lambda name, tensor: False, "matches no parameter"),
        (3, r"select=3 is not a selection; give weights, everything, a glob"),
        (["head.*"], "is not a selection, but several; give re.compile"),
        (
            MODEL["head"],
            r"select is a module, a Linear; select its tensors by name, head\.\*, or all",
        ),
        (MODEL, "select is a module, a ModuleDict; select all modules of a type"),
        (int, "is not a selection"),
    ],
)
def test_fault_25_a_selection_of_nothing_is_refused(select: Any, message: str) -> None:
    with pytest.raises(ShrinkageError, match=message):
        selected_parameters(MODEL, select)


def test_a_model_without_parameters_is_refused() -> None:
    with pytest.raises(ShrinkageError, match="the model has no parameters"):
        selected_parameters(nn.ReLU())


def test_b9_what_is_no_floating_point_tensor_is_skipped_with_its_reason() -> None:
    model = nn.Linear(2, 2)
    model.register_parameter("codes", nn.Parameter(torch.ones(2).int(), requires_grad=False))
    model.register_parameter("mask", nn.Parameter(torch.ones(2).bool(), requires_grad=False))
    model.register_parameter("empty", nn.Parameter(torch.empty(0, 2)))
    model.register_parameter("later", nn.UninitializedParameter())
    model.register_parameter("missing", None)
    model.half()
    assert names(model, everything) == {"weight", "bias"}
    reasons = {row.name: row.reason for row in explain_selection(model, everything)}
    assert reasons["codes"] == "not a floating-point tensor (torch.int32)"
    assert reasons["mask"] == "not a floating-point tensor (torch.bool)"
    assert reasons["empty"] == "empty"
    assert reasons["later"] == "not initialized yet: everything"


def test_b8_complex_tensors_are_selected_like_others() -> None:
    model = nn.ModuleDict({"phase": nn.Linear(2, 2, dtype=torch.cfloat), "head": nn.Linear(2, 2)})
    assert names(model, "head.*") == {"head.weight", "head.bias"}
    assert selected_parameters(model).keys() == {"phase.weight", "head.weight"}


def test_selected_tensors_are_the_parameters_themselves() -> None:
    selected: dict[str, Tensor] = selected_parameters(MODEL)
    parameters = dict(MODEL.named_parameters())
    assert all(selected[name] is parameters[name] for name in selected)


def test_a_tensor_is_no_model() -> None:
    with pytest.raises(ShrinkageError, match=r"Tensor is not a module; .* penalty\.value\(w\)"):
        L2(0.1)(torch.ones(3))  # type: ignore[arg-type]


def test_weights_is_no_function_of_one_tensor() -> None:
    with pytest.raises(ShrinkageError, match="pass it as select=weights"):
        weights("weight", torch.ones(1))
