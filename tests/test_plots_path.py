"""The figure of a path: what it shows, names as text, stable bytes."""

from __future__ import annotations

import math
import threading
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
import torch
from _results import make_result
from matplotlib.figure import Figure

from shrinkage.choose import curve, minimum, one_standard_error
from shrinkage.disk import files
from shrinkage.errors import ShrinkageError
from shrinkage.plots import (
    CVDisplay,
    PathDisplay,
    WeightsDisplay,
    plot_cv,
    plot_path,
    plot_weights,
    save_figures,
)

AXIS_K = (
    "strengths",
    "predictions",
    "train_loss",
    "valid_loss",
    "fit_loss",
    "norms",
    "sparsity",
    "diverged",
)


def test_display_holds_data_before_it_draws() -> None:
    result = make_result()
    display = PathDisplay.from_result(result)
    assert not hasattr(display, "figure_")
    assert display.cv.marks == {
        "minimum": minimum(result).strength,
        "one standard error": one_standard_error(result).strength,
    }
    assert display.plot() is display
    assert isinstance(display.figure_, Figure)
    assert display.axes_ == [display.cv.ax_, display.weights.norm_ax_]


def test_the_lines_are_the_numbers() -> None:
    result = make_result(9, 4, 2, sparsity=torch.rand(9, 4, 2, 2))
    display = PathDisplay.from_result(result).plot()
    cv, values = display.cv, curve(result)
    line = cv.errorbar_.lines[0]
    assert line.get_xdata() == pytest.approx(result.strengths[1:].tolist())
    assert line.get_ydata() == pytest.approx(values.mean[1:].tolist())
    level = values.mean[0].item()
    assert cv.zero_line_.get_ydata() == pytest.approx([level, level])
    norms = result.norms.double().mean((1, 2))[1:, 1].tolist()
    assert display.weights.norm_lines_[1].get_ydata() == pytest.approx(norms)
    zeros = result.sparsity.double().mean((1, 2))[1:, 1].tolist()
    assert display.weights.sparsity_lines_[1].get_ydata() == pytest.approx(zeros)
    assert {line.get_xdata()[0] for line in cv.mark_lines_} == set(cv.marks.values())


def test_given_axes_are_used() -> None:
    result = make_result()
    upper, lower = Figure().subplots(2)
    display = plot_path(result, ax=(upper, lower))
    assert (display.cv.ax_, display.weights.norm_ax_) == (upper, lower)
    assert lower.get_xlabel() == "strength of L2"
    assert not upper.get_xlabel()
    ax = Figure().subplots()
    assert plot_cv(result, ax=ax).ax_ is ax
    assert plot_weights(result, ax=ax).norm_ax_ is ax
    part = Figure().subfigures(1, 2)[0]
    assert plot_path(result, ax=part).cv.ax_.get_figure() is part


def test_one_axes_holds_the_curve_and_two_the_norms_too() -> None:
    result = make_result(sparse=True)
    ax = Figure().subplots()
    display = PathDisplay.from_result(result).plot(ax=ax)
    assert display.axes_ == [display.cv.ax_] == [ax]
    alone = plot_cv(result, ax=Figure().subplots()).ax_
    for own, other in zip(ax.lines, alone.lines, strict=True):
        assert own.get_ydata() == pytest.approx(other.get_ydata(), nan_ok=True)
    labels = [[text.get_text() for text in a.get_legend().get_texts()] for a in (ax, alone)]
    assert labels[0] == labels[1]
    assert ax.get_xlabel() == alone.get_xlabel() == "strength of L2"
    upper, lower = Figure().subplots(2)
    display = PathDisplay.from_result(result).plot(ax=[upper, lower])
    assert (display.weights.norm_ax_, display.weights.sparsity_ax_) == (lower, None)


