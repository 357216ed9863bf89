"""Rounds of federated learning as one program: many rounds in a device call, clients as an axis, every bit counted.

    model = simulate.Model(init, loss, accuracy)  # pure functions; params are any pytree of float32 arrays
    result = simulate.simulate(model, population, methods.fed_sgd(), rounds=1000, key=jax.random.key(0),
                               settings=simulate.Settings(per_round=10), test={"x": x, "y": y})
    result.curve[-1].accuracy, result.curve[-1].bits_up

Source: algorithm 2 and section V of Sattler, Wiedemann, Mueller, Samek, arXiv:1903.02891.
"""

import contextlib
import dataclasses
import functools
import os
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np

from common import mesh
from common.federated import catch_up, client_rows, same_simulation
from common.federated import per_client as own_samples
from common.federated import rounds as federated_rounds
from common.federated.clients import Clients
from common.federated.compressor import NOTHING, Bits
from common.federated.dense import float_bits
from common.federated.methods import Method
from common.federated.per_client import PerClient
from common.federated.rounds import Model, Settings, State, Trace
from common.training import checkpoint
from kernels import scalars

__all__ = ["Model", "Point", "Result", "Settings", "simulate"]

DEFAULTS = Settings()


class Point(NamedTuple):
    """Where a simulation stands, in numbers of Python.

    Attributes:
      rounds, iterations: finished ones; a round has as many iterations as local steps.
      loss, accuracy: of the server's weights on the test batch; None without one.
      up: bits that all clients have sent.
      down: bits that all clients have downloaded, each when it came in: see `catch_up`.
    """

    rounds: int
    iterations: int
    loss: float | None
    accuracy: float | None
    up: Bits
    down: Bits

    @property
    def bits_up(self) -> int:
        """Bits of all that clients have sent."""
        return self.up.total

    @property
    def bits_down(self) -> int:
        """Bits of all that clients have downloaded."""
        return self.down.total


@dataclasses.dataclass(frozen=True, eq=False)
class Result:
    """What a simulation has come to.

    Attributes:
      curve: a point every `settings.every` rounds, and one at the end.
      params: of the server, as `model.init` returns them.
      state: of the last round.
      ledger: who has which weights, and what catching up costs.
      updates: float32 [rounds, n], of the rounds that this call ran, with `settings.record`; else [0, n].
      per_client: what the last weights come to on the samples of each client, where it was asked for.
    """

    curve: list[Point]
    params: Any
    state: State
    ledger: catch_up.Ledger
    updates: np.ndarray
    per_client: PerClient | None = None


