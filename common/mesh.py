"""Devices, meshes, sharding and several processes: the few helpers that data-parallel programs share.

Several processes are started by `launch.run`, by srun or by hand; each runs the same program, and process 0 writes.
"""

import math
import os
import pathlib
import re
import sys
import zlib
from collections.abc import Callable, Mapping
from typing import Any

from common.runs import metrics
from common.runs.run_directory import Run

BROADCAST_BYTES = 1 << 26  # in one piece


class PeerError(RuntimeError):
    """Another process of this run could not go on; it says why itself."""


def wants_distributed(environment: Mapping[str, str] | None = None) -> bool:
    """Returns whether this process is one of several.

    JAX_NUM_PROCESSES decides (`launch.run` on one machine sets it), else the number of tasks of the Slurm step, else
    whether there is a coordinator. SLURM_NTASKS alone says nothing: a batch script sees it too, and would wait for
    tasks that are not there.
    """
    environment = os.environ if environment is None else environment
    for variable in ("JAX_NUM_PROCESSES", "SLURM_STEP_NUM_TASKS"):
        if environment.get(variable, "").isdigit():
            return int(environment[variable]) > 1
    return bool(environment.get("JAX_COORDINATOR_ADDRESS"))


def start_distributed(mode: str = "auto") -> None:
    """Joins the processes of one run; call it before anything else touches JAX's devices.

    Args:
      mode: "auto" (when `wants_distributed`), "always" or "never".
    """
    if mode == "always" or (mode == "auto" and wants_distributed()):
        import jax

        if not jax.distributed.is_initialized():
            jax.distributed.initialize(**_place_among_processes(os.environ))


def _place_among_processes(environment: Mapping[str, str]) -> dict[str, Any]:
    """Returns what `jax.distributed.initialize` cannot find out by itself.

    Raises:
      ValueError: a variable that is no number.
    """
    if (count := environment.get("JAX_NUM_PROCESSES")) is not None:
        index = environment.get("JAX_PROCESS_ID", "")
        if not count.isdigit() or not index.isdigit():
            raise ValueError(f"JAX_NUM_PROCESSES={count!r} and JAX_PROCESS_ID={index!r}: expected two numbers")
        deactivate = {"cluster_detection_method": "deactivate"}
        return {"num_processes": int(count), "process_id": int(index)} | deactivate
    devices = slurm_devices(environment)
    return {"local_device_ids": devices} if devices else {}


def slurm_devices(environment: Mapping[str, str]) -> list[int]:
    """Returns the devices that a task of a Slurm step takes of those on its node: an equal share; [] where it has none.

    JAX by itself gives each task one device, which would leave the others of a node idle.
    """
    try:
        gpus = int(environment["SLURM_GPUS_ON_NODE"])
        tasks, local = int(environment["SLURM_NTASKS_PER_NODE"]), int(environment["SLURM_LOCALID"])
    except (KeyError, ValueError):
        return []
    if tasks < 1 or gpus % tasks or environment.get("JAX_LOCAL_DEVICE_IDS"):
        return []
    share = gpus // tasks
    return list(range(local * share, (local + 1) * share))


def is_single_process() -> bool:
    """Returns whether this process works alone; imports nothing to find out."""
    jax = sys.modules.get("jax")
    return jax is None or not jax.distributed.is_initialized() or jax.process_count() == 1


def is_first_process() -> bool:
    """Returns whether this process writes what the run leaves: it works alone, or is number 0."""
    return is_single_process() or sys.modules["jax"].process_index() == 0


def open_on_every_process(open_run: Callable[[], Run], path: pathlib.Path) -> Run:
    """Returns the run that process 0 opens, and for the others one that writes nothing but agrees on its result.

    Args:
      open_run: called on process 0 only.
      path: the run directory, seen by every process.

    Raises:
      ValueError, OSError: what `open_run` raised, on process 0.
      PeerError: on the others, when it did.
    """
    if is_single_process():
        return open_run()
    import jax
    from jax.experimental import multihost_utils

    run, problem = None, None
    if jax.process_index() == 0:
        try:
            run = open_run()
        except (ValueError, OSError) as error:
            problem = error
    state = 2 if problem else int(run is not None and run.result is not None)
    state = int(multihost_utils.broadcast_one_to_all(state))
    if problem:
        raise problem
    if run is not None:
        return run
    if state == 2:
        raise PeerError("process 0 could not open the run directory")
    quiet = metrics.Metrics(path / "metrics.csv", enabled=False)
    return Run(path, quiet, is_main=False, result={} if state else None)


def wait_for_all(name: str) -> None:
    """Returns once every process of the run has come here; at once for one process."""
    if not is_single_process():
        from jax.experimental import multihost_utils

        multihost_utils.sync_global_devices(name)


def broadcast_bytes(data: bytes) -> bytes:
    """Returns on every process the bytes that process 0 gave; the others' are passed over."""
    if is_single_process():
        return data
    import jax
    import numpy as np
    from jax.experimental import multihost_utils

    data = data if jax.process_index() == 0 else b""
    parts = np.array(divmod(len(data), BROADCAST_BYTES), np.int32)  # 64 bits may not be enabled
    count, rest = map(int, multihost_utils.broadcast_one_to_all(parts))
    received = []
    for index, size in enumerate([BROADCAST_BYTES] * count + [rest]):
        piece = np.frombuffer(data, np.uint8, size, index * BROADCAST_BYTES) if data else np.zeros(size, np.uint8)
        received.append(np.asarray(multihost_utils.broadcast_one_to_all(piece), np.uint8).tobytes())
    return b"".join(received)


