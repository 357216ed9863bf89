"""One round as a pure function of arrays, and a scan over many: what `simulate` runs on the device.

Clients of a round are handled `chunk` at a time: their rows of residuals and momentum are gathered and scattered, their
batches drawn, and what they send is added up at once, so that memory does not grow with their number. One local step
starts from the same weights for all, and takes gradients of many batches at these; several carry weights of their own.
Several devices share the clients of a round, and hold a part of all rows each (`client_rows`).
"""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import flatten_util

from common import mesh
from common.federated import client_rows
from common.federated import clients as federated_clients
from common.federated.clients import Clients
from common.federated.compressor import Bits, Compressor
from common.federated.methods import Method, to_grid
from kernels import scalars

STREAMS = 4
PARTICIPANTS, BATCHES, NOISE, WEIGHTS = range(STREAMS)
AUGMENTATION = 2**31 - 1  # folded into the key of batches, as local steps are, which are fewer
LARGEST_MESSAGE = 2**32  # bits, as uint32 counts them


class Model(NamedTuple):
    """What is trained: pure functions; `params` is a pytree of float32 arrays, `batch` of arrays [batch, ...].

    Attributes:
      init: key -> params.
      loss: (params, batch) -> scalar, the mean over the batch; weight decay and so on are its own.
      accuracy: (params, batch) -> scalar, the share that is right.
      augment: (key, batch) -> batch, what training makes of a client's batch, such as images moved at random; or None.
        The key is a function of the round, the local step and the client alone.
    """

    init: Callable[[jax.Array], Any]
    loss: Callable[[Any, Any], jax.Array]
    accuracy: Callable[[Any, Any], jax.Array]
    augment: Callable[[jax.Array, Any], Any] | None = None


def _of_no_number(default: Any) -> Any:
    """A setting that changes no number beyond rounding: a simulation may be resumed with another value."""
    return dataclasses.field(default=default, metadata={"identity": False})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Settings:
    """How clients train, and how the simulation runs.

    Attributes:
      per_round: clients of a round; None: all.
      batch_size: samples of a local step.
      learning_rate: of a local step.
      momentum: of a client, in [0, 1).
      momentum_state: "persist": a client resumes with the momentum of its last round; "reset": with none.
      cache: how many messages the server keeps for clients that were away; None: all.
      every: rounds between two points of the curve, which are one device call.
      save_every: points between two checkpoints.
      chunk: clients that a device handles at once; None: all of its part of a round. Less takes less memory.
      weights: "shared": one local step takes all gradients at the same weights; "own": each client has its own copy, as
        several local steps need it; "auto": by their number.
      record: whether the result has the update of every round.
    """

    per_round: int | None = None
    batch_size: int = 20
    learning_rate: float = 0.04
    momentum: float = 0.0
    momentum_state: str = "persist"
    cache: int | None = None
    every: int = 100
    save_every: int = _of_no_number(1)
    chunk: int | None = _of_no_number(None)
    weights: str = "auto"
    record: bool = _of_no_number(False)

    def __post_init__(self) -> None:
        for name in ("per_round", "chunk", "cache"):
            if getattr(self, name) is not None:
                scalars.whole(name, getattr(self, name), 0 if name == "cache" else 1)
        for name in ("batch_size", "every", "save_every"):
            scalars.whole(name, getattr(self, name), 1)
        scalars.real("learning_rate", self.learning_rate, "a finite number above 0", scalars.positive)
        scalars.real("momentum", self.momentum, "in [0, 1)", lambda value: 0 <= value < 1)
        for name, choices in (("momentum_state", ("persist", "reset")), ("weights", ("auto", "shared", "own"))):
            if getattr(self, name) not in choices:
                raise scalars.refusal(name, getattr(self, name), " or ".join(map(repr, choices)))


class State(NamedTuple):
    """What a round changes; rows that no one reads have no elements.

    Attributes:
      weights: float32 [n], of the server.
      residuals: float32 [clients, n], what clients have not sent yet, or [0, n].
      momentum: float32 [clients, n], or [0, n].
      server_residual: float32 [n], what the server has not sent yet, or [0].
      done: int32, finished rounds.
    """

    weights: jax.Array
    residuals: jax.Array
    momentum: jax.Array
    server_residual: jax.Array
    done: jax.Array


SPLIT = ("residuals", "momentum")  # over devices


class Trace(NamedTuple):
    """What rounds report, each [rounds, ...].

    Attributes:
      participants: int32 [per_round].
      bits_up: uint32 [per_round] of each part, of the message of each.
      is_finite: bool [per_round], whether the change of each is.
      bits_down: uint32 of each part, of the server's message.
      update: float32 [n], what the message says, or [0] without `record`.
      is_decoded_finite: bool, whether what compressors have decoded is.
    """

    participants: jax.Array
    bits_up: Bits
    is_finite: jax.Array
    bits_down: Bits
    update: jax.Array
    is_decoded_finite: jax.Array


