"""Zennit's attributors, alone and over composites, recorded (tests/peers/record_zennit.py)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels.attribution import composites
from kernels.attribution.attributors import gradients as attributors
from kernels.attribution.bench import networks, plans
from tests.kernels.attribution import cases, recordings

RECORDED = recordings.load("attributors")
INPUTS = recordings.load("composites")
PARAMETERS = {key.removeprefix("parameters/"): value for key, value in INPUTS.items() if key.startswith("parameters")}
FUNCTION = networks.function(plans.SMALL)


def call(case: cases.Attributor, **more):
    """Our (outputs, attribution) in float64, images with channels last."""
    x = jnp.asarray(networks.channels_last(cases.images()))  # in JAX's widest float at the time
    settings = dict(case.settings)
    settings = {{"n_iter": "n", "noise_level": "sigma"}.get(name, name): value for name, value in settings.items()}
    settings = {name: tuple(value) if isinstance(value, list) else value for name, value in settings.items()}
    if case.composite:
        settings["rules"] = getattr(composites, case.composite)()
    if case.attributor == "smoothgrad":
        settings["noise"] = cases.noise(settings["n"]).transpose(0, 1, 3, 4, 2)
    target = None if case.target is None else np.array(case.target)
    if case.start == "output" and case.attributor == "gradient":
        chosen = jax.nn.one_hot(target, 5)
        target = lambda y: y * chosen  # noqa: E731
    attributor = getattr(attributors, case.attributor)
    return attributor(FUNCTION, networks.from_torch(PARAMETERS, x.dtype), x, target=target, **settings, **more)


# Quick are the gradients and occlusion; of the others one each, compiled.
SLOW = (
    "smoothgrad",
    "smoothgrad_wide",
    "smoothgrad_epsilon_plus",
    "integrated_gradients",
    "integrated_gradients_three",
    "integrated_gradients_epsilon_plus",
)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=[pytest.mark.slow] if case.name in SLOW else [])
        for case in cases.ATTRIBUTORS
    ],
)
def test_recorded(case):
    expected = RECORDED[case.name]
    with jax.enable_x64(True), jax.disable_jit():  # the operations compile once for all cases
        y, found = call(case)
    np.testing.assert_allclose(y, INPUTS["float64/y"], rtol=0, atol=1e-12)
    found = np.asarray(found).transpose(0, 3, 1, 2)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-7 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["smoothgrad_wide", "integrated_gradients_three", "occlusion_gaps"])
def test_several_in_one_pass_compiled(name):
    (case,) = [case for case in cases.ATTRIBUTORS if case.name == name]
    _, found = call(case, at_once=3)
    assert found.dtype == jnp.float32
    expected = RECORDED[case.name].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-5 * np.abs(expected).max())
