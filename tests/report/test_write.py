from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from _results import make_crossed, make_result

from shrinkage import ShrinkageError
from shrinkage.plots.ink import DARK, LIGHT
from shrinkage.report import tables, write_report
from shrinkage.report.page import SCRIPTS, render

ASSETS = Path(__file__).parents[2] / "src" / "shrinkage" / "report" / "assets"
NASTY = '</script><script>alert(1)</script><img src=x onerror=alert(1)>\u202e"'


def numbers_in(page: str) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)
    assert found is not None
    (content,) = json.loads(found[1])
    return dict(content)


def test_report_is_one_small_file_that_names_no_address(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    make_result().report(path)
    page = path.read_text(encoding="utf-8")
    assert len(page) < 500_000
    addresses = set(re.findall(r"https?://[^\s\"'<>]+", page))
    assert addresses == {"http://www.w3.org/2000/svg"}  # a name, fetched by nobody
    assert "default-src 'none'" in page
    assert not re.search(r"<(link|img|iframe|object|embed)\b(?![^>]*data:)", page)


def test_policy_names_the_digests_of_the_only_style_and_script() -> None:
    page = render(make_result())
    for tag, kind in (("style", "style-src"), ("script", "script-src")):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.S)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind} 'sha256-{digest}'" in page
    assert not re.search(r'\s(style|on\w+)="', page)


def test_names_are_text() -> None:
    about = {"data": {"name": NASTY}, "command": NASTY, "plan": {"model": NASTY, "loss": NASTY}}
    page = render(make_result(names=(NASTY, "javascript:alert(1)"), about=about))
    assert "<img" not in page
    assert page.count("<script") == 2
    assert "\u202e" not in page
    names = numbers_in(page)["layers"]["names"]
    assert names[0].startswith("</script><script>")


def test_file_that_is_there_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("mine")
    with pytest.raises(ShrinkageError, match="there already"):
        write_report(make_result(), path)
    assert path.read_text() == "mine"
    write_report(make_result(), path, overwrite=True)
    assert path.read_text().startswith("<!doctype html>")


def test_place_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ShrinkageError, match="is a directory"):
        write_report(make_result(), tmp_path)
    with pytest.raises(ShrinkageError, match="no directory"):
        write_report(make_result(), tmp_path / "not" / "there.html")


def test_same_result_gives_the_same_bytes() -> None:
    assert render(make_result()) == render(make_result())


def test_page_has_the_colors_of_the_figures() -> None:
    style = (ASSETS / "style.css").read_text(encoding="utf-8")
    for name in ("paper", "ink", "quiet", "faint", "blue", "orange", "green"):
        assert f"--{name}: light-dark({getattr(LIGHT, name)}, {getattr(DARK, name)})" in style


def test_asset_is_short_enough_to_read() -> None:
    for name in (*SCRIPTS, "style.css", "page.html"):
        assert len((ASSETS / name).read_text(encoding="utf-8").splitlines()) <= 300, name


def test_what_is_shown_is_what_was_measured() -> None:
    result = make_result()
    shown = numbers_in(render(result))
    valid = result.valid_loss[..., -1].double().mean((1, 2))
    loss = shown["validation"]["metrics"][0]
    assert loss["valid"] == pytest.approx(valid.tolist(), rel=1e-4)
    train = result.fit_loss.double().mean((1, 2))
    assert loss["train"] == pytest.approx(train.tolist(), rel=1e-4)
    total = result.norms.double().square().sum(-1).sqrt().mean((1, 2))
    left = (100 * total / total[0]).tolist()
    assert shown["validation"]["top"]["percent"] == pytest.approx(left, rel=1e-4)
    assert result.refit is not None
    norms = result.refit.norms.mean(1).T.tolist()
    for series, wanted in zip(shown["layers"]["norms"], norms, strict=True):
        assert series == pytest.approx(wanted, rel=1e-4)


def test_selection_is_a_table_where_the_result_knows_it() -> None:
    row = {"name": "0.bias", "penalized": False, "why": "bias of Linear", "numbers": 1024}
    weight = {"name": "0.weight", "penalized": True, "why": "weight of Linear", "numbers": 2000}
    page = render(replace(make_result(), about={"selection": [row, weight]}))
    assert "bias of Linear" in page
    assert "1 of 2 tensors, 2,000 of 3,024 numbers of the model." in page
    assert "1,024" in page


def test_a_notebook_shows_the_verdict_and_the_choices() -> None:
    result = make_result()
    shown = result._repr_html_()
    assert "L2 helped: it lowered the loss by" in shown
    for word in ("No penalty", "Minimum = one standard error", "validation loss", "test loss"):
        assert word in shown
    assert repr(result) in shown
    crossed = make_crossed({0.0: 0.1, 0.5: 0.0})
    hostile = replace(crossed, knobs={NASTY: crossed.knobs["dropout"]})
    assert "onerror" in hostile._repr_html_()
    assert "<script" not in hostile._repr_html_()
    lost = make_result(K=2, diverged=[(0, 0, 0), (1, 0, 0)])._repr_html_()
    assert "No strength could be judged" in lost
    assert "<table" not in lost


def test_a_report_of_an_exact_path_leaves_out_what_took_no_part() -> None:
    stepwise = make_result()
    plan = {"loss": "mse", "optimizer": None, "how": None, "epochs": None, "batch_size": None}
    exact = replace(stepwise, about={"engine": "exact, residual at most 1e-12", "plan": plan})
    assert "Learning curves" in render(stepwise)
    page = render(exact)
    assert "Learning curves" not in page
    assert numbers_in(page)["learning"] is None
    facts = dict(tables.facts(exact))
    assert not {"seeds", "training", "optimizer"} & facts.keys()
    assert "proximal" not in facts["penalty"]
    assert "seed" not in facts["members"]