def stream(key: jax.Array, part: int, round_number: jax.Array | int = 0) -> jax.Array:
    """Returns the key of a part of a round: a function of the simulation's key and the two numbers alone."""
    return jax.random.fold_in(key, STREAMS * round_number + part)


def placed(state: State, sharding: Any) -> State:
    """Returns a state on the devices of a sharding: rows of clients split, all else on each. None: as it is."""
    if sharding is None:
        return state
    parts = {
        name: client_rows.split(array, sharding) if name in SPLIT else mesh.on_every_device(array, sharding)
        for name, array in state._asdict().items()
    }
    return State(**parts)


def unravel(model: Model) -> Callable[[Any], Any]:
    """Returns the function from float32 [n] to params, of arrays of NumPy or JAX.

    Raises:
      ValueError: a parameter is not float32.
    """
    shapes = _shapes(model)
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        if leaf.dtype != jnp.float32:
            name = jax.tree_util.keystr(path)
            raise ValueError(f"params{name} is {leaf.dtype}: expected float32, which is sent and added up")
    leaves, structure = jax.tree.flatten(shapes)

    def to_params(flat: Any) -> Any:
        ends = list(itertools.accumulate(leaf.size for leaf in leaves))
        parts = [flat[end - leaf.size : end].reshape(leaf.shape) for leaf, end in zip(leaves, ends, strict=True)]
        return jax.tree.unflatten(structure, parts)

    return to_params


def initial_state(model: Model, population: Clients, method: Method, settings: Settings, key: jax.Array) -> State:
    """Returns the state before the first round; arguments as those of `simulate.simulate`.

    Raises:
      ValueError: a setting does not fit the clients, the method or the model.
    """
    scalars.whole("per_round", _per_round(settings, population), 1, population.number, ", the number of clients")
    if method.local_steps > 1 and settings.weights == "shared":
        raise ValueError(f"weights='shared' with {method.local_steps} local steps: expected 'own' or 'auto'")
    unravel(model)
    size = sum(_sizes(model))
    if not size or 33 * size >= LARGEST_MESSAGE:
        raise ValueError(f"the model has {size} parameters: expected 1 to {LARGEST_MESSAGE // 33}")
    return _zero_state(model, population.number, method, settings, key)


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3))
def _zero_state(model: Model, count: int, method: Method, settings: Settings, key: jax.Array) -> State:
    weights = flatten_util.ravel_pytree(model.init(stream(key, WEIGHTS)))[0]
    if method.grid is not None:
        weights = to_grid(weights, method.grid)
    rows = [count if has_rows else 0 for has_rows in (method.up_feedback, _persists(settings))]
    residuals, momentum = (jnp.zeros((row, weights.size), jnp.float32) for row in rows)
    server = jnp.zeros(weights.size if method.down_feedback else 0, jnp.float32)
    return State(weights, residuals, momentum, server, jnp.int32(0))


@functools.partial(jax.jit, static_argnums=(0, 1, 2, 3, 8), donate_argnums=4)
def advance(
    model: Model,
    method: Method,
    settings: Settings,
    rounds: int,
    state: State,
    population: Clients,
    key: jax.Array,
    test: Any = None,
    sharding: Any = None,
) -> tuple[State, Trace, tuple[jax.Array, jax.Array] | None]:
    """Returns the state after some rounds, what these report, and (loss, accuracy) of the new weights on `test`.

    One compiled program for all keys, and for all clients and states of the same shapes; the old state is donated.

    Args:
      sharding: over which devices the clients of a round are split, see `client_rows`; None: there is one.
    """

    def run(state: State, population: Clients, key: jax.Array) -> tuple[State, Trace]:
        one_round = functools.partial(_round, model, method, settings, population, key, client_rows.Axis(sharding))
        return jax.lax.scan(one_round, state, None, rounds)

    state, trace = client_rows.on_devices(run, sharding, State._make(name in SPLIT for name in State._fields))(
        state, population, key
    )
    if test is None:
        return state, trace, None
    params = unravel(model)(state.weights)
    test = mesh.constrain(test, sharding)
    return state, trace, (model.loss(params, test), model.accuracy(params, test))


