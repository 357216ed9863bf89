"""What the benchmarks of this room call: compiled programs with what they cost, and the plain gradient."""

import jax

from ... import timing


def compile_call(bench, name: str, call, arguments):
    """Returns the compiled call; records seconds of tracing and compiling, and bytes of temporary arrays."""
    program = timing.compile_call(call, *arguments)
    facts = {"trace_s": program.trace_s, "compile_s": program.compile_s, "temporary_bytes": program.temporary_bytes}
    bench.record(f"{name}, compiling", **facts)
    return program.call


def gradient_of(fn):
    """Returns `(params, x, target) -> gradient` of the chosen outputs."""

    def gradient(params, x, target):
        y, pull_back = jax.vjp(lambda x: fn(params, x), x)
        return pull_back(jax.nn.one_hot(target, y.shape[-1], dtype=y.dtype))[0]

    return gradient
