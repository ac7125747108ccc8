"""Every display: files of stable bytes, light and dark, learning curves, comparisons."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import matplotlib as mpl
import pytest
import torch
from _results import make_result
from matplotlib import style
from matplotlib.figure import Figure

from shrinkage.choose import curve
from shrinkage.errors import ShrinkageError
from shrinkage.plots import (
    ComparisonDisplay,
    LearningCurvesDisplay,
    plot_comparison,
    plot_cv,
    plot_learning_curves,
    plot_path,
    plot_weights,
)

PLOTS = (plot_path, plot_cv, plot_weights, plot_learning_curves)
NAN = math.nan
ROWS = [
    ("L1", -0.001, -0.003, 0.001),
    ("diverged", NAN, NAN, NAN),
    ("dropout", 0.006, 0.004, 0.008),
    ("L2 with a $math$ name\n that is far too long to be written out", -0.002, -0.004, -0.001),
]
DRAW_ALL = """
import sys
from itertools import pairwise
from pathlib import Path
from _results import make_result
from test_plots import PLOTS, ROWS
from shrinkage.plots import plot_comparison
drawn = [plot(make_result(6, 3, 2, sparse=True)) for plot in PLOTS] + [plot_comparison(ROWS)]
for i, display in enumerate(drawn):
    display.save(Path(sys.argv[1]) / f"{i}.svg")
