"""A scalar of the wrong kind stops at the door of every public function, with its name and value."""

import importlib
import inspect
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import entropy_coding, scalars, soft_entropy
from tests.kernels import scalar_arguments

ROOMS = {cases.__name__.removesuffix("_cases"): cases for cases in scalar_arguments.CASES}


def complaint(function, good, name, value) -> str | None:
    """What is wrong with how a bad value is met; None: an error names the argument and its value."""
    try:
        function(**{**good, name: value})
    except ValueError as error:
        message = str(error)
        named = f"{name}={scalars.shown(value)}" in message or f"{name} is {value!r}" in message
        # Of several values one is named, or their shape.
        several = isinstance(value, list) and name in message
        return None if named or several else f"is not named: {message}"
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return "passes"


@pytest.mark.parametrize("room", ROOMS)
def test_bad_scalars_are_named(room, unchecked):
    wrong = []
    for label, function, good, name, value in scalar_arguments.requests(ROOMS[room]):
        if said := complaint(function, good, name, value):
            wrong.append(f"{label} {said}"[:200])
    assert not wrong, f"{len(wrong)} of them:\n" + "\n".join(wrong[:40])


@pytest.mark.slow
@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_calls_are_good_but_for_it(room):
    for function, good, _ in ROOMS[room]():
        function(**good)


def test_a_function_without_a_door_is_noticed():
    assert complaint(lambda step: step, {"step": 1.0}, "step", math.nan) == "passes"
    assert complaint(lambda step: 1 / step, {}, "step", "a").startswith("TypeError")
    assert "not named" in complaint(lambda step: scalars.real("width", step, "one"), {}, "step", None)
    assert complaint(lambda step: scalars.real("step", step, "one"), {}, "step", None) is None


def test_every_number_of_every_kind_passes():
    for value in (2, 2.0, np.float32(2), np.int8(2), np.array(2.0), jnp.asarray(2.0), jnp.bfloat16(2), np.float16(2)):
        assert scalars.real("x", value, "a number") == 2.0
        scalars.reals("x", value, "a number")
    for value in (2, np.int8(2), np.uint64(2), jnp.asarray(2), np.array(2)):
        assert scalars.whole("n", value, 1, 2) == 2 and type(scalars.whole("n", value, 1)) is int
    assert scalars.whole("n", 2.0, 1, floats=True) == 2
    assert scalars.whole("n", 10**30, 1) == 10**30
    scalars.reals("x", np.ones((2, 3), np.float32), "numbers")


@pytest.mark.parametrize("value", ["2", None, 2j, True, np.bool_(True), [2.0], jax.random.key(0), [[1], [2, 3]], b"2"])
def test_what_is_no_number_does_not(value):
    with pytest.raises(ValueError, match="^x=.*: expected a number$"):
        scalars.real("x", value, "a number")
    with pytest.raises(ValueError, match="^x=.*: expected an integer of at least 1$"):
        scalars.whole("x", value, 1)
    if not isinstance(value, list) or value != [2.0]:
        with pytest.raises(ValueError, match="^x=.*: expected a number$"):
            scalars.reals("x", value, "a number")


def test_traced_values_pass_where_they_may():
    def double(x):
        scalars.reals("x", x, "a number")
        return 2 * scalars.real("x", x, "a number", traced=True)

    assert jax.jit(double)(2.0) == 4
    with pytest.raises(ValueError, match="x=a traced value: expected a number"):
        jax.jit(lambda x: scalars.real("x", x, "a number"))(2.0)


def test_an_element_out_of_range_is_named():
    with pytest.raises(ValueError, match="x=nan: expected finite"):
        scalars.reals("x", np.array([1.0, math.nan]), "finite")
    with pytest.raises(ValueError, match="n=3: expected an integer from 0 to 2"):
        scalars.whole("n", 3, 0, 2)


@pytest.mark.parametrize(("dtype", "step"), [(np.float32, 1e38), (np.float16, 1e4), ("bfloat16", 1e38)])
def test_levels_that_become_infinite_are_refused(dtype, step):
    """7 steps fit, 70 do not."""
    entropy_coding.dequantize(np.array([0, 3]), step, dtype)
    with pytest.raises(ValueError, match="times the level 70 is beyond (float|bfloat)"):
        entropy_coding.dequantize(np.array([0, -70]), step, dtype)
    leaf = entropy_coding.Quantized(np.array([0, 70]), step, dtype)
    with pytest.raises(ValueError, match="tensor 'w': step=.* times the level 70 is beyond .*: take a smaller"):
        entropy_coding.compress({"w": leaf})


def test_levels_that_are_nan_say_so():
    with pytest.raises(TypeError, match=r"not float32, and 1 of 2 are NaN or infinite: mend them.*quantize_uniform"):
        entropy_coding.encode_tensor(np.array([1, math.nan], np.float32))
    with pytest.raises(
        ValueError, match="1 NaN or infinite values of 2, which no level stands for: mend them, or leave"
    ):
        entropy_coding.quantize_uniform(np.array([1, math.nan], np.float32), 0.1)


def test_an_unknown_rate_is_refused():
    for call in (lambda: soft_entropy.context_members("x", 3), lambda: soft_entropy.context_bits("x", np.ones((1, 3)))):
        with pytest.raises(ValueError, match="rate='x': expected one of entropy, conditional, static"):
            call()


def test_every_function_with_a_number_among_its_arguments_is_among_the_cases():
    """By defaults: a public function with a number as a default is in the table, or has no scalar of its own."""
    seen = {getattr(function, "__name__", None) for cases in ROOMS.values() for function, *_ in cases()}
    absent = []
    for room in ROOMS:
        package = importlib.import_module(f"kernels.{room}")
        for name in package.__all__:
            function = getattr(package, name)
            if inspect.isfunction(function) and name not in seen:
                defaults = [p.default for p in inspect.signature(function).parameters.values()]
                if any(isinstance(value, (int, float)) and not isinstance(value, bool) for value in defaults):
                    absent.append(f"{room}.{name}")
    # The first two stand there under other names; `attack` begins with `prepare`; `finalise` has a stacklevel.
    others = {"entropy_coding.compress", "ising.states", "boundary_attack.attack", "autoregressive.finalise"}
    assert set(absent) <= others, absent
