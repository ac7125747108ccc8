"""The page in a real Chromium without a network: nothing fetched, nothing run but its script."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from _results import make_crossed, make_result

from shrinkage.penalties import L1
from shrinkage.result.path_result import PathResult

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Chromium (Debian: apt install chromium)"
)
NASTY = (
    "</script><script>document.title='run'</script>",
    "<img src=x onerror=\"document.title='run'\">",
    "javascript:document.title='run'",
    "{{ 7 * 7 }} ${alert(1)} \u202e\x00 '\"&amp;",
    "long" * 2500,
)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as session:
        chromium = session.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def visit(browser: Any, tmp_path: Path) -> Callable[..., Any]:
    """Open the report of a result; whatever it asks for or complains about fails the test."""

    @contextmanager
    def opened(result: PathResult, width: int = 1280, **context: Any) -> Iterator[Any]:
        path = tmp_path / "report.html"
        result.report(path, overwrite=True)
        place = browser.new_context(
            offline=True, viewport={"width": width, "height": 900}, **context
        )
        page, faults, asked = place.new_page(), [], []
        page.on("console", lambda message: faults.append(message.text))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(path.as_uri())
        yield page
        place.close()
        assert faults == []
        assert [url for url in asked if url != "data:,"] == [path.as_uri()]

    return opened


def drawings(page: Any) -> dict[str, str]:
    """The drawn content of every chart, by the id of its place."""
    found: dict[str, str] = page.evaluate(
        """Object.fromEntries([...document.querySelectorAll("svg[role=img]")]
        .map((svg, i) => [svg.parentElement.id || `learning-${i}`, svg.innerHTML]))"""
    )
    return found


def text_of(page: Any) -> str:
    text: str = page.inner_text("main")
    return text


PANELS = {"validation", "norms", "zeros", "calibration", "confusion", "learning-now"}


def test_slider_moves_every_panel_and_its_keys_work(visit: Callable[..., Any]) -> None:
    with visit(make_result(penalty=L1(1.0), sparse=True)) as page:
        before = drawings(page)
        assert set(before) > PANELS
        page.focus("#strength")
        page.keyboard.press("End")
        after = drawings(page)
        for name in PANELS:
            assert before[name] != after[name], name
        assert page.inner_text("#now") == "1.0e+00"
        assert "strength 1.0e+00, validation loss" in page.get_attribute(
            "#strength", "aria-valuetext"
        )
        page.keyboard.press("ArrowLeft")
        assert drawings(page) not in (before, after)
        page.click("#jumps button:first-child")
        assert page.inner_text("#now") == "0"
        assert page.get_attribute("#jumps button:first-child", "aria-pressed") == "true"


def test_press_on_a_chart_chooses_the_nearest_strength(visit: Callable[..., Any]) -> None:
    with visit(make_result()) as page:
        box = page.locator("#validation .touch").bounding_box()
        page.locator("#validation .touch").scroll_into_view_if_needed()
        page.locator("#validation .touch").click(position={"x": box["width"] - 5, "y": 40})
        assert page.inner_text("#now") == "1.0e+00"


def test_the_choice_of_knobs_moves_the_whole_page(visit: Callable[..., Any]) -> None:
    result = make_crossed({0.0: 0.02, 0.3: 0.0, 0.6: 0.05}, sparse=True)
    with visit(result) as page:
        before, words = drawings(page), text_of(page)
        assert "Verdict at dropout 0.3" in words
        page.focus("#slice")
        page.keyboard.press("ArrowDown")
        page.keyboard.press("ArrowDown")
        after, others = drawings(page), text_of(page)
        assert "Verdict at dropout 0.6" in others
        assert "Verdict at dropout 0.3" not in others
        for name in ("validation", "calibration", "learning-now"):
            assert before[name] != after[name], name
        assert set(before) == set(after)
        loss = result.slice(dropout=0.6).valid_loss[0, ..., -1].mean()
        page.click("#jumps button:first-child")
        assert f"{float(loss):.3f}" in page.inner_text("#readout")
        page.select_option("#slice", "0")
        assert drawings(page) == before
        assert text_of(page) == words


def test_the_choice_of_a_metric_moves_its_chart_alone(visit: Callable[..., Any]) -> None:
    with visit(make_result(12, rows=300)) as page:
        before = drawings(page)
        for place, name in enumerate(("accuracy", "balanced accuracy", "area under ROC"), start=1):
            page.focus("#metric")
            page.keyboard.press("ArrowDown")
            after = drawings(page)
            assert {n for n in before if before[n] != after[n]} == {"validation"}
            assert page.inner_text("#validation-title") == f"Validation: {name}"
            assert "NaN" not in after["validation"]
            assert page.evaluate("measured") == place
        page.focus("#strength")
        page.keyboard.press("Home")
        assert drawings(page)["validation"] != after["validation"]
        page.select_option("#metric", "0")
        assert page.inner_text("#validation-title") == "Validation and training loss"


@pytest.mark.parametrize("width", [1280, 390, 320])
def test_a_page_with_knobs_fits_its_window(visit: Callable[..., Any], width: int) -> None:
    with visit(make_crossed({0.0: 0.0, 0.5: 0.1}, task="regression"), width) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == width
        page.evaluate("window.scrollTo(0, document.body.scrollHeight)")
        foot, dial = (page.locator(name).bounding_box() for name in ("footer", "#dial"))
        assert foot["y"] + foot["height"] <= dial["y"]


def test_regression_shows_residuals_that_move(visit: Callable[..., Any]) -> None:
    with visit(make_result(task="regression")) as page:
        before = drawings(page)
        page.focus("#strength")
        page.keyboard.press("Home")
        after = drawings(page)
        assert before["observed"] != after["observed"]
        assert before["residuals"] != after["residuals"]
        assert "Confusion" not in text_of(page)


def test_names_of_others_are_inert_text(visit: Callable[..., Any]) -> None:
    about = {
        "data": {"name": NASTY[0], "sha256": NASTY[1]},
        "command": NASTY[2],
        "plan": {"model": NASTY[3], "loss": NASTY[0], "how": NASTY[1]},
        "versions": {NASTY[0]: NASTY[1]},
        "selection": [{"name": n, "penalized": True, "why": n, "numbers": 1} for n in NASTY],
    }
    result = make_result(names=NASTY, about=about)
    with visit(result, width=390) as page:
        assert page.title().startswith("L2 on </script>")
        assert page.evaluate("document.scripts.length") == 2
        assert page.evaluate("document.images.length") == 0
        assert NASTY[2] in text_of(page)
        assert page.evaluate("document.documentElement.scrollWidth") == 390


@pytest.mark.parametrize("width", [1280, 390, 320])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_page_fits_its_window(visit: Callable[..., Any], width: int, scheme: str) -> None:
    with visit(make_result(K=21), width, color_scheme=scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") == width
        paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (paper == "rgb(255, 255, 255)") == (scheme == "light")
        page.click("#theme")
        other = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (other == "rgb(255, 255, 255)") == (scheme == "dark")


@pytest.mark.parametrize(
    ("P", "says"), [(0, "No tensor was penalized"), (1, None), (10_000, "40 of 10,000 tensors")]
)
def test_any_number_of_series(visit: Callable[..., Any], P: int, says: str | None) -> None:
    names = tuple(f"layers.{p}.weight" for p in range(P))
    with visit(make_result(K=4, F=2, S=1, names=names)) as page:
        assert page.locator("#norms path.series").count() == min(P, 40)
        assert says is None or says in text_of(page)
        assert len(page.content()) < 1_000_000


def test_many_strengths_and_epochs_are_thinned_and_it_says_so(visit: Callable[..., Any]) -> None:
    with visit(make_result(K=2000, F=2, S=1, E=1000)) as page:
        assert "of 2,000 strengths are shown" in text_of(page)
        assert len(page.content()) < 2_000_000


def test_all_nan_is_said_in_words(visit: Callable[..., Any]) -> None:
    K, F, S = 4, 3, 1
    everything = [(k, f, s) for k in range(K) for f in range(F) for s in range(S)]
    result = make_result(K, F, S, diverged=everything)
    nothing = {
        name: torch.full_like(getattr(result, name), torch.nan)
        for name in ("valid_loss", "train_loss", "fit_loss", "norms", "predictions")
    }
    with visit(replace(result, refit=None, **nothing)) as page:
        said = text_of(page)
        assert "No strength could be judged" in said
        assert "No strength has a validation loss" in said
        assert "No learning curve" in said
        assert "No calibration" in said
        assert "No confusion" in said
        assert "NaN" not in said
        assert "nan" not in said


CASES: dict[str, tuple[dict[str, Any], str]] = {
    "no strength but 0": ({"K": 1}, "This path has no strength other than 0"),
    "one strength": ({"K": 2}, "strength"),
    "one fold": ({"F": 1}, "No verdict from one fold"),
    "one seed": ({"S": 1}, "helped"),
    "one epoch": ({"E": 1}, "helped"),
    "no test rows": ({"test": False}, "helped"),
    "no refit": ({"refit": None}, "models of the folds"),
    "strength 0 diverged": ({"diverged": [(0, 0, 0)]}, "Cannot tell"),
    "two classes": ({"classes": 2}, "Confusion"),
    "many classes": ({"classes": 40, "rows": 400}, "12 of 40 classes with the most mistakes"),
    "named classes": ({"about": {"data": {"classes": ["a", "long name", "c"]}}}, "Confusion"),
    "no logits": ({"about": {"plan": {"loss": "hinge"}}}, "outputs may not be logits"),
    "no facts": ({"about": {}}, "To repeat this run"),
}


@pytest.mark.parametrize("case", CASES)
def test_small_and_odd_runs_are_shown(visit: Callable[..., Any], case: str) -> None:
    changes, says = CASES[case]
    with visit(make_result(**changes)) as page:
        assert says.lower() in text_of(page).lower()
        page.focus("#strength")
        page.keyboard.press("End")
        page.keyboard.press("Home")
        assert not page.locator("svg :text('NaN')").count()
        assert "NaN" not in page.evaluate(
            "[...document.querySelectorAll('svg[role=img]')].map((s) => s.outerHTML).join()"
        )


def test_paper_shows_what_a_click_would_open(visit: Callable[..., Any]) -> None:
    with visit(make_result()) as page:
        opened = "[...document.querySelectorAll('details')].map((part) => part.open)"
        assert not any(page.evaluate(opened))
        page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
        assert all(page.evaluate(opened))
        page.emulate_media(media="print")
        assert not page.is_visible("#dial")