def _round(
    model: Model,
    method: Method,
    settings: Settings,
    population: Clients,
    key: jax.Array,
    axis: client_rows.Axis,
    state: State,
    _: None,
) -> tuple[State, Trace]:
    """One round: clients, sum, server. Keys are functions of the round's number: a restart draws the same."""
    per_round = _per_round(settings, population)
    batch_key, noise_key = (stream(key, part, state.done) for part in (BATCHES, NOISE))
    participants = federated_clients.draw_participants(
        stream(key, PARTICIPANTS, state.done), population.number, per_round
    )
    if method.weighted:  # the mean weight is 1, so that equal sizes weigh exactly 1 each
        mean_size = jnp.sum(population.sizes[participants].astype(jnp.float32)) / per_round
    else:
        mean_size = jnp.float32(1)
    part = functools.partial(
        _clients,
        model,
        method,
        settings,
        population,
        state.weights,
        participants,
        batch_key,
        noise_key,
        mean_size,
        axis,
    )
    carry = (jnp.zeros_like(state.weights), jnp.float32(0), state.residuals, state.momentum)
    places = axis.places(per_round, settings.chunk)
    (total, weight, residuals, momentum), reports = jax.lax.scan(part, carry, places)
    total, weight = axis.sum((total, weight))
    bits_up, is_finite = axis.joined(reports, per_round)
    mean = _apart(total * (1 / weight), state.done)
    weights, server_residual, update, bits_down = _server(
        method, _sizes(model), state, mean, jax.random.fold_in(noise_key, population.number)
    )
    is_decoded_finite = jnp.all(jnp.isfinite(mean)) & jnp.all(jnp.isfinite(update))
    update = update if settings.record else update[:0]
    trace = Trace(participants, bits_up, is_finite, bits_down, update, is_decoded_finite)
    return State(weights, residuals, momentum, server_residual, state.done + 1), trace


def _clients(
    model: Model,
    method: Method,
    settings: Settings,
    population: Clients,
    weights: jax.Array,
    participants: jax.Array,
    batch_key: jax.Array,
    noise_key: jax.Array,
    mean_size: jax.Array,
    axis: client_rows.Axis,
    carry: tuple,
    places: jax.Array,
) -> tuple[tuple, tuple[Bits, jax.Array]]:
    """Some clients of a round, at these places among the participants: they train, encode, and what they send is added.

    Places beyond the last participant fill up the devices: what is computed there is dropped.
    """
    total, weight, residuals, momentum = carry
    per_round = participants.size
    places, everyones = axis.mine(places), places
    ids, is_one = participants[jnp.minimum(places, per_round - 1)], places < per_round
    of_all = jnp.where(everyones < per_round, participants[jnp.minimum(everyones, per_round - 1)], population.number)

    def draw(step: jax.Array | int) -> jax.Array:  # bits of the whole round: they do not depend on the chunks
        bits = jax.random.bits(jax.random.fold_in(batch_key, step), (per_round, settings.batch_size))
        return bits[jnp.minimum(places, per_round - 1)]

    persists = _persists(settings)
    rows = axis.gather(momentum, of_all) if persists else jnp.zeros((ids.size, weights.size), jnp.float32)
    changes, rows = _local_changes(model, method, settings, population, weights, ids, rows, draw, batch_key)
    changes = _apart(changes, per_round + jnp.min(ids))  # methods that send all give the same numbers, to the bit
    is_finite = jnp.all(jnp.isfinite(changes), axis=1) | ~is_one
    if persists:
        momentum = axis.scatter(momentum, of_all, rows)
    values = changes + axis.gather(residuals, of_all) if method.up_feedback else changes
    noise = jax.vmap(functools.partial(jax.random.fold_in, noise_key))(ids)
    up = _bound(method.up, _sizes(model))
    messages = jax.vmap(up.encode)(values, noise)
    decoded = jax.vmap(up.decode)(messages)
    bits = jax.vmap(functools.partial(_counted, up))(messages)
    if method.up_feedback:
        residuals = axis.scatter(residuals, of_all, values - decoded)
    shares = jnp.where(is_one, population.sizes[ids].astype(jnp.float32) / mean_size if method.weighted else 1.0, 0.0)
    if method.weighted:
        decoded = shares[:, None] * decoded
    elif axis.fills_up(per_round, settings.chunk):
        decoded = jnp.where(is_one[:, None], decoded, 0)
    return (total + jnp.sum(decoded, axis=0), weight + jnp.sum(shares), residuals, momentum), (bits, is_finite)


def _bound(compressor: Compressor, sizes: tuple[int, ...]) -> Compressor:
    return compressor if compressor.of_tensors is None else compressor.of_tensors(sizes)


def _counted(compressor: Compressor, message: Any) -> Bits:
    return Bits(*(jnp.asarray(part, jnp.uint32) for part in compressor.bits(message)))


