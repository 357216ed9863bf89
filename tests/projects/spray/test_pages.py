"""The Python blocks of the pages of SpRAy run as they stand."""

import pathlib
import re

import numpy as np
import pytest

from projects.spray import pipelines

PIPELINES = pathlib.Path(pipelines.__file__).with_name("README.md")
PROJECT = PIPELINES.parents[1] / "README.md"


def run_blocks(page: pathlib.Path, folder: pathlib.Path) -> list[dict]:
    """What each block of a page leaves, run in a folder."""
    left = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
            names: dict = {}
            exec(compile(block, page.name, "exec"), names)  # noqa: S102  # the page's own code
            left.append(names)
    return left


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return run_blocks(PIPELINES, tmp_path_factory.mktemp("page"))


def test_a_pipeline_from_maps_to_a_file(ran):
    planted = np.repeat([0, 1], [40, 20])
    assert ran[0]["results"]["select"].k == 2
    np.testing.assert_array_equal(ran[0]["labels"], planted)
    np.testing.assert_array_equal(ran[0]["results"]["clustering"]["eigengap"], planted)


def test_a_pipeline_of_corelay_runs_with_another_import(ran):
    assert ran[1]["embedding"].shape == (40, 6) and (np.diff(ran[1]["eigenvalues"]) >= 0).all()
    assert len(set(ran[1]["three"])) == 3 and ran[1]["tsne"].shape == (40, 2)


def test_a_processor_of_ones_own_runs_in_it(ran):
    assert ran[2]["embedding"].shape == (40, 6) and len(set(ran[2]["labels"])) == 2


def test_ten_lines_from_maps_to_clusters(tmp_path):
    """A fifth of the maps look at a corner."""
    (names,) = run_blocks(PROJECT, tmp_path)
    assert int(names["gap"].k) == 2
    np.testing.assert_array_equal(np.asarray(names["clusters"].sizes), [160, 40])