def test_a_wrong_number_of_axes_is_refused() -> None:
    with pytest.raises(ShrinkageError, match="give 2 axes from top to bottom"):
        plot_path(make_result(), ax=Figure().subplots(3))
    with pytest.raises(ShrinkageError, match="does not fit"):
        plot_path(make_result(), ax=[])
    with pytest.raises(ShrinkageError, match="give 2 axes"):
        plot_weights(make_result(sparse=True), ax=Figure().subplots())
    with pytest.raises(ShrinkageError, match="give 1 axes"):
        plot_cv(make_result(), ax=["axes"])


@pytest.mark.parametrize("width", [0, math.nan, 0.5])
def test_a_width_that_holds_no_figure_is_refused(width: float) -> None:
    with pytest.raises(ShrinkageError, match="give a width in inches"):
        plot_cv(make_result(), width=width)


def test_labels_of_the_chosen_strengths_never_overlap() -> None:
    result = make_result(14, 3, 1)
    grid = result.strengths.tolist()
    display = CVDisplay.from_result(result)
    for low, high in [(0, 0), (0, 1), (0, 13), (1, 9), (3, 4), (7, 8), (9, 10), (12, 13)]:
        for width in (6.9, 3.3) if low in (3, 12) or high == 1 else (6.9,):
            display.marks = {"minimum": grid[low], "one standard error": grid[high]}
            display.plot(width=width)
            display.figure_.draw_without_rendering()
            boxes = [label.get_window_extent() for label in display.mark_labels_]
            assert len(boxes) == len({low, high})
            paper = display.figure_.bbox
            assert all(paper.x0 < box.x0 < box.x1 < paper.x1 for box in boxes)
            assert all(box.y1 < paper.y1 for box in boxes)
            assert not boxes[0].overlaps(boxes[-1]) or len(boxes) == 1


@pytest.mark.parametrize("width", [8.0, 3.3])
def test_words_stay_on_the_page_and_off_the_axes(width: float) -> None:
    result = make_result(20, 5, 3, sparse=True, names=tuple(f"layer{i}.weight" for i in range(12)))
    display = plot_path(result, width=width)
    display.figure_.draw_without_rendering()
    paper = display.figure_.bbox
    boxes = [text.get_window_extent() for text in display.figure_.texts]
    assert len(boxes) == 3
    assert all(box.x0 > 0 and box.x1 < paper.x1 and box.y1 < paper.y1 for box in boxes)
    for ax in display.axes_:
        assert ax.bbox.height > 0.4 * display.figure_.dpi
        assert not any(box.overlaps(ax.get_tightbbox()) for box in boxes)


@pytest.mark.parametrize("K", [1, 2, 3, 30])
def test_short_and_long_paths(K: int) -> None:
    for plot in (plot_path, plot_cv, plot_weights):
        plot(make_result(K, 3, 1)).figure_.canvas.draw()


def test_one_fold_has_no_bars_and_no_verdict() -> None:
    display = PathDisplay.from_result(make_result(5, 1, 2)).plot()
    assert list(display.cv.marks) == ["minimum"]
    assert "One fold" in display.caption
    assert "No verdict" in display.headline
    display.figure_.canvas.draw()


def test_diverged_strengths_are_left_out_and_named() -> None:
    display = plot_path(make_result(6, 3, 2, diverged=[(5, 0, 0), (5, 1, 1)]))
    assert "because training diverged: strength 1.0e+00." in display.caption
    for line in (display.cv.errorbar_.lines[0], display.weights.norm_lines_[0]):
        shown = [float(y) for y in line.get_ydata()]
        assert [math.isnan(y) for y in shown] == [False] * 4 + [True]
    display.figure_.canvas.draw()


def test_without_strength_zero_the_rest_is_still_drawn() -> None:
    plot_path(make_result(6, 3, 2, diverged=[(0, 0, 0)])).figure_.canvas.draw()


@pytest.mark.parametrize("plot", [plot_path, plot_cv, plot_weights])
def test_all_diverged_is_refused(plot: type) -> None:
    with pytest.raises(ShrinkageError, match="no strength can be chosen"):
        plot(make_result(2, 2, 1, diverged=[(0, 0, 0), (1, 0, 0)]))


