"""Slurm's own commands: in a clean environment, with what they refuse in one line, and a submission that is made once.

sbatch may be cut off after its job was accepted. Every submission therefore has a name that no other has, and the queue
is asked for that name before anything is submitted again.
"""

import contextlib
import os
import re
import secrets
import subprocess
import time
from collections.abc import Mapping, Sequence

from launch.sweep import LaunchError

COMMAND_SECONDS = 60.0  # for one command; a busy controller may take ten
TRIES = 3  # of a submission whose fate Slurm itself says to be none
RETRY_SECONDS = 5.0  # what was cut off may still arrive
UNCERTAIN = re.compile(r"(?i)timed? ?out|no answer|temporar|contact|zero bytes|connect|communicat|socket|try again")

# A job hands the description of itself on to all that it starts. sbatch would take that for a wish, and a job without
# an array would find the index of another one. What people set to find their cluster stays, and so do sbatch's own
# SBATCH_ACCOUNT and its like; those that contradict the script or keep sbatch waiting go.
CLUSTER = ("SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT", "SLURM_DEBUG_FLAGS")
OURS = ("SBATCH_ARRAY_INX", "SBATCH_JOB_NAME", "SBATCH_WAIT", "SBATCH_NO_REQUEUE", "SBATCH_REQUEUE", "SBATCH_OPEN_MODE",
        "SBATCH_OUTPUT", "SBATCH_ERROR", "SBATCH_INPUT")  # fmt: skip
WISHES = ("SLURM_", "SQUEUE_", "SCANCEL_")  # the latter hide jobs from squeue, or make scancel ask back
PLACES = ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID", "JAX_LOCAL_DEVICE_IDS", "HAVEL_EXIT_CODES")  # a process among several
OF_A_JOB = ("SBATCH_CPU_BIND", "SBATCH_MEM_BIND", "SRUN_", "SLURMD_", "PMI_", "PMI2_", "PMIX_", "CUDA_VISIBLE_DEVICES",
            "GPU_DEVICE_ORDINAL", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ZE_AFFINITY_MASK")  # fmt: skip


def clean_environment(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns variables for a submission: without what a job around this process says of itself.

    Devices and bindings go only where there is such a job; outside of one somebody has chosen them.
    """
    inside = "SLURM_JOB_ID" in environment or "SLURM_JOBID" in environment
    return {
        name: value
        for name, value in environment.items()
        if name in CLUSTER
        or not (name.startswith(WISHES) or name in OURS or name in PLACES or (inside and name.startswith(OF_A_JOB)))
    }


class SlurmError(LaunchError):
    """A command of Slurm complained, or gave no answer."""


class UncertainError(SlurmError):
    """It may have done what it was told all the same."""


def call(*command: str, cluster: str = "") -> str:
    """Returns what a command of Slurm prints.

    Args:
      command: its words.
      cluster: of several that one controller's commands reach; "" for this one.

    Raises:
      SlurmError: it is not there, takes too long, or complains.
    """
    words = [command[0], *([f"--clusters={cluster}"] if cluster else []), *command[1:]]
    try:
        process = subprocess.run(
            words, capture_output=True, text=True, timeout=COMMAND_SECONDS, stdin=subprocess.DEVNULL,
            env=clean_environment(os.environ),
        )  # fmt: skip
    except FileNotFoundError:
        raise SlurmError(f"{command[0]} is not on the path: is this a login node of the cluster?") from None
    except subprocess.TimeoutExpired:
        raise UncertainError(f"{command[0]} gave no answer in {COMMAND_SECONDS:.0f} s: is slurmctld up?") from None
    if process.returncode:
        text = f"{command[0]}: {' '.join(process.stderr.split()) or f'exit code {process.returncode}'}"
        raise (UncertainError if UNCERTAIN.search(text) else SlurmError)(text)
    return process.stdout


def new_name(readable: str) -> str:
    """Returns a name for a submission that no other has."""
    return f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', readable)}.{secrets.token_hex(4)}"


def find(name: str) -> list[dict[str, str]]:
    """Returns the handle of each job or array of a name, oldest first: of the queue, else of the accounting.

    Raises:
      SlurmError: the queue cannot be asked.
    """
    identities = call("squeue", "--noheader", "--states=all", f"--name={name}", "--format=%F").split()
    if not identities:
        with contextlib.suppress(SlurmError):  # most small clusters keep no accounts
            rows = call("sacct", "--noheader", "--allocations", "--parsable2", f"--name={name}", "--format=JobID")
            identities = [row.partition("_")[0] for row in rows.split()]
    numbers = sorted({int(item) for item in identities if item.isdigit()})
    return [{"id": str(number), "name": name} for number in numbers]


def hand_over(name: str, words: Sequence[str]) -> dict[str, str]:
    """Returns the handle of a batch script that was submitted once, however often sbatch had to be called.

    Args:
      name: `new_name`, which must be the job's name.
      words: of the sbatch command after its first.

    Raises:
      UncertainError: it may or may not have been accepted, and the queue does not say.
      SlurmError: it was refused.
    """
    for count in range(TRIES):
        try:
            handle = _handle(call("sbatch", "--parsable", *words), name)
        except UncertainError as error:
            problem = error
            try:
                before = find(name)
                if not before:
                    time.sleep(RETRY_SECONDS)
                    before = find(name)
            except SlurmError as second:
                raise UncertainError(f"{error}, and {second}; the jobs may be in the queue under {name}") from None
            if before:
                return before[0]
            continue
        if count:  # the one that was cut off may have arrived since
            for other in find(name):
                if other["id"] != handle["id"]:
                    call("scancel", other["id"])
        return handle
    raise UncertainError(f"{problem}; asked {TRIES} times, and nothing of the name {name} is in the queue")


def _handle(output: str, name: str) -> dict[str, str]:
    """Reads what sbatch prints: a wrapper around it, or a plugin in it, may say more than the number."""
    for line in reversed(output.splitlines()):
        if match := re.fullmatch(r"(?:Submitted batch job )?(\d+)(?:;(\S+))?", line.strip()):
            return {"id": match.group(1), "name": name} | ({"cluster": match.group(2)} if match.group(2) else {})
    raise UncertainError(f"sbatch printed no number of a job: {output.strip()[:200]!r}")


def accounted(identity: str, cluster: str = "") -> list[tuple[str, str]]:
    """Returns (number, state) of a job or of each task of an array from Slurm's accounts; [] where it keeps none."""
    try:
        rows = call("sacct", "--noheader", "--allocations", "--parsable2", f"--jobs={identity}",
                    "--format=JobID,State", cluster=cluster)  # fmt: skip
    except SlurmError:
        return []
    return [(cells[0], cells[1].split()[0]) for row in rows.splitlines() if len(cells := row.split("|")) == 2]
