"""Bad input stops at the door with a sentence that names the argument."""

import dataclasses
import inspect

import jax.numpy as jnp
import numpy as np
import pytest

from kernels.boundary_attack import AttackConfig, Options, Result, attack, prepare
from kernels.boundary_attack.state import COLUMNS, Problem, Rules, State
from tests.kernels.boundary_attack.linear import Linear

pytestmark = pytest.mark.usefixtures("unchecked")

VICTIM = Linear(6)
CONFIG = AttackConfig(budget=20, batch_size=2)
X, LABELS = VICTIM.images(2)


@pytest.mark.parametrize(
    "change",
    [
        {"alpha": 0.0}, {"alpha": 2.01}, {"alpha": -1.0}, {"alpha": float("nan")}, {"noise": "cauchy"}, {"budget": 0},
        {"budget": 2.5}, {"budget": 2**31}, {"lo": 1.0}, {"lo": 2.0}, {"hi": float("inf")}, {"quantize": 1},
        {"cap": 0.0}, {"cap": float("inf")}, {"rescale_after_clip": 1},
        {"delta": 0}, {"eps": -1.0}, {"batch_size": 0}, {"chunk": 0}, {"goal": -1.0}, {"start_trials": -1},
        {"check_every": 0}, {"alpha": (1.0,)}, {"alpha": (1.0, 2.5)}, {"alpha": (1.0, float("nan"))},
    ],
)  # fmt: skip
def test_settings(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        dataclasses.replace(CONFIG, **change)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"x0": X + 1}, "x0 has values"),
        ({"x0": np.where(X > 0.5, np.nan, X)}, "x0 has values that are not finite"),
        ({"x0": X[0]}, "x0 is"),
        ({"x0": X[:0], "labels": LABELS[:0]}, "x0 is"),
        ({"x0": [[0.1, 0.2], [0.3]]}, "x0 is ragged"),
        ({"predict": "svm"}, "predict is 'svm'"),
        ({"predict": lambda images: np.full(len(images), 2**40)}, "predict returned labels from 1099511627776"),
        ({"key": 2**70}, "key is 1180591620717411303424"),
        ({"labels": LABELS.astype(float)}, "labels is float64"),
        ({"labels": LABELS[:1]}, "labels is"),
        ({"targets": LABELS}, "targets.0. is"),
        ({"targets": -1 - LABELS}, "targets has the value"),
        ({"starts": X[:1]}, "starts has shape"),
        ({"starts": X - 3}, "starts has values"),
        ({"ids": np.array([1, -2])}, "ids has values"),
        ({"key": "seed"}, "key is 'seed'"),
        ({"alphas": [1.0]}, "alphas has shape"),
        ({"alphas": [1.0, 2.1]}, "alphas has the value 2.1"),
        ({"alphas": [1.0, 2.0], "settings": AttackConfig(alpha=(1.0, 2.0))}, "alphas is given"),
        ({"settings": {"alpha": 1}}, "settings is dict"),
        ({"predict": lambda images: np.zeros(len(images))}, "predict returned float64"),
        ({"predict": lambda images: np.zeros((len(images), 2), int)}, "predict returned int64 of shape"),
        ({"predict": lambda images: ["a"] * len(images)}, "predict returned"),
        ({"predict": lambda images: jnp.sum(images, 1)}, "predict returned float32"),
    ],
)
def test_arguments(arguments, words):
    call = {"predict": VICTIM.on_host, "x0": X, "labels": LABELS, "settings": CONFIG, "key": 0} | arguments
    with pytest.raises(ValueError, match=words):
        attack(**call)


@pytest.mark.parametrize("call", [attack, prepare])
def test_a_misspelt_keyword_names_the_function(call):
    with pytest.raises(TypeError, match=rf"{call.__name__}\(\) got an unexpected keyword argument 'target'"):
        call(VICTIM.on_host, X, LABELS, CONFIG, target=LABELS)
    names = {field.name for field in dataclasses.fields(Options)}
    assert names <= set(inspect.signature(call).parameters)


@pytest.mark.parametrize("kind", [AttackConfig, Options, Result, Rules, Problem, State])
def test_every_field_is_documented(kind):
    names = kind._fields if hasattr(kind, "_fields") else [field.name for field in dataclasses.fields(kind)]
    lines = [line.split(":")[0] for line in kind.__doc__.splitlines() if ": " in line]
    documented = {name.strip() for line in lines for name in line.split(",")}
    assert not set(names) - documented


def test_every_trace_is_documented():
    assert all(f'"{name}"' in Result.__doc__ for name in (*COLUMNS, "squared_l2_per_pixel"))
