"""Two processes of one run, two devices each, on loopback: who reads and writes what, what a checkpoint gives back."""

import os
import pathlib
import socket
import subprocess
import sys

import pytest

from common import processes
from tests.host_devices import xla_flags

PROGRAM = pathlib.Path(__file__).with_name("two_processes.py")


READS = """
import pathlib, sys, jax, numpy as np
from common import mesh
from common.training.checkpoint import Checkpointer
sharding = mesh.data_sharding()
state = {"whole": np.zeros(4, np.float32), "key": jax.random.key(0), "half": jax.numpy.ones(3, "bfloat16"),
         "split": mesh.split_rows(np.zeros(8, np.int32), sharding), "empty": np.zeros((0, 2), np.float32), "count": 0}
step, state = Checkpointer(pathlib.Path(sys.argv[1]) / "checkpoints").restore_latest(state)
assert step == 1 and state["count"] == 5 and state["split"].tolist() == list(range(8))
assert len(state["split"].addressable_shards) == jax.device_count()
assert (jax.random.normal(state["key"], (3,)) == jax.random.normal(jax.random.key(7), (3,))).all()
"""


def test_two_processes(tmp_path, request):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    shared = {"PYTHONPATH": str(request.config.rootpath), "JAX_PLATFORMS": "cpu", "JAX_NUM_PROCESSES": "2"}
    shared |= {"XLA_FLAGS": xla_flags(2)}
    shared |= {"JAX_COORDINATOR_ADDRESS": address, "JAX_COORDINATOR_BIND_ADDRESS": address}
    processes = [
        subprocess.Popen(
            [sys.executable, str(PROGRAM), str(tmp_path)],
            env=os.environ | shared | {"JAX_PROCESS_ID": str(index)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip
        for index in range(2)
    ]
    try:
        outputs = [process.communicate(timeout=600)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0, 0], "\n".join(outputs)
    rows = (tmp_path / "train" / "metrics.csv").read_text().splitlines()
    assert rows[0] == "step,noise,first" and len(rows) == 4
    for count in (1, 4):  # one process, whatever its devices, reads what two have written
        flags = {"XLA_FLAGS": xla_flags(count), "PYTHONPATH": shared["PYTHONPATH"]}
        subprocess.run([sys.executable, "-c", READS, str(tmp_path)], env=os.environ | flags, check=True, timeout=600)


@pytest.mark.parametrize(
    ("variables", "devices"),
    [
        ({}, []),
        ({"SLURM_GPUS_ON_NODE": "4", "SLURM_NTASKS_PER_NODE": "1", "SLURM_LOCALID": "0"}, [0, 1, 2, 3]),
        ({"SLURM_GPUS_ON_NODE": "4", "SLURM_NTASKS_PER_NODE": "2", "SLURM_LOCALID": "1"}, [2, 3]),
        ({"SLURM_GPUS_ON_NODE": "4", "SLURM_NTASKS_PER_NODE": "3", "SLURM_LOCALID": "1"}, []),  # left to JAX
        ({"SLURM_GPUS_ON_NODE": "gpu:4", "SLURM_NTASKS_PER_NODE": "1", "SLURM_LOCALID": "0"}, []),
    ],
)
def test_a_task_takes_its_share_of_the_devices_of_its_node(variables, devices):
    assert processes.slurm_devices(variables) == devices


def test_place_among_processes():
    place = processes._place_among_processes({"JAX_NUM_PROCESSES": "3", "JAX_PROCESS_ID": "2", "SLURM_PROCID": "7"})
    assert (place["num_processes"], place["process_id"]) == (3, 2)
    with pytest.raises(ValueError, match="JAX_NUM_PROCESSES='3' and JAX_PROCESS_ID='': expected two numbers"):
        processes._place_among_processes({"JAX_NUM_PROCESSES": "3"})


def test_one_process_waits_for_nobody():
    processes.wait_for_all("anything")
    assert processes.broadcast_bytes(b"x") == b"x" and processes.broadcast_flag(True) and processes.is_first_process()
    assert not processes.is_loss_of_peer(RuntimeError("Gloo"))
