"""Clients over devices: three give the numbers of one, hold a part of the rows each, go on from the state of one."""

import os
import pathlib
import subprocess
import sys

import numpy as np

from tests.host_devices import xla_flags

SCRIPT = pathlib.Path(__file__).with_name("on_devices.py")


def run(folder, name, devices, rounds, checkpoints, root):
    environment = os.environ | {"XLA_FLAGS": xla_flags(devices), "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(root)}
    output = folder / f"{name}.npz"
    subprocess.run([sys.executable, SCRIPT, output, checkpoints, str(rounds)], check=True, env=environment, timeout=600)
    if rounds < 6:
        return {}
    with np.load(output) as file:
        return {name: file[name] for name in file.files}


def test_three_devices_give_the_numbers_of_one(tmp_path, request):
    """Six clients over three devices one by one, five that fill up; 20 rows of clients over three devices."""
    root = request.config.rootpath
    one = run(tmp_path, "one", 1, 6, tmp_path / "of_one", root)
    run(tmp_path, "half", 1, 3, tmp_path / "of_both", root)
    three = run(tmp_path, "three", 3, 6, tmp_path / "of_both", root)
    assert one["devices"] == 1 and three["devices"] == 3
    assert str(three["held"]) == "[(0, 0, 0), (0, 3), (21, 3), (7, 7, 7)]"  # rows, devices; FedAvg has none
    for name in ("weights", "residuals", "momentum", "server_residual", "average", "accuracy", "of_clients"):
        np.testing.assert_allclose(three[name], one[name], atol=1e-6, err_msg=name)
    assert three["residuals"].shape == (20, 650) and np.abs(three["residuals"]).max() > 0.01
