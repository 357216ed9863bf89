"""The one file that knows JAX's inside: who imports it, what it gives, and that primitives still have their names."""

import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from kernels.attribution import attribute, composites
from kernels.attribution.tracing import jaxpr, primitives
from kernels.attribution.tracing.signs import signs_of

FOLDER = pathlib.Path(jaxpr.__file__).parent.parent


def test_one_file_imports_the_extension_interface():
    users = [
        path.name
        for path in FOLDER.rglob("*.py")
        if re.search(r"jax\.extend|jax\._src|jax\.interpreters", path.read_text())
    ]
    assert users == ["jaxpr.py"]


TABLES = (
    primitives.ELEMENTWISE | primitives.DETACHED | primitives.LAYOUT | primitives.AFFINE | primitives.SUMS
    | primitives.MAXIMA | primitives.WITHOUT_RULE | primitives.NESTED | frozenset(jaxpr.CALLS)
)  # fmt: skip


def test_primitives_keep_their_names():
    """A renamed primitive would fall out of the tables in silence: this JAX has those that networks are made of."""
    names = {
        value.name for value in vars(lax).values() if type(value).__name__ == "Primitive" or hasattr(value, "bind")
    }
    for name in (
        "conv_general_dilated dot_general add sub mul div max min neg exp log tanh logistic erf rsqrt sqrt integer_pow "
        "pow clamp select_n reduce_sum reduce_max reduce_window_sum reduce_window_max cumsum broadcast_in_dim reshape "
        "transpose squeeze pad slice concatenate gather rev split dynamic_slice convert_element_type square"
    ).split():
        assert name in names, f"this JAX has no primitive {name!r}: change the tables of primitives.py"
        assert name in TABLES - primitives.WITHOUT_RULE, name


def test_new_primitives_are_put_into_a_table():
    """A primitive that a release of JAX brings would be refused: it belongs into one of the tables of primitives.py."""
    program = (  # a process of its own: Flax and others bring primitives too
        "import jax; from jax._src.interpreters import ad, mlir\n"
        "tables = [mlir._lowerings, ad.primitive_jvps, *mlir._platform_specific_lowerings.values()]\n"
        "print(*{primitive.name for table in tables for primitive in table})"
    )
    names = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert len(names) > 200 and sorted(set(names) - TABLES) == []


def test_stack_and_unstack():
    w = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    x = np.random.default_rng(1).normal(size=(3, 4)).astype(np.float32)
    _, expected = attribute(lambda p, x: x @ p, w, x, target="argmax", rules="epsilon_plus")
    for fn in (
        lambda p, x: jnp.stack([x @ column for column in jnp.unstack(p, axis=1)], -1),
        lambda p, x: jnp.stack(list(x)) @ p,
        lambda p, x: jnp.concatenate([half @ p for half in jnp.split(x, [1])]),
        lambda p, x: jnp.stack(jnp.unstack(x, axis=1), axis=1) @ p,
    ):
        _, found = attribute(fn, w, x, target="argmax", rules="epsilon_plus")
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_calls_are_inlined_and_activations_kept():
    @jax.jit
    def inner(x):
        return jax.checkpoint(lambda x: jax.nn.relu(x) + 1.0)(x)

    graph = jaxpr.trace(lambda x: jax.nn.softplus(inner(x)) + inner(2 * x), (jnp.ones(3),), [True])
    names = [equation.primitive for equation in graph.equations]
    assert names.count("relu") == 2 and names.count("add") == 3
    assert not set(names) & set(jaxpr.CALLS)
    assert len({id(value) for equation in graph.equations for value in equation.outputs}) == len(names)
    assert all("test_jaxpr.py" in equation.source for equation in graph.equations if equation.primitive == "add")


def test_what_relevance_can_reach():
    def fn(p, x):
        return x["a"] * p + lax.stop_gradient(x["a"]) + jnp.argmax(x["b"]) + x["ids"]

    x = {"a": jnp.ones(3), "b": jnp.ones(3), "ids": jnp.arange(3)}
    graph = jaxpr.trace(fn, (jnp.ones(3), x), [False, True, True, True])
    assert [value.active for value in graph.inputs] == [False, True, True, False]
    active = {equation.primitive for equation in graph.equations if equation.outputs[0].active}
    assert "stop_gradient" not in active and "argmax" not in active and {"mul", "add"} <= active


def test_certain_signs():
    """Every sign that is claimed holds for random inputs."""

    def fn(p, x):
        a = jax.nn.relu(x)
        values = [
            a, -a, a * a, a * p, a + jnp.exp(p), a - jax.nn.relu(p), -a - jax.nn.relu(-p), jnp.minimum(-a, p),
            jnp.maximum(x, jax.nn.sigmoid(p)), jnp.clip(x, -2.0, -1.0), jnp.clip(x, 0.5, 3.0), a.reshape(2, 3).sum(0),
            jnp.concatenate([a, a]), jnp.concatenate([a, x]), jnp.pad(a, 1), jnp.pad(a, 1, constant_values=-1.0),
            a / 3.0, a / -3.0, x**2, jnp.where(p > 0, a, 0.0), jnp.where(p > 0, a, -1.0), jnp.sqrt(a), jnp.tanh(-a),
            lax.cumsum(a), jnp.max(a), jnp.abs(x) * -1.0, jnp.minimum(x, 0.0), jnp.maximum(-a, 0.0), a**1.5,
        ]  # fmt: skip
        return sum(jnp.sum(value) for value in values)

    x, p = np.random.default_rng(0).normal(size=(2, 6)).astype(np.float32) * 3
    graph = jaxpr.trace(fn, (p, x), [False, True])
    signs, values = signs_of(graph), dict(graph.constants)
    values.update(zip(graph.inputs, (p, x), strict=True))
    for equation in graph.equations:
        arrays = equation.apply(*[values[value] for value in equation.inputs])
        values.update(zip(equation.outputs, arrays, strict=True))
    claimed = 0
    for value, sign in signs.items():
        assert not (1 in sign and np.any(np.asarray(values[value]) < 0))
        assert not (-1 in sign and np.any(np.asarray(values[value]) > 0))
        claimed += value.active
    assert claimed >= 25


def test_every_kind_of_a_composite_exists():
    for name in composites.NAMES:
        options = {"low": -1.0, "high": 1.0} if name == "epsilon_gamma_box" else {}
        assert getattr(composites, name)(**options).assign([]) == []
