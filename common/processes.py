"""Several processes of one run: who joins, who writes, what they tell each other.

Several processes are started by `launch.run`, by srun or by hand; each runs the same program, and process 0 writes.
"""

import os
import pathlib
import re
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from common.runs import metrics
from common.runs.run_directory import Run

BROADCAST_BYTES = 1 << 26  # in one piece
SHARED_SECONDS = 20.0  # so late may a network file system show what another machine has written


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


def check_shared(folder: pathlib.Path) -> None:
    """Returns once every process of the run sees a folder that process 0 has made.

    Raises:
      ValueError: one does not, also after SHARED_SECONDS; on every process.
    """
    if is_single_process():
        return
    import numpy as np
    from jax.experimental import multihost_utils

    token = folder / f".seen-by-all-{broadcast_bytes(os.urandom(4)).hex()}"
    if is_first_process():
        token.touch()
    wait_for_all("a folder for all")
    end = time.monotonic() + SHARED_SECONDS
    while not (is_seen := token.exists()) and time.monotonic() < end:
        time.sleep(0.1)
    sees = multihost_utils.process_allgather(np.int32(is_seen))
    if is_first_process():
        token.unlink()
    if not sees.all():
        raise ValueError(
            f"{folder} is not seen by process {int(np.argmin(sees))} of {len(sees)}: give a --run_dir on a file system "
            "that all nodes of the run share"
        )
