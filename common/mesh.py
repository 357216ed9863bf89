"""Devices, meshes, sharding and several processes: the few helpers that data-parallel programs share."""

import os
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from common import metrics
from common.run_directory import Run


def wants_distributed(environment: Mapping[str, str] | None = None) -> bool:
    """Returns whether this process is one of several: a task of a Slurm step, or told a coordinator by JAX's variable.

    SLURM_NTASKS alone says nothing: a batch script sees it too, and would wait for tasks that are not there.
    """
    environment = os.environ if environment is None else environment
    tasks = environment.get("SLURM_STEP_NUM_TASKS", "1")
    return (tasks.isdigit() and int(tasks) > 1) or bool(environment.get("JAX_COORDINATOR_ADDRESS"))


def start_distributed(mode: str = "auto") -> None:
    """Joins the processes of one run; call it before anything else touches JAX's devices.

    Args:
        mode: "auto" (when `wants_distributed`), "always" or "never".
    """
    if mode == "always" or (mode == "auto" and wants_distributed()):
        import jax

        if not jax.distributed.is_initialized():
            jax.distributed.initialize()


def is_single_process() -> bool:
    """Returns whether this process works alone; imports nothing to find out."""
    jax = sys.modules.get("jax")
    return jax is None or not jax.distributed.is_initialized() or jax.process_count() == 1


def open_on_every_process(open_run: Callable[[], Run], path: pathlib.Path) -> Run:
    """Returns the run that process 0 opens, and for the others one that writes nothing but agrees on its result.

    Args:
        open_run: called on process 0 only.
        path: the run directory, seen by every process.

    Raises:
        ValueError, OSError: what `open_run` raised, on process 0; RuntimeError on the others.
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
        raise RuntimeError("process 0 could not open the run directory")
    quiet = metrics.Metrics(path / "metrics.csv", enabled=False)
    return Run(path, quiet, is_main=False, result={} if state else None)


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
    known = 1
    for size in axes.values():
        known *= 1 if size == -1 else size
    free = [name for name, size in axes.items() if size == -1]
    if len(free) > 1 or known <= 0 or count % known or (not free and known != count):
        raise ValueError(f"mesh {axes} does not fit {count} devices: the sizes multiply to that, one may be -1")
    shape = tuple(count // known if size == -1 else size for size in axes.values())
    automatic = (jax.sharding.AxisType.Auto,) * len(shape)
    return jax.make_mesh(shape, tuple(axes), axis_types=automatic)


def batch_sharding(mesh: Any, axis: str = "data") -> Any:
    """Returns the sharding that splits the first axis of an array over a mesh axis."""
    import jax

    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(axis))


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
