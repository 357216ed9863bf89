"""The lines of README.md run: a plain function, NNX and Linen, all with the same weights, explained alike.

Those of Equinox and Haiku run in their own environment, see tests/peers/test_public_networks_live.py.
"""

import re

import jax
import numpy as np
import pytest
from flax import linen, nnx

from projects.attribution.page import page

README = page.folder / "README.md"
ALL_BLOCKS = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
BLOCKS = [block for block in ALL_BLOCKS if "equinox" not in block and "haiku" not in block]


class Network(nnx.Module):
    """Two dense layers without biases."""

    def __init__(self, params):
        self.first, self.second = nnx.Param(params["first"]), nnx.Param(params["second"])

    def __call__(self, x):
        return jax.nn.relu(x.reshape(len(x), -1) @ self.first[...]) @ self.second[...]


class Module(linen.Module):
    """The same."""

    @linen.compact
    def __call__(self, x):
        x = jax.nn.relu(linen.Dense(8, use_bias=False, name="first")(x.reshape(len(x), -1)))
        return linen.Dense(3, use_bias=False, name="second")(x)


@pytest.fixture(scope="module")
def surroundings():
    """What the blocks take from their surroundings."""
    draw = np.random.default_rng(0)
    params = {"first": draw.normal(size=(48, 8)).astype("f"), "second": draw.normal(size=(8, 3)).astype("f")}
    return {
        "params": params, "network": Network(params), "module": Module(),
        "variables": {"params": {name: {"kernel": kernel} for name, kernel in params.items()}},
        "images": draw.normal(size=(2, 4, 4, 3)).astype("f"),
    }  # fmt: skip


def test_the_ways_that_are_shown():
    assert len(BLOCKS) == 3 and len(ALL_BLOCKS) == 5
    for block in ALL_BLOCKS:
        code = [line for line in block.splitlines() if line.strip() and not line.startswith(("import", "from"))]
        assert len(code) <= 5


def test_they_run_and_agree(surroundings):
    maps = []
    for block in BLOCKS:
        names = dict(surroundings)
        exec(compile(block, str(README), "exec"), names)
        maps.append(np.asarray(names["relevance"]))
        if "picture" in names:
            assert names["picture"].shape == (4, 4, 3) and names["picture"].dtype == np.uint8
    assert np.abs(maps[0]).max() > 0 and maps[0].shape == (2, 4, 4, 3)
    for other in maps[1:]:
        np.testing.assert_allclose(other, maps[0], rtol=1e-5, atol=1e-6)


def test_the_tables_are_those_of_the_results():
    text = README.read_text()
    assert page.rendered(text) == text, "python -m projects.attribution.tables --render_readme"