drawn[1].save(Path(sys.argv[1]) / "cv.pdf")
drawn[1].save(Path(sys.argv[1]) / "cv.png")
"""


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    paths = [str(Path(__file__).parent), *filter(None, sys.path)]
    started = []
    for seed in ("1", "2"):
        (tmp_path / seed).mkdir()
        own = {"PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(paths)}
        command = [sys.executable, "-c", DRAW_ALL, str(tmp_path / seed)]
        started.append(subprocess.Popen(command, env={**os.environ, **own}))
    assert [process.wait() for process in started] == [0, 0]
    one, other = (
        {path.name: path.read_bytes() for path in (tmp_path / seed).iterdir()} for seed in "12"
    )
    assert len(one) == 7
    assert one == other


def test_dark_paper_gets_light_ink() -> None:
    with style.context("dark_background"):
        dark = plot_cv(make_result())
    light = plot_cv(make_result())

    def lightness(color: object) -> float:
        return sum(mpl.colors.to_rgb(color)) / 3

    assert lightness(dark.figure_.get_facecolor()) < 0.1
    assert lightness(light.figure_.get_facecolor()) > 0.9
    for display, paper in ((dark, 0.08), (light, 1.0)):
        ink = [display.ax_.yaxis.label.get_color(), display.errorbar_.lines[0].get_color()]
        ink += [line.get_color() for line in display.mark_lines_]
        assert all(abs(lightness(color) - paper) > 0.3 for color in ink)


def test_fonts_are_the_users() -> None:
    with mpl.rc_context({"font.family": "DejaVu Serif"}):
        label = plot_cv(make_result()).ax_.yaxis.label
    assert label.get_fontfamily() == ["DejaVu Serif"]


@pytest.mark.parametrize("width", [6.9, 3.3])
@pytest.mark.parametrize("plot", PLOTS)
def test_nothing_leaves_the_page(plot: type, width: float) -> None:
    figure = plot(make_result(12, 3, 2, sparse=True), width=width).figure_
    figure.canvas.draw()
    box = figure.get_tightbbox()
    assert figure.get_figwidth() == width
    assert box.x0 >= 0
    assert box.y0 >= 0
    assert box.x1 <= width
    assert box.y1 <= figure.get_figheight()


def test_a_notebook_shows_our_figure_and_not_the_callers() -> None:
    png = plot_cv(make_result())._repr_png_()
    assert png is not None
    assert png.startswith(b"\x89PNG")
    assert plot_cv(make_result(), ax=Figure().subplots())._repr_png_() is None


def test_a_display_is_told_in_a_word() -> None:
    assert repr(plot_cv(make_result())) == "<CVDisplay>"


def test_saving_refuses_another_ending_and_a_display_without_ink(tmp_path: Path) -> None:
    with pytest.raises(ShrinkageError, match=r"must end in \.svg, \.pdf or \.png"):
        plot_cv(make_result()).save(tmp_path / "cv.jpg")
    with pytest.raises(ShrinkageError, match="call plot"):
        LearningCurvesDisplay.from_result(make_result()).save(tmp_path / "curves.svg")
    assert not list(tmp_path.iterdir())


def test_learning_curves_are_the_numbers() -> None:
    result = make_result(9, 4, 2, 7, rows=9)
    display = plot_learning_curves(result)
    rows = torch.tensor([3, 2, 2, 2], dtype=torch.float64)
    index = result.strengths.tolist().index(display.strengths[1].item())
    assert display.rules == ("no penalty", "minimum = one standard error")
    per_fold = result.valid_loss[index].double().mean(1)
    mean = (rows @ per_fold) / 9
    assert list(display.valid_lines_[1].get_ydata()) == pytest.approx(mean.tolist())
    assert mean[-1] == pytest.approx(curve(result).mean[index])
    shown = display.train_lines_[0].get_ydata()
    assert list(shown) == pytest.approx(result.train_loss[0].double().mean((0, 1)).tolist())
    error = (rows @ (per_fold - mean).square() / 9 / 3).sqrt()
    assert display.standard_error[1].tolist() == pytest.approx(error.tolist())


def test_learning_curves_of_one_strength_fold_and_epoch() -> None:
    display = plot_learning_curves(make_result(1, 1, 1, 1))
    assert display.rules == ("no penalty = minimum",)
    assert display.standard_error.isnan().all()
    display.figure_.canvas.draw()


def test_learning_curves_keep_a_linear_axis_without_decades() -> None:
    result = make_result()
    assert plot_learning_curves(result).ax_.get_yscale() == "log"
    flat = {
        name: torch.full_like(getattr(result, name), 0.5) for name in ("train_loss", "valid_loss")
    }
    assert plot_learning_curves(make_result(**flat)).ax_.get_yscale() == "linear"


def test_a_comparison_is_sorted_and_says_what_is_sure() -> None:
    display = plot_comparison(ROWS)
    assert [row.name[:2] for row in display.rows] == ["L2", "L1", "dr", "di"]
    answers = [display.answer(row) for row in display.rows]
    assert answers == ["better", "cannot tell", "worse", "cannot tell"]
    assert [point.get_xdata()[0] for point in display.points_] == [-0.002, -0.001, 0.006]
    hollow = [point.get_markerfacecolor() != point.get_color() for point in display.points_]
    assert hollow == [False, True, False]
    display.figure_.canvas.draw()


def test_a_comparison_of_accuracies_turns_around() -> None:
    display = ComparisonDisplay.from_rows(ROWS, measure="accuracy", lower_is_better=False)
    assert [row.name[:2] for row in display.rows] == ["dr", "L1", "L2", "di"]
    assert [display.answer(row) for row in display.rows[:3]] == ["better", "cannot tell", "worse"]


@pytest.mark.parametrize("lower_is_better", [True, False])
def test_an_interval_that_touches_zero_is_a_tie(lower_is_better: bool) -> None:
    rows = [("a", 1.0, 0.0, 2.0), ("b", -1.0, -2.0, 0.0)]
    display = ComparisonDisplay.from_rows(rows, lower_is_better=lower_is_better)
    assert {display.answer(row) for row in display.rows} == {"cannot tell"}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "nothing to compare"),
        ([("L2", 1.0)], "is not \\(name, difference, low, high"),
        ([("L2", "much", 0.0, 1.0)], "is not \\(name, difference"),
        ([("L2", 2.0, 0.0, 1.0)], "outside of its interval"),
        ([None], "is not \\(name"),
    ],
)
def test_rows_that_are_none_are_refused(rows: list[object], message: str) -> None:
    with pytest.raises(ShrinkageError, match=message):
        plot_comparison(rows)  # type: ignore[arg-type]


def test_many_contenders_get_a_higher_figure() -> None:
    many = plot_comparison([(f"contender {i}", i, i - 1, i + 1) for i in range(60)])
    many.figure_.canvas.draw()
    labels = [tick.get_window_extent() for tick in many.ax_.get_yticklabels()]
    assert not any(a.overlaps(b) for a, b in pairwise(labels))