def _local_changes(
    model: Model,
    method: Method,
    settings: Settings,
    population: Clients,
    weights: jax.Array,
    ids: jax.Array,
    momentum: jax.Array,
    draw: Callable[[jax.Array | int], jax.Array],
    batch_key: jax.Array,
) -> tuple[jax.Array, jax.Array]:
    """Returns the changes [ids, n] of the weights by local training, and the new momentum [ids, n].

    `draw` gives the random bits uint32 [ids, batch_size] of the batches of a step; `batch_key` is the round's.
    """
    to_params, rate, batches = unravel(model), settings.learning_rate, _batches(model, method, population, ids, draw)
    gradient, has_momentum = jax.grad(model.loss), settings.momentum > 0
    if method.local_steps == 1 and settings.weights != "own":
        slopes = _rows(jax.vmap(gradient, (None, 0))(to_params(weights), batches(jnp.int32(0), batch_key)))
        momentum = settings.momentum * momentum + slopes if has_momentum else momentum
        return -rate * (momentum if has_momentum else slopes), momentum

    def local_step(carry: tuple[Any, Any], step: jax.Array) -> tuple[tuple[Any, Any], None]:
        changes, speed = carry  # summing changes loses fewer bits than subtracting weights in the end
        own = jax.tree.map(jnp.add, to_params(weights), changes)
        slopes = jax.vmap(gradient)(own, batches(step, batch_key))
        if has_momentum:
            speed = slopes = jax.tree.map(lambda old, slope: settings.momentum * old + slope, speed, slopes)
        return (jax.tree.map(lambda change, slope: change - rate * slope, changes, slopes), speed), None

    # Trees of arrays, not rows: what a model reads would be copied out of rows in each step.
    start = jax.vmap(to_params)(jnp.zeros((ids.size, weights.size), jnp.float32))
    speed = jax.vmap(to_params)(momentum) if has_momentum else ()
    (changes, speed), _ = jax.lax.scan(local_step, (start, speed), jnp.arange(method.local_steps))
    return _rows(changes), _rows(speed) if has_momentum else momentum


def _batches(
    model: Model, method: Method, population: Clients, ids: jax.Array, draw: Callable[[jax.Array | int], jax.Array]
) -> Callable[[jax.Array, jax.Array], Any]:
    """Returns (step, the round's key of batches) -> the clients' batches [ids, batch_size, ...]."""
    # Of all steps at once: drawing is a loop over a batch, whatever the number of batches.
    steps = jnp.arange(method.local_steps)
    bits = jax.lax.map(draw, steps) if method.local_steps > 1 else draw(0)[None]
    batch_rows = jax.vmap(jax.vmap(federated_clients.rows_of, (0, None, 0)), (0, None, None))(bits, population, ids)

    def batches(step: jax.Array, batch_key: jax.Array) -> Any:
        batch = jax.tree.map(lambda array: array[batch_rows[step]], population.samples)
        if model.augment is None:
            return batch
        step_key = jax.random.fold_in(jax.random.fold_in(batch_key, AUGMENTATION), step)
        return jax.vmap(model.augment)(jax.vmap(functools.partial(jax.random.fold_in, step_key))(ids), batch)

    return batches


def _rows(tree: Any) -> jax.Array:
    """Returns arrays [clients, ...] of weights as rows [clients, n]."""
    leaves = jax.tree.leaves(tree)
    return jnp.concatenate([leaf.reshape(leaf.shape[0], -1) for leaf in leaves], axis=1)


def _server(
    method: Method, sizes: tuple[int, ...], state: State, mean: jax.Array, key: jax.Array
) -> tuple[jax.Array, jax.Array, jax.Array, Bits]:
    """Returns the new weights and residual, the update that is broadcast, and its bits."""
    down = _bound(method.down, sizes)
    values = mean + state.server_residual if method.down_feedback else mean
    message = down.encode(values, key)
    update = _apart(down.decode(message), state.done)
    residual = values - update if method.down_feedback else state.server_residual
    return state.weights + update, residual, update, _counted(down, message)


def _apart(values: jax.Array, number: jax.Array) -> jax.Array:
    """Returns the values, float32, whose last multiplication does not melt into an addition that follows.

    Clients add what they decode without that multiplication, and have to come to the same bits. Compilers remove
    barriers and conversions to and fro, but not the addition to their bits of a number that they do not know: it is 0,
    of a `number` that is not negative.
    """
    zero = jnp.minimum(number, 0)
    return jax.lax.bitcast_convert_type(jax.lax.bitcast_convert_type(values, jnp.int32) + zero, jnp.float32)


@functools.lru_cache(maxsize=64)
def _shapes(model: Model) -> Any:
    """Shapes of the parameters; tracing the model's `init` for them takes milliseconds."""
    return jax.eval_shape(model.init, jax.eval_shape(lambda: jax.random.key(0)))


def _sizes(model: Model) -> tuple[int, ...]:
    """Sizes of the tensors that the vector of weights is one after the other."""
    return tuple(leaf.size for leaf in jax.tree.leaves(_shapes(model)))


def _per_round(settings: Settings, population: Clients) -> int:
    return population.number if settings.per_round is None else settings.per_round


def _persists(settings: Settings) -> bool:
    return settings.momentum > 0 and settings.momentum_state == "persist"
