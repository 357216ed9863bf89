"""Several calls timed in turn (A B A B ...), so that what slows the machine for a while slows all of them alike.

    timings = timing.in_turn({"ours": lambda: step(x), "theirs": lambda: peer.ask("step")["seconds"]})
    timings["ours"].median, timing.relative(timings, "theirs")

A call is made `warm_up` times before it counts. What it returns is waited for, as JAX answers before it has computed;
a Python float is the call's own word for its seconds (of a peer in another process, or of a share of the work).
"""

import contextlib
import dataclasses
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping

ENOUGH = 5  # repeats of which a median and quartiles say something


@dataclasses.dataclass(frozen=True)
class Timing:
    """Seconds of one call, a repeat each, in the order in which they were measured."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    @property
    def best(self) -> float:
        """Seconds of the fastest repeat: for ceilings, which nothing but disturbance can undercut."""
        return min(self.seconds)

    @property
    def spread(self) -> float:
        """The distance of the quartiles over the median; NaN of fewer than five repeats, which cannot say."""
        if len(self.seconds) < ENOUGH:
            return math.nan
        low, _, high = statistics.quantiles(self.seconds, n=4, method="inclusive")
        return (high - low) / self.median


def in_turn(calls: Mapping[str, Callable[[], object]], *, repeats: int = ENOUGH, warm_up: int = 1) -> dict[str, Timing]:
    """Returns the timing of every call, by name.

    Args:
      calls: without arguments; see above for what they return.
      repeats: of each call that count; five at the least for a number that is published.
      warm_up: of each call before, which do not count: they compile and fill caches.

    Raises:
      ValueError: no call, no repeat, or a number below 0.
    """
    if not calls or repeats < 1 or warm_up < 0:
        raise ValueError(f"{len(calls)} calls, repeats={repeats}, warm_up={warm_up}: expected at least 1, 1 and 0")
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(-warm_up, repeats):
        for name, call in calls.items():
            duration = seconds_of(call)
            if repeat >= 0:
                seconds[name].append(duration)
    return {name: Timing(tuple(values)) for name, values in seconds.items()}


def of(call: Callable[[], object], *, repeats: int = ENOUGH, warm_up: int = 1) -> Timing:
    """Returns the timing of a single call, as `in_turn`."""
    return in_turn({"": call}, repeats=repeats, warm_up=warm_up)[""]


def seconds_of(call: Callable[[], object]) -> float:
    """Returns the seconds of one call, waited for, or those that it states itself."""
    start = time.perf_counter()
    answer = call()
    if type(answer) is float:  # not NumPy's, which a computation may well return
        return answer
    if answer is not None:
        import jax

        jax.block_until_ready(answer)
    return time.perf_counter() - start


def medians(timings: Mapping[str, Timing]) -> dict[str, float]:
    """Returns seconds by name."""
    return {name: timing.median for name, timing in timings.items()}


def relative(timings: Mapping[str, Timing], name: str) -> dict[str, float]:
    """Returns the medians over that of `name`."""
    return {other: timing.median / timings[name].median for other, timing in timings.items()}


@dataclasses.dataclass(frozen=True)
class Compiled:
    """A compiled program, seconds that tracing and compiling took, and bytes of its temporary arrays (None: unsaid)."""

    call: Callable
    trace_s: float
    compile_s: float
    temporary_bytes: int | None


def compile_call(call: Callable, *arguments) -> Compiled:
    """Returns `jax.jit(call)` compiled for arguments, from scratch: JAX's cache on disk is left out of it."""
    import jax

    with _no_cache():
        start = time.perf_counter()
        lowered = jax.jit(call).lower(*arguments)
        middle = time.perf_counter()
        program = lowered.compile()
        end = time.perf_counter()
    memory = program.memory_analysis()
    return Compiled(program, middle - start, end - middle, None if memory is None else memory.temp_size_in_bytes)


@contextlib.contextmanager
def _no_cache() -> Iterator[None]:
    """JAX decides once for a process whether it uses its cache on disk; `reset_cache` has it decide anew."""
    import jax
    from jax.experimental.compilation_cache import compilation_cache

    is_enabled = jax.config.jax_enable_compilation_cache  # type: ignore[attr-defined]  # made when JAX starts
    jax.config.update("jax_enable_compilation_cache", False)
    compilation_cache.reset_cache()
    try:
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", is_enabled)
        compilation_cache.reset_cache()
