"""The summary in a terminal, in a notebook and as data: the same facts."""

from __future__ import annotations

import math
from html.parser import HTMLParser
from typing import Any

import pytest
import torch
from torch import nn
from torch.optim import SGD, Adam

from shrinkage.constraints import MaxNorm
from shrinkage.penalties import L1, L2
from shrinkage.regularizing.regularize import Regularization, regularize
from shrinkage.schedules import linear


def two_rules(**options: Any) -> Regularization:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([[3.0, 0, 4]] * 4))
    optimizer = SGD(model.parameters(), lr=0.1)
    rules = {"0.weight": MaxNorm(2.0), "2.weight": L1(0.1) + L2(0.2)}
    handle = regularize(model, optimizer, rules, **options)
    handle.keep = optimizer  # type: ignore[attr-defined]
    return handle


class Reader(HTMLParser):
    """The cells of a table, row by row, and every tag that is open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.rows: list[list[str]] = [[]]
        self.tags: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.add(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_data(self, data: str) -> None:
        if self.rows[-1]:
            self.rows[-1][-1] += data


def test_every_way_to_show_it_says_the_same() -> None:
    console = pytest.importorskip("rich.console")
    summary = two_rules().summary()
    lines = [" ".join(line.split()) for line in str(summary).splitlines()]
    table = [" ".join(row) for row in Reader(summary._repr_html_()).rows]
    assert table == lines[lines.index("") + 1 :]
    wide = console.Console(width=200)
    with wide.capture() as screen:
        wide.print(summary)
    assert [" ".join(line.split()) for line in screen.get().splitlines()] == lines


@pytest.mark.parametrize(("width", "columns"), [(70, 3), (80, 5), (120, 7)])
def test_a_terminal_gets_the_columns_that_fit(width: int, columns: int) -> None:
    console = pytest.importorskip("rich.console").Console(width=width)
    with console.capture() as screen:
        console.print(two_rules().summary())
    header = next(line for line in screen.get().splitlines() if line.startswith("parameter"))
    assert len(header.split()) == columns
    assert all(len(line) <= width for line in screen.get().splitlines())


def test_html_is_escaped() -> None:
    model = nn.ModuleDict({"<script>alert(1)</script>": nn.Linear(2, 2)})
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, {"<script>*weight": L2(0.1), "*": L1(0.1)})
    reader = Reader(handle.summary()._repr_html_())
    assert "script" not in reader.tags
    assert reader.rows[1][0] == "<script>alert(1)</script>.weight"


def test_a_constraint_shows_how_far_outside_and_a_sum_its_terms() -> None:
    handle = two_rules()
    first, _, second, _ = handle.summary().rows
    assert first["violation"] == 3.0  # rows of norm 5 where 2 is allowed
    assert (second["penalty"], second["violation"], second["rule_number"]) == ("L1 + L2", 0.0, 2)
    assert "outside by 3" in str(handle.summary())
    model = handle._targets.model
    with torch.no_grad():
        model[0].weight.zero_()
    assert handle.summary().rows[0]["violation"] == 0
    assert "MaxNorm, rule 1" in str(handle.summary())
    assert "inside" in str(handle.summary())


def test_a_schedule_shows_the_strength_now() -> None:
    model = nn.Linear(2, 2)
    optimizer = SGD(model.parameters(), lr=0.1)
    handle = regularize(model, optimizer, L2(0.1), schedule=linear(0.5, 1.0, steps=10))
    summary = handle.summary()
    assert summary.title.startswith("L2(0.1)")
    assert "now L2(0.05)" in summary.notes
    assert "elsewhere: torch weight_decay=0.1, Keras L2(0.05)" in summary.notes
    assert summary.rows[0]["strength"] == 0.05


def test_the_twins_of_a_decoupled_l2_are_those_that_decouple() -> None:
    model = nn.Linear(2, 2)
    optimizer = Adam(model.parameters())
    handle = regularize(model, optimizer, L2(0.1), how="decoupled")
    twins = "elsewhere: torch AdamW weight_decay=0.2, Keras optimizers weight_decay=0.2"
    assert twins in handle.summary().notes


def test_what_is_seldom_meant_is_among_the_notes() -> None:
    model = nn.Linear(2, 2)
    optimizer = SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    with pytest.warns(UserWarning, match="double decay"):
        handle = regularize(model, optimizer, L2(0.1))
    (note,) = handle.cautions()
    assert note in handle.summary().notes


def test_without_data_there_are_shapes_only() -> None:
    model = nn.Linear(4, 3, device="meta")
    optimizer = SGD(model.parameters(), lr=0.1)
    row, _ = regularize(model, optimizer, L2(0.1)).summary().rows
    assert row["numel"] == 12
    assert all(math.isnan(row[key]) for key in ("value", "zeros"))
