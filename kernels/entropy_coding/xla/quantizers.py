"""Whole decisions as JAX functions of a batch of tensors of a shape: a first pass, the presets that suit it, a second.

Rows of blocks of the greedy decision, whose contexts start anew, are one more part of the batch.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from .. import codeword
from ..codeword import Options
from . import greedy, presets, trellis
from .contexts import Lanes, class_of, rounded

REFUSED = -(1 << 31)  # the level of every weight of a traced tensor that would be refused: no coder takes it


@functools.cache
def batched(kind: str, options: Options, lanes: Lanes):
    """(w [batch, n], step [batch], rate_weight [batch], importance [batch, n or 1]) -> int32 levels [batch, n]; vmap
    makes the batch larger. kind: "rdo", "trellis", or "nearest" for the trellis without rate."""
    function = {"rdo": _rdo, "trellis": _trellis, "nearest": _nearest}[kind]

    @jax.custom_batching.custom_vmap
    def decide(*arguments):
        return _jitted(function, options, lanes, *arguments)

    @decide.def_vmap
    def _(axis_size, in_batched, *arguments):
        arguments = [
            x if is_batched else jnp.broadcast_to(x, (axis_size, *x.shape))
            for x, is_batched in zip(arguments, in_batched, strict=True)
        ]
        levels = decide(*(x.reshape(-1, *x.shape[2:]) for x in arguments))
        return levels.reshape(axis_size, -1, levels.shape[-1]), True

    return decide


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def _jitted(function, options, lanes, *arguments):
    return function(options, lanes, *arguments)


def _rdo(options, lanes, w, step, rate_weight, importance):
    in_rows = functools.partial(_in_rows, options)
    count = in_rows(w[:1]).shape[1]
    step_of_row, rate_of_row = (jnp.repeat(x, count) for x in (step, rate_weight))
    rows = in_rows(w), in_rows(importance) if importance.shape[1] > 1 else jnp.repeat(importance, count, axis=0).T

    def decide(choice, end=None):
        of_weight = rows[1] if rows[1].shape[0] == 1 else rows[1][:end]
        levels = greedy.decide(
            rows[0][:end], step_of_row, of_weight, rate_of_row, jnp.repeat(choice, count, axis=1), lanes
        )
        return _from_rows(options, levels, count)

    lead = codeword.lead(options)
    levels = decide(_neutral(lanes, w), lead)
    choice = _best_presets({"magnitude": jnp.abs(levels), "negative": levels < 0}, options, lanes, step.dtype)
    levels = _in_storage_order(options, decide(choice))
    scaled = jnp.abs(w.astype(step.dtype)) / step[:, None]
    whole = jnp.floor(scaled)
    nearest = (whole + (scaled - whole >= 0.5)).astype(jnp.int32)
    return jnp.where(rate_weight[:, None] == 0, jnp.where(w < 0, -nearest, nearest), levels)


def _trellis(options, lanes, w, step, rate_weight, importance):
    order, restarts = codeword.coding_order(options)
    w = _ordered(w, order).T
    importance = _ordered(importance, order if importance.shape[1] > 1 else None).T
    scale = jnp.max(importance, axis=0)
    scale = jnp.where(scale == 0, 1, scale)  # costs of any unit stay far from overflow
    importance, rate_weight = importance / scale, rate_weight / scale
    starts_anew = np.zeros(w.shape[0], bool)
    starts_anew[restarts[:-1]] = True

    def decide(choice, end=None):
        of_weight = importance if importance.shape[0] == 1 else importance[:end]
        flags = jnp.asarray(starts_anew[:end]) if len(restarts) > 1 else None
        return trellis.decide(w[:end], step, of_weight, rate_weight, choice, lanes, flags)

    lead = codeword.lead(options)
    first = decide(_neutral(lanes, w.T), lead)
    fields = {"magnitude": first["magnitude"], "state": first["state"], "negative": w[:lead] < 0}
    return _in_storage_order(options, decide(_best_presets(fields, options, lanes, step.dtype))["grid"].T)


def _nearest(options, lanes, w, step, rate_weight, importance):
    order, _ = codeword.coding_order(options)
    importance = _ordered(importance, order if importance.shape[1] > 1 else None).T
    scale = jnp.max(importance, axis=0)
    grid = trellis.nearest(_ordered(w, order).T, step, importance / jnp.where(scale == 0, 1, scale))
    return _in_storage_order(options, grid.T)


def _neutral(lanes, w):
    return jnp.zeros((lanes.numbers.size, w.shape[0]), jnp.int32)


def _ordered(values, order):
    """Values [batch, n] in coding order."""
    return values if order is None else values[:, order]


def _in_storage_order(options, levels):
    """Levels [batch, n] from the coding order."""
    order, _ = codeword.coding_order(options)
    return levels if order is None else levels[:, np.argsort(order)]


def _in_rows(options, values):
    """Values [batch, n] in coding order as [length, batch * rows]: rows of blocks apart, the last one filled up."""
    order, _ = codeword.coding_order(options)
    return _apart(options, _ordered(values, order))


def _apart(options, values):
    """The same of values that are in coding order."""
    batch, n = values.shape
    length = max(1, options.block * options.width if options.block else n)
    rows = max(1, -(-n // length))
    filled = jnp.pad(values, ((0, 0), (0, rows * length - n)))
    return filled.reshape(batch * rows, length).T


def _from_rows(options, levels, count):
    """Levels [batch, n] in coding order from [length, batch * rows]; what filled the last row up is dropped."""
    return levels.T.reshape(levels.shape[1] // count, -1)[:, : options.height * options.width]


def _best_presets(fields, options, lanes, dtype):
    """Presets int32 [lanes, batch] that suit the levels of a first pass, as `codeword.choose_presets` with samples.

    fields: [batch, n] in coding order ([n, batch] of the trellis, with the state before each level).
    """
    if "state" in fields:
        fields = {name: field.T for name, field in fields.items()}
    size = fields["magnitude"].shape[1]
    places = codeword.sampled_places(options, size)
    if places is None:
        return presets.choose(_total(_bins(fields, options), options, lanes, dtype))
    runs = {name: field[:, places] for name, field in fields.items()}
    first = {name: field[:, : codeword.RUN] for name, field in runs.items()}
    learning, total = (_total(_bins(part, options), options, lanes, dtype) for part in (first, runs))
    # The first run shows what learning costs, the others what each more value does.
    more = rounded((total - learning) * ((size - codeword.RUN) / (len(places) - codeword.RUN)))
    return presets.choose(learning + more)


def _bins(fields, options):
    """What `presets.costs` takes, [batch, n]; rows of zeros that the codeword skips are not counted."""
    magnitude, negative = fields["magnitude"], fields["negative"]
    sign = class_of(magnitude, negative)
    counted = jnp.ones(magnitude.shape, bool)
    if options.skips_rows:
        order, _ = codeword.coding_order(options)
        stored = _in_storage_order(options, magnitude).reshape(-1, options.height, options.width)
        counted = jnp.broadcast_to(jnp.any(stored > 0, axis=2, keepdims=True), stored.shape)
        counted = _ordered(counted.reshape(magnitude.shape), order)
        last = jax.lax.cummax(jnp.where(counted, jnp.arange(1, magnitude.shape[1] + 1, dtype=jnp.int32), 0), axis=1)
        sign = jnp.take_along_axis(jnp.pad(sign, ((0, 0), (1, 0))), last, axis=1)  # of the last level that is coded
    neighbour = jnp.pad(sign, ((0, 0), (1, 0)))[:, :-1]
    key = neighbour + 3 * fields["state"] if "state" in fields else neighbour
    return {"key": key, "neighbour": neighbour, "magnitude": magnitude, "negative": negative, "counted": counted}


def _total(bins, options, lanes, dtype):
    """Costs [9, lanes, batch] as numbers; rows of blocks begin anew, and are counted beside each other."""
    batch = bins["key"].shape[0]
    of_rows = presets.costs({name: _apart(options, field) for name, field in bins.items()}, lanes)
    total = presets.total(of_rows, dtype)
    return jnp.sum(total.reshape(*total.shape[:2], batch, -1), axis=-1)