def test_no_refit_is_needed() -> None:
    plot_path(make_result(refit=None)).figure_.canvas.draw()


def test_sparsity_appears_only_with_exact_zeros() -> None:
    assert plot_weights(make_result()).sparsity_ax_ is None
    lines = plot_weights(make_result(sparse=True)).sparsity_lines_
    assert max(lines[0].get_ydata()) > 0.9


NAMES = ("a$b$", "$\\frac{$", "_private.weight", "<script>&", "line\nbreak\0", "x" * 10_000)


@pytest.mark.parametrize("width", [6.9, 3.3])
def test_names_are_shown_as_text(tmp_path: Path, width: float) -> None:
    result = make_result(5, 2, 1, names=NAMES, sparse=True)
    display = plot_weights(result, width=width)
    (legend,) = [ax.get_legend() for ax in display.figure_.axes if ax.get_legend()]
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown[:3] == list(NAMES[:3])
    assert all(len(name) <= 23 and name.isprintable() for name in shown)
    display.save(tmp_path / "weights.svg")
    ElementTree.parse(tmp_path / "weights.svg")


def test_many_tensors_are_drawn_and_some_named() -> None:
    names = tuple(f"layers.{i}.weight" for i in range(40))
    display = WeightsDisplay.from_result(make_result(5, 2, 1, names=names)).plot()
    assert len(display.norm_lines_) == 40
    assert display.norm_ax_.get_legend().get_title().get_text() == "40 tensors, 8 named"


def test_accuracy_has_no_training_line() -> None:
    display = plot_cv(make_result(), "accuracy")
    assert display.ax_.get_ylabel() == "accuracy"
    assert all(math.isnan(y) for y in display.train_line_.get_ydata())


def test_saved_figures_are_stable_and_free_of_settings(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    save_figures(make_result(), tmp_path / "a")
    settings = {
        "font.size": 30,
        "font.family": "serif",
        "figure.facecolor": "black",
        "text.usetex": True,
        "svg.hashsalt": None,
    }
    with mpl.rc_context(settings):
        save_figures(make_result(), tmp_path / "b")
        assert mpl.rcParams["font.size"] == 30
    for name in ("path.png", "path.svg"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    png = (tmp_path / "a" / "path.png").read_bytes()
    assert (int.from_bytes(png[16:20]), int.from_bytes(png[20:24])) == (1200, 900)
    svg = (tmp_path / "a" / "path.svg").read_text()
    assert "<dc:date>" not in svg
    assert "Matplotlib v" not in svg


def test_threads_draw_the_same_and_leave_the_settings_alone(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    threads = []
    for i in range(3):
        (tmp_path / str(i)).mkdir()
        threads.append(
            threading.Thread(target=save_figures, args=(make_result(), tmp_path / str(i)))
        )
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({(tmp_path / str(i) / "path.svg").read_bytes() for i in range(3)}) == 1
    assert dict(mpl.rcParams) == before


def test_a_full_disk_keeps_the_old_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "path.png").write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(ShrinkageError, match="No space left"):
        save_figures(make_result(), tmp_path)
    assert (tmp_path / "path.png").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["path.png"]


def test_of_crossed_knobs_the_path_through_the_best_point_is_drawn() -> None:
    alone = make_result(6, 3, 2)
    worse = make_result(6, 3, 2, helped=False)
    both = {name: torch.cat([getattr(worse, name), getattr(alone, name)]) for name in AXIS_K}
    knobs = {"dropout": torch.tensor([0.5] * 6 + [0.1] * 6, dtype=torch.float64)}
    display = plot_path(replace(alone, **both, knobs=knobs, refit=None))
    assert display.title == "L2 at dropout=0.1 path on synthetic"
    assert display.cv.mean.tolist() == pytest.approx(curve(alone).mean.tolist())
    assert len(display.weights.norms) == 6
