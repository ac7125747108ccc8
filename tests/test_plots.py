"""The figure of a path: what it shows, names as text, stable bytes."""

from __future__ import annotations

import math
import threading
from pathlib import Path
from xml.etree import ElementTree

import matplotlib as mpl
import pytest
from _results import make_result
from matplotlib.figure import Figure

from shrinkage import files
from shrinkage.choose import curve, minimum, one_standard_error
from shrinkage.errors import ShrinkageError
from shrinkage.plots import PathDisplay, plot_path, save_figures


def test_display_holds_data_before_it_draws() -> None:
    result = make_result()
    display = PathDisplay.from_result(result)
    assert not hasattr(display, "ax_")
    assert display.marks == {
        "minimum": minimum(result).strength,
        "one standard error": one_standard_error(result).strength,
    }
    assert display.plot() is display
    assert isinstance(display.figure_, Figure)


def test_the_lines_are_the_numbers() -> None:
    result = make_result(9, 4, 2)
    display = PathDisplay.from_result(result).plot()
    values = curve(result)
    line = display.errorbar_.lines[0]
    assert line.get_xdata() == pytest.approx(result.strengths[1:].tolist())
    assert line.get_ydata() == pytest.approx(values.mean[1:].tolist())
    level = values.mean[0].item()
    assert display.zero_line_.get_ydata() == pytest.approx([level, level])
    expected = result.refit.norms.double().mean(1)[1:, 1].tolist()
    assert display.norm_lines_[1].get_ydata() == pytest.approx(expected)
    marked = {line.get_xdata()[0] for line in display.mark_lines_}
    assert marked == set(display.marks.values())


def test_given_axes_are_used() -> None:
    upper, lower = Figure().subplots(2)
    display = PathDisplay.from_result(make_result()).plot((upper, lower))
    assert (display.ax_, display.norm_ax_) == (upper, lower)
    alone = PathDisplay.from_result(make_result()).plot(Figure().subplots())
    assert alone.norm_ax_ is None
    assert alone.norm_lines_ == []


def test_labels_of_the_chosen_strengths_never_overlap() -> None:
    result = make_result(14, 3, 1)
    grid, display = result.strengths.tolist(), PathDisplay.from_result(result)
    for low, high in [
        (0, 0),
        (0, 1),
        (0, 4),
        (0, 13),
        (1, 9),
        (3, 4),
        (4, 12),
        (7, 8),
        (8, 9),
        (9, 10),
        (12, 13),
    ]:
        display.marks = {"minimum": grid[low], "one standard error": grid[high]}
        display.plot()
        boxes = [label.get_window_extent() for label in display.mark_labels_]
        assert len(boxes) == len({low, high})
        frame = display.ax_.bbox
        assert all(frame.x0 < box.x0 < box.x1 < frame.x1 for box in boxes)
        assert not boxes[0].overlaps(boxes[-1]) or len(boxes) == 1


@pytest.mark.parametrize("K", [1, 2, 3, 30])
def test_short_and_long_paths(K: int) -> None:
    plot_path(make_result(K, 3, 1)).canvas.draw()


def test_one_fold_has_no_bars_and_no_verdict() -> None:
    display = PathDisplay.from_result(make_result(5, 1, 2)).plot()
    assert list(display.marks) == ["minimum"]
    assert "One fold" in display.caption
    assert "No verdict" in display.headline
    display.figure_.canvas.draw()


def test_diverged_strengths_are_left_out_and_named() -> None:
    result = make_result(6, 3, 2, diverged=[(5, 0, 0), (5, 1, 1)])
    result.refit.diverged[4, 0] = 2
    display = PathDisplay.from_result(result).plot()
    assert "because training diverged: strength 1.0e+00." in display.caption
    assert "Left out from the norms" in display.caption
    shown = [float(y) for y in display.errorbar_.lines[0].get_ydata()]
    assert [math.isnan(y) for y in shown] == [False] * 4 + [True]
    assert math.isnan(display.norm_lines_[0].get_ydata()[3])
    display.figure_.canvas.draw()


def test_without_strength_zero_the_rest_is_still_drawn() -> None:
    plot_path(make_result(6, 3, 2, diverged=[(0, 0, 0)])).canvas.draw()


def test_all_diverged_is_refused() -> None:
    with pytest.raises(ShrinkageError, match="no strength can be chosen"):
        plot_path(make_result(2, 2, 1, diverged=[(0, 0, 0), (1, 0, 0)]))


def test_sparsity_appears_only_with_exact_zeros() -> None:
    assert PathDisplay.from_result(make_result()).plot().sparsity_line_ is None
    line = PathDisplay.from_result(make_result(sparse=True)).plot().sparsity_line_
    assert line is not None
    assert max(line.get_ydata()) > 0.9


NAMES = ("a$b$", "$\\frac{$", "_private.weight", "<script>&", "line\nbreak\0", "x" * 10_000)


def test_names_are_shown_as_text(tmp_path: Path) -> None:
    result = make_result(5, 2, 1, names=NAMES, sparse=True)
    legend = PathDisplay.from_result(result).plot().norm_ax_.get_legend()  # type: ignore[union-attr]
    shown = [text.get_text() for text in legend.get_texts()]
    assert shown[:3] == list(NAMES[:3])
    assert all(len(name) <= 15 and name.isprintable() for name in shown)
    save_figures(result, tmp_path)
    ElementTree.parse(tmp_path / "path.svg")


def test_many_tensors_are_drawn_and_some_named() -> None:
    names = tuple(f"layers.{i}.weight" for i in range(40))
    display = PathDisplay.from_result(make_result(5, 2, 1, names=names)).plot()
    assert len(display.norm_lines_) == 40
    legend = display.norm_ax_.get_legend()  # type: ignore[union-attr]
    assert legend.get_title().get_text() == "40 tensors, 8 named"


def test_accuracy_has_no_training_line() -> None:
    display = PathDisplay.from_result(make_result(), "accuracy").plot()
    assert display.ax_.get_ylabel() == "accuracy"
    assert all(math.isnan(y) for y in display.train_line_.get_ydata())


def test_saved_figures_are_stable_and_free_of_settings(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    save_figures(make_result(), tmp_path / "a")
    with mpl.rc_context({"font.size": 30, "text.usetex": True, "svg.hashsalt": None}):
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
