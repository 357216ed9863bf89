"""Columns for plots, and the figure that becomes a picture of the run."""

import numpy as np
import pytest

from common.publishing import curves
from common.runs import run_directory


def test_columns_have_nan_for_what_is_missing():
    rows = [{"a": 1, "b": None}, {"a": 2.5}]
    np.testing.assert_array_equal(curves.column(rows, "a"), [1, 2.5])
    assert np.isnan(curves.column(rows, "b")).all()


def test_a_picture_is_saved_and_closed(tmp_path):
    run = run_directory.open_for_test(tmp_path)
    with curves.picture(run, "two", "A caption.", 1, 2) as (left, _):
        left.plot([0, 1])
    assert (run.plots / "two.png").is_file() and (run.plots / "two.txt").read_text() == "A caption.\n"
    with pytest.raises(KeyError), curves.picture(run, "none", "No caption."):
        raise KeyError
    assert not (run.plots / "none.png").exists() and not curves.plt.get_fignums()
