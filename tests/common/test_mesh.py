"""Meshes on four devices of a CPU, in a process of their own; who starts jax.distributed."""

import os
import socket
import subprocess
import sys

import pytest

from common import processes
from tests.host_devices import xla_flags

FOUR_DEVICES = """
import jax, jax.numpy as jnp, numpy as np
from common import mesh, processes
from common.runs import run_directory, provenance
from common.training import supervised
assert jax.device_count() == 4 and provenance.device().startswith("4 x cpu")
assert mesh.make_mesh().shape == {"data": 4}
square = mesh.make_mesh(data=2, model=-1)
assert square.shape == {"data": 2, "model": 2}
for axes in ({"data": 3}, {"data": 8}, {"data": -1, "model": -1}, {"data": 0}, {"data": 3, "model": -1}):
    try: mesh.make_mesh(**axes)
    except ValueError as error: assert "does not fit 4 devices" in str(error)
    else: raise AssertionError(axes)
line = mesh.make_mesh(data=4)
batch = mesh.split_rows({"x": np.arange(8.0).reshape(8, 1)}, mesh.data_sharding())
assert {shard.data.shape for shard in batch["x"].addressable_shards} == {(2, 1)}
np.testing.assert_array_equal(mesh.split_rows(np.arange(6), mesh.data_sharding()), [0, 1, 2, 3, 4, 5, 5, 5])
total = jax.shard_map(lambda x: jax.lax.psum(x.sum(), "data"), mesh=line,
                      in_specs=jax.sharding.PartitionSpec("data"), out_specs=jax.sharding.PartitionSpec())
assert float(total(batch["x"])) == 28.0

def step(state, batch):
    gradient = jax.grad(lambda w: ((batch["x"] @ w - batch["y"]) ** 2).mean())(state)
    return state - 0.1 * gradient, {"norm": jnp.abs(gradient).sum()}
x = np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32)
arrays = {"x": x, "y": x @ np.float32([1, -2, 3])}
import sys, pathlib
one = mesh.batch_sharding(jax.make_mesh((1,), ("data",), (jax.sharding.AxisType.Auto,), devices=jax.devices()[:1]))
for batch_size in (8, 7):  # 7: the last device has one example, and one that is masked
    ends = []
    for name, sharding in (("one", one), ("four", None)):
        run = run_directory.open_for_test(pathlib.Path(sys.argv[1]) / f"{name}{batch_size}")
        plan = supervised.Plan(epochs=20, batch_size=batch_size, seed=0)
        ends.append(np.asarray(supervised.train(run, step, jnp.zeros(3), arrays, plan, batch_sharding=sharding)))
    np.testing.assert_allclose(ends[0], [1, -2, 3], atol=1e-2)
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-5)
"""

TWO_PROCESSES = """
import sys, pathlib, jax
jax.distributed.initialize(sys.argv[1], 2, int(sys.argv[2]))
from common import mesh, processes
from common.runs import run_directory
import dataclasses
@dataclasses.dataclass(frozen=True)
class Config: pass
path = pathlib.Path(sys.argv[3])
processes.start_distributed("always")
def opened(): return run_directory.open_run(path, Config(), verb="toy.train")
run = processes.open_on_every_process(opened, path)
assert run.is_main == (sys.argv[2] == "0") and run.result is None
run.metrics.write(1, loss=1)
run.log("only once")
run.finish({"loss": 1.0})
from jax.experimental import multihost_utils
multihost_utils.sync_global_devices("finished")
run.close()
again = processes.open_on_every_process(opened, path)
assert again.result is not None
"""


def environment(root, **changes):
    return os.environ | {"PYTHONPATH": str(root), "JAX_PLATFORMS": "cpu"} | changes


def test_four_devices(tmp_path, request):
    subprocess.run(
        [sys.executable, "-c", FOUR_DEVICES, str(tmp_path)],
        env=environment(request.config.rootpath, XLA_FLAGS=xla_flags(4)),
        check=True,
    )


@pytest.mark.slow
def test_two_processes_agree_and_one_writes(tmp_path, request):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        address = f"localhost:{free.getsockname()[1]}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", TWO_PROCESSES, address, str(index), str(tmp_path / "run")],
            env=environment(request.config.rootpath),
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(2)
    ]
    errors = [process.communicate(timeout=120)[1] for process in processes]
    assert [process.returncode for process in processes] == [0, 0], errors
    assert ["only once" in text for text in errors] == [True, False]
    assert (tmp_path / "run" / "metrics.csv").read_text() == "step,loss\n1,1\n"


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, False),  # a batch script, outside of srun
        ({"SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"SLURM_STEP_NUM_TASKS": "4"}, True),
        ({"JAX_COORDINATOR_ADDRESS": "host:1234"}, True),
        ({"JAX_COORDINATOR_ADDRESS": "host:1234", "SLURM_STEP_NUM_TASKS": "1"}, False),
        ({"JAX_NUM_PROCESSES": "1", "SLURM_STEP_NUM_TASKS": "4", "JAX_COORDINATOR_ADDRESS": "host:1234"}, False),
        ({"JAX_NUM_PROCESSES": "2", "SLURM_STEP_NUM_TASKS": "1"}, True),  # launch.run inside of a Slurm job
    ],
)
def test_who_starts_jax_distributed(variables, wanted):
    assert processes.wants_distributed(variables) is wanted


def test_one_process_opens_by_itself(tmp_path):
    processes.start_distributed("never")
    assert processes.is_single_process()
    assert processes.open_on_every_process(lambda: "opened", tmp_path) == "opened"
