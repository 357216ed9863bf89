"""Calls are timed in turn, waited for, and by their own word; compiling is timed without the cache on disk."""

import math
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from kernels import timing


def test_calls_alternate_and_the_first_rounds_do_not_count():
    order = []
    timings = timing.in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, repeats=3, warm_up=2)
    assert order == ["a", "b"] * 5
    assert [len(one.seconds) for one in timings.values()] == [3, 3]


def test_a_float_is_the_calls_own_word():
    seconds = iter([100.0, 3.0, 1.0, 2.0, 10.0, 4.0])
    one = timing.of(lambda: next(seconds))
    assert one.seconds == (3.0, 1.0, 2.0, 10.0, 4.0) and one.median == 3.0 and one.best == 1.0
    assert one.spread == pytest.approx((4.0 - 2.0) / 3.0)
    assert math.isnan(timing.Timing((1.0, 2.0, 3.0, 4.0)).spread)
    timings = {"ours": timing.Timing((2.0,)), "theirs": timing.Timing((3.0,))}
    assert timing.medians(timings) == {"ours": 2.0, "theirs": 3.0}
    assert timing.relative(timings, "ours") == {"ours": 1.0, "theirs": 1.5}


def test_an_answer_of_jax_is_waited_for(monkeypatch):
    waiting = []
    monkeypatch.setattr(jax, "block_until_ready", waiting.append)
    timing.seconds_of(lambda: {"x": jnp.ones(3)})
    timing.seconds_of(lambda: None)
    assert len(waiting) == 1
    assert timing.seconds_of(lambda: np.float64(1e9)) < 1e9  # a number that was computed is no time


def test_a_call_takes_at_least_its_sleep():
    assert timing.seconds_of(lambda: time.sleep(0.02)) >= 0.02


@pytest.mark.parametrize(
    ("calls", "options"), [({}, {}), ({"a": print}, {"repeats": 0}), ({"a": print}, {"warm_up": -1})]
)
def test_nothing_to_time_is_refused(calls, options):
    with pytest.raises(ValueError, match="expected at least 1, 1 and 0"):
        timing.in_turn(calls, **options)


def test_compiling_leaves_the_cache_on_disk_alone(tmp_path):
    """Also after programs that were compiled with it; afterwards it is used again."""
    options = {
        "jax_compilation_cache_dir": str(tmp_path),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: getattr(jax.config, name) for name in options}
    from jax.experimental.compilation_cache import compilation_cache

    entries = lambda: len([path for path in tmp_path.iterdir() if path.name.startswith("jit_")])  # noqa: E731
    try:
        for name, value in options.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        jax.block_until_ready(jax.jit(lambda x: x * 3 + 1)(1.0))
        with_cache = entries()
        program = timing.compile_call(lambda x: jnp.sin(x) * 5, 1.0)
        assert with_cache > 0 and entries() == with_cache
        assert program.call(0.0) == 0 and program.compile_s > 0 and program.trace_s > 0
        jax.block_until_ready(jax.jit(lambda x: x * 7 + 2)(1.0))
        assert entries() > with_cache
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
