"""Training, evaluation, search, explanation, samples, attack, simulation, blocks: four devices give one's numbers."""

import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from tests.host_devices import xla_flags

SCRIPT = pathlib.Path(__file__).with_name("every_device.py")


@pytest.mark.slow
def test_four_devices_give_the_numbers_of_one(tmp_path, request):
    numbers, devices = [], []
    for count in (1, 4):
        folder = tmp_path / str(count)
        folder.mkdir()
        environment = os.environ | {
            "XLA_FLAGS": xla_flags(count),
            "JAX_PLATFORMS": "cpu",
            "PYTHONPATH": str(request.config.rootpath),
        }
        subprocess.run([sys.executable, SCRIPT, folder], check=True, env=environment, timeout=1200)
        with np.load(folder / "numbers.npz") as file:
            numbers.append({name: file[name] for name in file.files})
        devices.append(json.loads((folder / "devices.json").read_text()))
    verbs = ("train", "evaluate", "search", "explain", "sample and train", "simulate", "transmit")
    assert devices[1] == dict.fromkeys(verbs, 4), "a verb left devices idle"
    assert numbers[0].keys() == numbers[1].keys() and len(numbers[0]) > 20
    for name, values in numbers[0].items():  # sums over a batch are added in another order
        np.testing.assert_allclose(numbers[1][name], values, rtol=2e-5, atol=2e-6, err_msg=name)