def simulate(
    model: Model,
    clients: Clients,
    method: Method,
    rounds: int,
    key: jax.Array,
    settings: Settings = DEFAULTS,
    *,
    test: Any = None,
    per_client: bool = False,
    checkpoints: str | os.PathLike | None = None,
    on_point: Callable[[Point], None] | None = None,
    log: Callable[[str], None] | None = None,
) -> Result:
    """Returns the result of training a model on clients that send and receive by a method.

    Args:
      model: pure functions, see `Model`.
      clients: their samples, see `common.federated.clients`.
      method: what is sent, see `common.federated.methods`.
      rounds: in all, those of a run that is resumed included.
      key: of all random numbers: first weights, participants, batches, noise.
      settings: how clients train.
      test: a batch, of which the curve has loss and accuracy.
      per_client: whether the result has loss and accuracy of each client's own samples, at the end.
      checkpoints: a folder; a simulation that was killed goes on from there, to the same numbers; with another chunk,
        or on another number of devices, to those up to rounding.
      log: called with lines of text: from where a killed run goes on, what each of several devices holds.
      on_point: called with every new point, after the checkpoint that belongs to it; what it raises ends the run.

    Raises:
      TypeError: the method is no `Method`, or the key none of `jax.random.key`.
      ValueError: a setting makes no sense; a checkpoint is of another simulation, see `same_simulation`; the test batch
        is empty or gives a loss of NaN; what a client changes or the server has is not finite, or the weights have left
        their grid, so that the numbers since would mean nothing.
    """
    rounds = scalars.whole("rounds", rounds, 1)
    _check_arguments(method, key, test)
    state = federated_rounds.initial_state(model, clients, method, settings, key)
    size = state.weights.size
    merged_bits = None
    if method.grid is not None and method.merged_bits is not None:
        merged_bits = functools.partial(method.merged_bits, size)
    ledger = catch_up.new_ledger(clients.number, float_bits(size), settings.cache, merged_bits)
    curve, updates, done = list[Point](), [np.zeros((0, size), np.float32)], 0
    sharding = mesh.data_sharding(local=True)
    store = checkpoint.Checkpointer(checkpoints) if checkpoints is not None else None
    with store or contextlib.nullcontext():
        simulation = (model, method, settings, state, clients, key, test)
        identity = same_simulation.identity_of(*simulation) if store is not None else {}
        if store is not None and (restored := store.restore_latest(state)):
            done, state = restored
            difference = same_simulation.check_same(identity, store.notes["identity"], checkpoints)
            if log is not None:
                log(f"resumed after round {done} of {rounds}" + (f"; {difference}" if difference else ""))
            if done > rounds:
                raise ValueError(f"rounds={rounds}: {checkpoints} has a state after {done}: expected at least as many")
            curve = [Point._make([*numbers, Bits(*up), Bits(*down)]) for *numbers, up, down in store.notes["curve"]]
            ledger.last_sync, ledger.ways = store.notes["last_sync"], store.notes["ways"]
            ledger.totals = [Bits(*total) for total in store.notes["totals"]]
        data = mesh.on_every_device((clients, key, test), sharding) if sharding is not None else (clients, key, test)
        if sharding is not None and log is not None:
            rows = -(-clients.number // mesh.split_count(sharding))
            log(f"{mesh.split_count(sharding)} devices: each holds all samples and the rows of {rows} clients at most")
        state = federated_rounds.placed(state, sharding)
        while done < rounds:
            count = min(settings.every - done % settings.every, rounds - done)
            state, trace, scores = federated_rounds.advance(model, method, settings, count, state, *data, sharding)
            trace = jax.device_get(trace)
            _check_finite(trace, done)
            check_grid(method, state, done + count)
            if scores is not None and np.isnan(float(scores[0])):
                raise ValueError(f"the loss on the test batch is NaN after {done + count} rounds: look at its samples")
            curve.append(_point(curve, trace, scores, ledger, done + count, method.local_steps))
            updates.append(trace.update if settings.record else updates[0])
            done += count
            if store is not None and (done == rounds or len(curve) % settings.save_every == 0):
                notes = {"identity": identity, "curve": curve} | {
                    name: getattr(ledger, name) for name in ("last_sync", "totals", "ways")
                }
                store.save(done, _of_one_device(state, clients, sharding), wait=False, notes=notes)
            if on_point is not None:
                on_point(curve[-1])
    state = _of_one_device(state, clients, sharding)
    params = jax.tree.map(jax.numpy.asarray, federated_rounds.unravel(model)(np.asarray(state.weights)))
    of_clients = own_samples.per_client(model, params, clients) if per_client else None
    return Result(curve, params, state, ledger, np.concatenate(updates), of_clients)


def _of_one_device(state: State, clients: Clients, sharding: Any) -> State:
    """Returns a state as any number of devices has it."""
    rows = {
        name: client_rows.joined(array, min(clients.number, array.shape[0]), sharding)
        for name, array in (("residuals", state.residuals), ("momentum", state.momentum))
    }
    return state._replace(**rows)


def _point(
    curve: list[Point], trace: Trace, scores: Any, ledger: catch_up.Ledger, done: int, local_steps: int
) -> Point:
    """Returns the next point of a curve; the ledger goes through the rounds."""
    up, down = (curve[-1].up, curve[-1].down) if curve else (NOTHING, NOTHING)
    messages = np.stack(trace.bits_down.whole(), axis=1)
    for participants, message in zip(trace.participants, messages.tolist(), strict=True):
        for client in participants.tolist():
            down = down.plus(ledger.synchronise(client).bits)
        ledger.broadcast(Bits(*message))
    up = up.plus(Bits(*np.stack(trace.bits_up.whole()).sum(axis=(1, 2), dtype=np.uint64).tolist()))
    loss, accuracy = (None, None) if scores is None else map(float, scores)
    return Point(done, done * local_steps, loss, accuracy, up, down)


def _check_arguments(method: Any, key: Any, test: Any) -> None:
    if not isinstance(method, Method):
        raise TypeError(f"method={method!r}: expected a Method, such as methods.stc(1 / 100)")
    if not isinstance(key, jax.Array) or not jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key) or key.ndim:
        raise TypeError(f"key={key!r}: expected one of jax.random.key")
    lengths = {np.shape(leaf)[0] if np.ndim(leaf) else 0 for leaf in jax.tree.leaves(test)}
    if test is not None and (len(lengths) != 1 or 0 in lengths):
        shapes = [np.shape(leaf) for leaf in jax.tree.leaves(test)]
        raise ValueError(f"test has arrays of shapes {shapes}: expected the same number of samples, 1 or more")


def _check_finite(trace: Trace, done: int) -> None:
    wrong = np.argwhere(~trace.is_finite)
    if len(wrong):
        row, column = wrong[0]
        raise ValueError(
            f"the change of client {trace.participants[row, column]} in round {done + row} is not finite: "
            "expected finite numbers; lower learning_rate, or look at its samples"
        )
    if not trace.is_decoded_finite.all():
        first = done + int(np.argmin(trace.is_decoded_finite))
        raise ValueError(
            f"what the method's compressors decode in round {first} is not finite, though the clients' changes are: "
            "expected finite numbers; look at encode and decode"
        )


def check_grid(method: Method, state: State, done: int) -> None:
    """Raises ValueError where weights have left what float32 holds of their grid."""
    if method.grid is None:
        return
    largest = float(abs(state.weights).max())
    if largest >= 2**24 * method.grid:
        raise ValueError(
            f"a weight has reached {largest:.3g} in round {done}: expected below 2^24 steps of grid={method.grid}, "
            "as float32 holds them; choose a coarser grid"
        )
