"""The Python blocks of the page on pipelines run as they stand."""

import pathlib
import re

import numpy as np
import pytest

from projects.spray import pipelines

PAGE = pathlib.Path(pipelines.__file__).with_name("README.md")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    """What each block leaves."""
    folder = tmp_path_factory.mktemp("page")
    left = []
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for block in BLOCKS:
            names: dict = {}
            exec(compile(block, PAGE.name, "exec"), names)  # noqa: S102  # the page's own code
            left.append(names)
    return left


def test_a_pipeline_from_maps_to_a_file(ran):
    assert ran[0]["labels"].shape == (60,) and set(ran[0]["labels"]) == {0, 1}


def test_a_pipeline_of_corelay_runs_with_another_import(ran):
    assert ran[1]["embedding"].shape == (40, 6) and (np.diff(ran[1]["eigenvalues"]) >= 0).all()
    assert len(set(ran[1]["three"])) == 3 and ran[1]["tsne"].shape == (40, 2)
