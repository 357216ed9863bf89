"""Names inside of loops and branches: the relevance there, of all steps or of one, and conditions on it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from kernels.attribution import attribute, describe, grad_cam, rules

RANDOM = np.random.default_rng(0)
STACKED = {"w": RANDOM.normal(size=(3, 4, 4)), "b": RANDOM.normal(size=(3, 4))}
X = RANDOM.normal(size=(2, 4))
RULE = rules.ZPlus()


@pytest.fixture(autouse=True)
def double_precision():
    with jax.enable_x64(True):
        yield


def layer(h, one):
    return jax.nn.relu(h @ one["w"] + one["b"])


def stacked(p, x):
    return lax.scan(lambda h, one: (layer(h, one), None), x, p)[0]


def one_by_one(p, x):
    for number in range(3):
        x = layer(x, jax.tree.map(lambda leaf: leaf[number], p))  # noqa: B023
    return x


def nested(p, x):
    """Twice the three layers, the second time with a half of their weights."""
    return lax.scan(lambda h, factor: (stacked({"w": p["w"] * factor, "b": p["b"]}, h), None), x, jnp.array([1, 0.5]))[
        0
    ]


def test_all_steps_and_one():
    _, expected = attribute(one_by_one, STACKED, X, rules=RULE, at=["w#1", "w#2", "w#3", "w#2:input", "relu#3"])
    _, found = attribute(stacked, STACKED, X, rules=RULE, at=["w", "w[1]", "w[-1]", "w:input", "relu#1[2]", "x"])
    np.testing.assert_allclose(found["w"], np.stack([expected[f"w#{n}"] for n in (1, 2, 3)]), atol=1e-12)
    np.testing.assert_allclose(found["w[1]"], expected["w#2"], atol=1e-12)
    np.testing.assert_allclose(found["w[-1]"], expected["w#3"], atol=1e-12)
    np.testing.assert_allclose(found["w:input"][1], expected["w#2:input"], atol=1e-12)
    np.testing.assert_allclose(found["relu#1[2]"], expected["relu#3"], atol=1e-12)
    np.testing.assert_allclose(found["x"], attribute(one_by_one, STACKED, X, rules=RULE)[1], atol=1e-12)
    inside = jax.jit(lambda x: attribute(stacked, STACKED, x, rules=RULE, at="w")[1])(X)
    np.testing.assert_allclose(inside, found["w"], atol=1e-12)
    in_chunks = attribute(stacked, STACKED, X, rules=RULE, at="w[1]", batch_size=1)[1]
    np.testing.assert_allclose(in_chunks, found["w[1]"], atol=1e-12)


def test_loops_in_loops():
    def outside(p, x):
        halved = {"w": p["w"] / 2, "b": p["b"]}
        return stacked(halved, stacked(p, x))

    (first, second) = (f"recurrent#{n}/relu#1" for n in (1, 2))
    _, expected = attribute(outside, STACKED, X, rules=RULE, at=[first, second])
    _, found = attribute(nested, STACKED, X, rules=RULE, at=["relu#1", "relu#1[1]", "relu#1[1, 2]"])
    assert found["relu#1"].shape == (2, 3, 2, 4)
    np.testing.assert_allclose(found["relu#1"], np.stack([expected[first], expected[second]]), atol=1e-12)
    np.testing.assert_allclose(found["relu#1[1]"], expected[second], atol=1e-12)
    np.testing.assert_allclose(found["relu#1[1, 2]"], expected[second][2], atol=1e-12)


def test_conditions_on_steps():
    mask, most = np.array([1.0, 0.5, 0, 2]), [0, 1, 3]
    for here, there in (
        ({"w[1]": most}, {"w#2": most}), ({"w": mask}, {f"w#{n}": mask for n in (1, 2, 3)}),
        ({"relu#1[0]": mask, "relu#1[2]": most}, {"relu#1": mask, "relu#3": most}),
        ({"w[0]:input": lambda r: 2 * r}, {"w#1:input": lambda r: 2 * r}),
    ):  # fmt: skip
        found, expected = (
            attribute(fn, STACKED, X, rules=RULE, condition=condition)[1]
            for fn, condition in ((stacked, here), (one_by_one, there))
        )
        np.testing.assert_allclose(found, expected, atol=1e-12)
        assert np.abs(expected).max() > 1e-3


@pytest.mark.parametrize("which", [0, 1])
def test_branches(which):
    """What is not taken has no relevance."""

    def fn(p, x):
        return lax.cond(p["which"] == 0, lambda p, x: layer(x, p), lambda p, x: x @ p["w"], p, x)

    p = {"w": STACKED["w"][0], "b": STACKED["b"][0], "which": np.int32(which)}
    _, found = attribute(fn, p, X, rules=RULE, at="relu#1")
    expected = np.asarray(layer(X, p)) if which == 0 else np.zeros((2, 4))
    np.testing.assert_allclose(found, expected, atol=1e-12)
    with pytest.raises(ValueError, match=r"'w' is in branch#1/0, branch#1/1: name one"):
        attribute(fn, p, X, rules=RULE, at="w")
    np.testing.assert_allclose(
        attribute(fn, p, X, rules=RULE, at=f"branch#1/{1 - which}/w")[1],
        np.asarray(layer(X, p) if which == 0 else X @ p["w"]), atol=1e-12,
    )  # fmt: skip


def test_names_that_are_none():
    for name, message in (
        ("w[3]", r"names step 3: the loop has 3 of them"), ("w[0, 0]", "has 2 numbers of steps, and lies in 1 loops"),
        ("v", "names no operation; there are w, relu#1, recurrent#1"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            attribute(stacked, STACKED, X, rules=RULE, at=name)
    with pytest.raises(ValueError, match=r"steps on its first axis.*w\[0\]"):
        attribute(stacked, STACKED, X, rules=RULE, at="w", batch_size=1)
    with pytest.raises(ValueError, match="the same tensor twice"):
        attribute(stacked, STACKED, X, rules=RULE, condition={"w[0]": 1, "w": 2})
    with pytest.raises(ValueError, match="lies inside of a loop"):
        grad_cam(stacked, STACKED, X, target=0, at="w")
    assert [row["inside"] for row in describe(nested, STACKED, X, rules=RULE) if row["name"] == "relu#1"] == [
        "recurrent#1/recurrent#1"
    ]
