"""A picture of a run: its file, its caption, and that no figure stays open; the axes that projects share."""

import numpy as np
import pytest

from common.publishing import curves
from common.publishing.curves import plt
from common.runs import run_directory


@pytest.fixture
def run(tmp_path):
    return run_directory.open_for_test(tmp_path)


def test_a_picture_has_a_file_and_a_caption_and_is_closed(run):
    with curves.picture(run, "sizes", "Two bars.", 1, 2, figsize=(4, 2)) as (left, right):
        curves.bars(left, ["first", "second"], [3.0, 1.0], curves.BLUE, ["3 B", "1 B"])
        right.plot([1, 2], [10, 100])
        curves.set_log(right)
        assert [bar.get_width() for bar in left.patches] == [3.0, 1.0]
        assert [label.get_text() for label in left.get_yticklabels()] == ["first", "second"]
        low, high = left.get_ylim()
        assert low > high  # from top to bottom
    assert (run.plots / "sizes.png").stat().st_size > 1000
    assert (run.plots / "sizes.txt").read_text() == "Two bars.\n" and not plt.get_fignums()


def test_a_drawing_that_fails_leaves_neither_figure_nor_file(run):
    with pytest.raises(ValueError, match="no data"), curves.picture(run, "broken", ""):
        raise ValueError("no data")
    assert not (run.plots / "broken.png").exists() and not plt.get_fignums()


@pytest.mark.parametrize(("count", "columns", "rows"), [(1, 1, 1), (4, 4, 1), (6, 4, 2)])
def test_panels_stand_in_rows_of_four(run, count, columns, rows):
    titles = [f"layer {index}" for index in range(count)]
    with curves.panels(run, "panels", "Layers.", titles) as axes:
        assert [axis.get_title() for axis in axes] == titles
        grid = axes[0].get_gridspec()
        assert (grid.ncols, grid.nrows) == (columns, rows)
        assert sum(axis.axison for axis in axes[0].figure.axes) == count


def test_a_series_leaves_out_rows_without_a_value():
    rows = [{"step": "1", "loss": "0.5"}, {"step": "2", "loss": ""}, {"step": "3", "loss": "0.25"}]
    steps, values = curves.series(rows, "loss")
    assert steps.tolist() == [1, 3] and values.tolist() == [0.5, 0.25]


def test_columns_have_nan_for_what_is_missing():
    rows = [{"a": 1, "b": None}, {"a": 2.5}]
    np.testing.assert_array_equal(curves.column(rows, "a"), [1, 2.5])
    assert np.isnan(curves.column(rows, "b")).all()
