"""One call for a system of one's own: an energy function in, a trained network with corrected estimates out.

The verbs do the same with flags, run directories and resuming: `--system=MODULE:FUNCTION` names an energy for them.
"""

import pathlib
import tempfile
from collections.abc import Callable

import jax

from common import config
from common.runs import run_directory
from kernels.autoregressive import SpinEstimates
from kernels.ising.systems import of_energy
from projects.van import systems, train, weights
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
    lattice = {"rows": rows, "columns": columns, "system": "projects.van.solve:solve"}
    settings = config.from_keywords(TrainConfig, "train", beta=beta, **lattice, **flags)
    network = network_of(settings)
    system = of_energy(energy, network.rows, network.columns)
    systems.check_symmetry(settings, system)
    system.images(settings.images)  # what cannot be done stops before the training
    with tempfile.TemporaryDirectory() as folder:
        run = run_directory.open_for_test(pathlib.Path(run_dir or folder))
        defence = [weights.load(network, path, "defence", run) for path in settings.defence]
        parameters, wider = train.fit(settings, system, run)
        estimates = train.estimate(settings, system, [parameters, *defence, *wider], samples, run)
        run.close()
    return estimates
