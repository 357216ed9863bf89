"""Traced parameters outside their ranges: NaN from every function, and what is inside beside them stays as it is."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import alpha_stable, boundary_step

KEY = jax.random.key(0)
NAN, INFINITE = float("nan"), float("inf")
ALPHAS, BETAS = (2.5, 2.0000002, 0.0, -1.0, NAN, INFINITE), (1.5, -1.01, NAN)
SCALES, LOCATIONS = (0.0, -1.0, NAN, INFINITE), (NAN, INFINITE, -INFINITE)
LAW = {"alpha": (1.3, ALPHAS), "scale": (2.0, SCALES), "loc": (0.5, LOCATIONS)}
SKEWED = {"beta": (0.4, BETAS), **LAW}
ALPHA = {"alpha": (1.3, ALPHAS)}
# Function of its parameters by name, and for each of these a value inside its range and some outside.
CASES = {
    "sas_pdf": (lambda **p: alpha_stable.sas_pdf(0.7, **p), LAW),
    "sas_log_pdf": (lambda **p: alpha_stable.sas_log_pdf(0.7, **p), LAW),
    "sas_cdf": (lambda **p: alpha_stable.sas_cdf(0.7, **p), LAW),
    "sas_log_survival": (lambda **p: alpha_stable.sas_log_survival(0.7, **p), LAW),
    "characteristic_function": (lambda **p: alpha_stable.characteristic_function(0.7, **p), SKEWED),
    "characteristic_function, S1": (
        lambda **p: alpha_stable.characteristic_function(0.7, parametrization="S1", **p),
        SKEWED,
    ),
    "abs_moment": (
        lambda **p: alpha_stable.abs_moment(**p),
        {"alpha": (1.3, ALPHAS), "p": (0.4, (-1.0, -2.0, 1.3, 5.0, NAN, INFINITE))},
    ),
    "log_moments": (lambda **p: alpha_stable.log_moments(**p), ALPHA),
    "tail_constant": (lambda **p: alpha_stable.tail_constant(**p), ALPHA),
    "sas": (lambda **p: alpha_stable.sas(KEY, shape=(4,), **p), ALPHA),
    "sas_log": (lambda **p: alpha_stable.sas_log(KEY, shape=(4,), **p), ALPHA),
    "sas_parts": (lambda **p: alpha_stable.sas_parts(KEY, shape=(4,), dtype=jnp.float32, **p)[0], ALPHA),
    "stable": (lambda **p: alpha_stable.stable(KEY, shape=(4,), **p), SKEWED),
    "stable, S1": (lambda **p: alpha_stable.stable(KEY, shape=(4,), parametrization="S1", **p), SKEWED),
    "positive_stable_log": (
        lambda **p: alpha_stable.positive_stable_log(KEY, shape=(4,), **p),
        {"c": (0.6, (0.0, -0.5, 1.0000002, 3.0, NAN))},
    ),
    "sub_gaussian": (lambda **p: alpha_stable.sub_gaussian(KEY, shape=(4,), dim=2, **p), ALPHA),
    "log_median": (lambda **p: boundary_step.log_median(**p), ALPHA),
    "table_log_median_length": (lambda **p: boundary_step.table_log_median_length(size=10, **p), ALPHA),
}
# Those that take no parameter of a law, or only concrete ones.
OTHERS = {"fit_sas", "fit_log_moments", "times_power_of_two", "length_table", "log_median_length", "SasFit"}


def test_every_function_is_here():
    functions = {name for name in alpha_stable.__all__ if callable(getattr(alpha_stable, name))}
    assert functions == ({name.split(",")[0] for name in CASES} | OTHERS) - {"log_median", "table_log_median_length"}
    assert all(
        set(inspect.signature(getattr(alpha_stable, name)).parameters) & {"alpha", "c"} for name in functions - OTHERS
    )


QUICK = {"abs_moment", "sas", "stable", "characteristic_function", "tail_constant"}
BOTH = [
    pytest.param(
        transform, name, marks=[] if transform == "vmap" and "pdf" not in name or name in QUICK else pytest.mark.slow
    )
    for transform in ("vmap", "jit")
    for name in CASES
]


@pytest.mark.parametrize(("transform", "name"), BOTH)
def test_what_is_outside_its_range_is_nan(transform, name):
    function, parameters = CASES[name]
    inside = {parameter: value for parameter, (value, _) in parameters.items()}
    names = list(parameters)
    rows, outside = [list(inside.values())], [False]
    for index, (_, values) in enumerate(parameters.values()):
        for value in values:
            rows.append([*rows[0][:index], value, *rows[0][index + 1 :]])
            outside.append(True)
    rows.append(rows[0])
    outside.append(False)

    def called(row):
        return function(**dict(zip(names, row, strict=True)))

    columns = np.asarray(rows, np.float32)
    if transform == "jit":
        compiled = jax.jit(called)
        result = [compiled(list(row)) for row in columns]
        result = jax.tree.map(lambda *entries: np.stack(entries), *result)
    else:
        result = jax.vmap(called)(list(columns.T))
    expected = jax.tree.leaves(function(**{parameter: np.float32(value) for parameter, value in inside.items()}))
    for leaf, right in zip(jax.tree.leaves(result), expected, strict=True):
        leaf = np.asarray(leaf).reshape(len(rows), -1)
        assert np.array_equal(np.isnan(leaf).all(1), outside), (
            name,
            np.asarray(rows)[np.isnan(leaf).all(1) != outside],
        )
        for row in (0, -1):
            np.testing.assert_allclose(leaf[row], np.ravel(right), rtol=2e-6)


@pytest.mark.parametrize("name", [name for name in CASES if "log_median" not in name])
def test_concrete_values_outside_their_ranges_are_errors(name):
    function, parameters = CASES[name]
    inside = {parameter: value for parameter, (value, _) in parameters.items()}
    for parameter, (_, outside) in parameters.items():
        for value in outside:
            with pytest.raises(ValueError, match=f"^{parameter}="):
                function(**(inside | {parameter: value}))


@pytest.mark.slow
def test_derivatives_inside_the_range_are_untouched():
    slope = jax.grad(lambda alpha: alpha_stable.sas_log_pdf(0.7, alpha))(1.3)
    step = 1e-2
    rise = alpha_stable.sas_log_pdf(0.7, 1.3 + step) - alpha_stable.sas_log_pdf(0.7, 1.3 - step)
    assert float(slope) == pytest.approx(float(rise) / 2 / step, rel=1e-2)


@pytest.mark.parametrize(
    "fit", [alpha_stable.fit_log_moments, pytest.param(alpha_stable.fit_sas, marks=pytest.mark.slow)]
)
def test_estimates_from_traced_observations_that_will_not_do_are_nan(fit):
    good = np.asarray(alpha_stable.sas(jax.random.key(3), 1.4, (40,)))
    bad = np.stack([good, good, np.full(40, 2.0, np.float32), np.zeros(40, np.float32)])
    bad[0, 7], bad[1, 3] = NAN, INFINITE
    bad[3, 0] = 5.0  # a single observation beside the location says nothing about alpha
    result = jax.jit(jax.vmap(lambda x: fit(x)))(np.concatenate([bad, good[None]]).astype(np.float32))
    for leaf in result[:-1]:
        assert np.isnan(np.asarray(leaf)[:4]).all()
    assert not result.converged[:4].any() and result.converged[4]
    expected = fit(good)
    np.testing.assert_allclose(result.alpha[4], expected.alpha, rtol=1e-3)
    located = jax.jit(lambda loc: fit(good, loc=loc))
    assert np.isnan(located(NAN).alpha) and np.isnan(located(INFINITE).scale) and np.isfinite(located(0.0).alpha)
    for x in bad:
        with pytest.raises(ValueError, match="^x"):
            fit(x)


@pytest.mark.parametrize(
    ("change", "wrong"), [("alpha", (2.5, 0.0, NAN)), ("cap", (0.0, -1.0, NAN)), ("lo", (1.0, 3.0, NAN))]
)
def test_steps_with_traced_parameters_outside_their_ranges_are_nan(change, wrong):
    x0, x = np.full((2, 6), 0.5, np.float32), np.full((2, 6), 0.8, np.float32)

    @jax.jit
    def step(value):
        arguments = {"alpha": 1.5, "cap": 10.0, "lo": 0.0} | {change: value}
        alpha, cap, lo = arguments.values()
        return boundary_step.propose(KEY, x0, x, 0.1, 0.1, alpha, "length", lo, 1.0, cap)

    for value in wrong:
        assert all(np.isnan(point).all() for point in step(value))
    assert all(np.isfinite(point).all() for point in step({"alpha": 2.0, "cap": 1.0, "lo": 0.25}[change]))
