"""Every composite of Zennit 1.0.0 on one network, recorded by tests/peers/record_zennit.py: equal, no canonizers."""

import functools

import jax
import numpy as np
import pytest

from kernels import attribution
from kernels.attribution import composites
from kernels.attribution.bench import networks, plans
from tests.kernels.attribution import cases, recordings

RECORDED = recordings.load("composites")
PARAMETERS = {key.removeprefix("parameters/"): value for key, value in RECORDED.items() if key.startswith("parameters")}
FUNCTION = networks.function(plans.SMALL)
SINGLE = [case for case in cases.COMPOSITES if case.fold and not case.label]
# Names of our operations for the layers whose inputs Zennit's relevance was recorded at.
INSIDE = {"block1": "conv2:input", "block2": "conv4:input", "fc1": "fc1:input"}


def composite_of(case: cases.Composite):
    """Our composite with Zennit's options; bounds by channel without its axes of length 1."""
    options = {key: value.reshape(-1) if key in ("low", "high") else value for key, value in case.options.items()}
    return getattr(composites, case.composite)(**options)


@functools.cache
def relevances(dtype: str, fold: bool, target: tuple[int, ...] | None) -> dict[str, dict[str, np.ndarray]]:
    """Our relevances by name of the case, "x" and inside, of all cases of a kind from one forward pass; and y.

    Operation by operation: compiled as one program the many small convolutions would take minutes to compile.
    """
    same = [c for c in cases.COMPOSITES if (c.fold, c.target) == (fold, target) and (dtype == "float64" or c in SINGLE)]
    rules = {case.name: composite_of(case) for case in same}
    target = None if target is None else np.array(target)
    with jax.enable_x64(dtype == "float64"):
        x = networks.channels_last(cases.images()).astype(dtype)
        y, found = attribution.attribute(
            FUNCTION, networks.from_torch(PARAMETERS, dtype), x, target=target, rules=rules, fold_norm=fold,
            at=["x", *INSIDE.values()],
        )  # fmt: skip
        return jax.tree.map(np.asarray, found) | {"y": np.asarray(y)}


def compare(ours: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Both relative to the largest relevance; ours has its channels last."""
    ours = ours.transpose(0, 3, 1, 2) if ours.ndim == 4 else ours
    assert ours.dtype == expected.dtype
    np.testing.assert_allclose(ours, expected, rtol=0, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("case", cases.COMPOSITES, ids=lambda case: case.name)
def test_float64(case):
    found = relevances("float64", case.fold, case.target)
    compare(found["y"], RECORDED["float64/y"], 1e-12)
    compare(found[case.name]["x"], RECORDED[f"float64/{case.name}"], 1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("case", SINGLE, ids=lambda case: case.name)
def test_float32(case):
    found = relevances("float32", case.fold, case.target)
    compare(found["y"], RECORDED["float32/y"], 1e-5)
    compare(found[case.name]["x"], RECORDED[f"float32/{case.name}"], 1e-5)


@pytest.mark.parametrize("layer", INSIDE)
@pytest.mark.parametrize("case", SINGLE, ids=lambda case: case.name)
def test_relevance_inside(case, layer):
    found = relevances("float64", True, case.target)[case.name][INSIDE[layer]]
    compare(found, RECORDED[f"float64/{case.name}@{layer}"], 1e-7)


def test_all_nine_are_recorded():
    assert {case.composite for case in SINGLE} == set(composites.NAMES) and len(composites.NAMES) == 9


def test_compiled_is_the_same():
    x = networks.channels_last(cases.images()).astype(np.float32)
    explain = jax.jit(
        lambda parameters, x, target: attribution.attribute(
            FUNCTION, parameters, x, target=target, rules=composites.epsilon_plus()
        )
    )
    y, relevance = explain(networks.from_torch(PARAMETERS, np.float32), x, np.array(cases.TARGETS))
    compare(np.asarray(y), RECORDED["float32/y"], 1e-5)
    compare(np.asarray(relevance), RECORDED["float32/epsilon_plus"], 1e-5)