def broadcast_flag(flag: bool) -> bool:
    """Returns on every process what process 0 says."""
    if is_single_process():
        return flag
    import numpy as np
    from jax.experimental import multihost_utils

    return bool(multihost_utils.broadcast_one_to_all(np.int32(flag)))


def reached_stop(step: int) -> bool:
    """Returns whether all processes are to stop after this step, because one of them got SIGTERM.

    JAX's preemption service makes them agree on a step; each has to ask after every step. Several processes only.
    """
    from jax.experimental import multihost_utils

    return multihost_utils.reached_preemption_sync_point(step)


def is_loss_of_peer(error: BaseException) -> bool:
    """Returns whether an error in one of several processes comes from another that is gone."""
    if is_single_process():
        return False
    import jax

    if isinstance(error, PeerError) or re.search(r"\b(Gloo|NCCL|RCCL)\b|closed by peer|coordination", str(error), re.I):
        return True
    own = ("RESOURCE_EXHAUSTED", "INVALID_ARGUMENT")
    return isinstance(error, jax.errors.JaxRuntimeError) and not str(error).startswith(own)


def make_mesh(**axes: int) -> Any:
    """Returns a mesh over all devices, such as `make_mesh(data=-1)` or `make_mesh(data=2, model=2)`.

    Args:
      axes: name -> size; one size may be -1 and takes the devices that are left. No axes: data=-1.

    Raises:
      ValueError: the sizes do not multiply to the number of devices.
    """
    import jax

    axes = axes or {"data": -1}
    count = jax.device_count()
    product = 1
    for size in axes.values():
        product *= 1 if size == -1 else size
    free = [name for name, size in axes.items() if size == -1]
    if len(free) > 1 or product <= 0 or count % product or (not free and product != count):
        raise ValueError(f"mesh {axes} does not fit {count} devices: the sizes multiply to that, one may be -1")
    shape = tuple(count // product if size == -1 else size for size in axes.values())
    automatic = (jax.sharding.AxisType.Auto,) * len(shape)
    return jax.make_mesh(shape, tuple(axes), axis_types=automatic)


def batch_sharding(mesh: Any, axis: str = "data") -> Any:
    """Returns the sharding that splits the first axis of an array over a mesh axis."""
    import jax

    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(axis))


def check_split(batch_size: int, sharding: Any) -> None:
    """Raises ValueError when a batch does not split evenly over the devices of its sharding."""
    try:
        sharding.shard_shape((batch_size,))
    except ValueError:
        names = sharding.spec[0] if isinstance(sharding.spec[0], tuple) else (sharding.spec[0],)
        count = math.prod(sharding.mesh.shape[name] for name in names)
        raise ValueError(
            f"batch_size {batch_size} does not split evenly over {count} devices; take a multiple of {count}"
        ) from None


def replicated(mesh: Any) -> Any:
    """Returns the sharding that keeps a whole copy on every device."""
    import jax

    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def shard_batch(batch: Any, mesh: Any, axis: str = "data") -> Any:
    """Returns the arrays of `batch` ([batch, ...], the whole batch on every process) split over a mesh axis.

    Raises:
      ValueError: the batch does not divide by the size of the axis.
    """
    import jax
    import numpy as np

    size = mesh.shape[axis]
    for leaf in jax.tree.leaves(batch):
        if np.ndim(leaf) == 0 or leaf.shape[0] % size:
            raise ValueError(f"a batch array of shape {list(np.shape(leaf))} does not split over {size} devices")
    return jax.device_put(batch, batch_sharding(mesh, axis))


def replicate(tree: Any, mesh: Any) -> Any:
    """Returns the arrays and keys of a tree as whole copies on every device of a mesh.

    Args:
      tree: arrays that every process has with the same values; those that span processes already stay as they are.
      mesh: over the devices of all processes.

    Raises:
      ValueError: this process has other values than process 0.
    """
    import jax
    import numpy as np

    whole, checksum = replicated(mesh), 0

    def placed(leaf):
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return leaf
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(placed(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        nonlocal checksum
        array = np.asarray(leaf)
        checksum = zlib.crc32(array.tobytes(), checksum)
        return place(array, whole)

    copies = jax.tree.map(placed, tree)
    if broadcast_bytes(checksum.to_bytes(4, "big")) != checksum.to_bytes(4, "big"):
        raise ValueError("the processes of this run begin with different values: make them from the seed alone")
    return copies


def place(array: Any, sharding: Any) -> Any:
    """Returns a host array that every process has as a global array; nothing is compared, so that NaN may be in it."""
    import jax

    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def to_local(tree: Any) -> Any:
    """Returns a tree whose replicated arrays are this process's own copies; arrays that are split stay as they are."""
    import jax

    def local(leaf):
        if not isinstance(leaf, jax.Array) or leaf.is_fully_addressable or not leaf.is_fully_replicated:
            return leaf
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = jax.random.key_data(leaf).addressable_data(0)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        return leaf.addressable_data(0)

    return jax.tree.map(local, tree)


def take_rows(arrays: Any, indices: Any, sharding: Any) -> Any:
    """Returns the rows `indices` of host arrays as global arrays; a process reads only the rows of its own devices.

    Args:
      arrays: a tree of NumPy arrays [examples, ...], memory-mapped ones too; the same on every process.
      indices: int [batch], the same on every process.
      sharding: of the batch.
    """
    import jax

    def rows(array):
        shape = (len(indices), *array.shape[1:])
        return jax.make_array_from_callback(
            shape, sharding, lambda index: array[indices[index[0]]][(slice(None), *index[1:])]
        )

    return jax.tree.map(rows, arrays)
