"""One call for a system of one's own: an energy function in, a trained network with corrected estimates out.

The verbs do the same with flags, run directories and resuming: `--system=MODULE:FUNCTION` names an energy for them.
"""

import dataclasses
import difflib
import pathlib
import tempfile
from collections.abc import Callable

import jax

from common import config
from common.runs import run_directory
from kernels.autoregressive import SpinEstimates
from kernels.ising.systems import of_energy
from projects.van import systems, train
from projects.van.config import TrainConfig, network_of


def solve(
    energy: Callable[[jax.Array], jax.Array],
    beta: float,
    rows: int,
    columns: int | None = None,
    *,
    samples: int = 10_000,
    run_dir: str | None = None,
    **flags,
) -> SpinEstimates:
    """Trains a network to be exp(-beta E)/Z and returns estimates of what follows from it, corrected.

    Args:
      energy: spins [n, rows, columns] of +1 and -1 (float32, JAX) to E [n].
      beta: inverse temperature.
      rows, columns: of the lattice; 1 and the number of spins for a system without one.
      samples: of the estimates.
      run_dir: keeps metrics and checkpoints, and resumes; None keeps nothing.
      flags: of `train`, such as steps=500, batch_size=200, network="made", z2=False (which a field needs); images=2
        and defended=True help where a network loses a part of the law.

    Raises:
      ValueError: no flag of `train` or one out of bounds, fewer than 2 samples, an energy that gives other than one
        number a state (+inf where it is forbidden) or is no function of JAX, z2 (which is on) with one that changes
        when spins turn over.

    Warns:
      UserWarning: the status is not "trusted".

    Returns:
      SpinEstimates: `status` tells whether to trust it; `corrected` has ln_z, mean and err by name (u, entropy, c_v,
        abs_m_site, ...); `raw` the network's own.
    """
    if samples < 2:
        raise ValueError(f"samples={samples}: errors need at least 2")
    names = [item.name for item in dataclasses.fields(TrainConfig)]
    for name in flags:
        if name not in names:
            near = difflib.get_close_matches(name, names, 1)
            advice = f"did you mean {near[0]}?" if near else "`python -m projects.van.train --help` lists them"
            raise ValueError(f"{name}={flags[name]!r} is no flag of train; {advice}")
    settings = TrainConfig(rows=rows, columns=columns, beta=beta, system="projects.van.solve:solve", **flags)
    settings = config.validate(settings)
    network = network_of(settings)
    system = of_energy(energy, network.rows, network.columns)
    systems.check_symmetry(settings, system)
    system.images(settings.images)  # what cannot be done stops before the training
    with tempfile.TemporaryDirectory() as folder:
        run = run_directory.open_for_test(pathlib.Path(run_dir or folder))
        defence = [train.load_input(network, path, "defence", run) for path in settings.defence]
        parameters, wider = train.fit(settings, system, run)
        estimates = train.estimate(settings, system, [parameters, *defence, *wider], samples, run)
        run.close()
    return estimates
