"""A whole Slurm on one machine, for trying and for tests: slurmctld, two slurmd and munge, on loopback, in a folder.

By hand: `python tests/launch/slurm_box.py up [FOLDER]`, then `source FOLDER/environment.sh` and sbatch, squeue,
launch.run; `status` and `down` with the same folder. Needs Debian's slurm-wlm and munge; root, or an ordinary user for
whom munged and slurmd start. Partition "low" is the default and gives way to "high": its jobs are asked to stop, and
queued again.
"""

import dataclasses
import getpass
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping

COMMANDS = ("slurmctld", "slurmd", "munged", "sbatch", "srun", "squeue", "scontrol", "scancel", "sinfo")
INSTALL = "needs a Slurm to try on: apt-get install slurm-wlm munge"
DAEMONS = ("munged", "slurmctld", "slurmscriptd", "slurmd", "slurmstepd")
NODES = ("n0", "n1")
CPUS = 8  # that each node claims, however many there are
GRACE_SECONDS = 30  # between the request to stop and the kill, when "high" takes the nodes
START_SECONDS = 60.0
STOP_SECONDS = 10.0
DEFAULT_FOLDER = pathlib.Path(tempfile.gettempdir()) / f"havel-slurm-{os.getuid()}"

CONFIGURATION = """
ClusterName=box
SlurmctldHost=localhost(127.0.0.1)
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
SlurmctldPort={ports[0]}
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,sched_min_interval=100000,batch_sched_delay=0,bf_interval=1
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobRequeue=1
ReturnToService=2
KillWait=5
MinJobAge=600
SlurmctldTimeout=60
SlurmdTimeout=60
NodeName=n[0-1] NodeAddr=127.0.0.1 Port=[{ports[1]},{ports[2]}] CPUs={cpus} State=UNKNOWN
PartitionName=low Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE GraceTime={grace} State=UP
PartitionName=high Nodes=ALL PriorityTier=10 PreemptMode=OFF State=UP
"""


@dataclasses.dataclass(frozen=True)
class Box:
    """A Slurm that runs in `folder`; `environment` is what its commands need."""

    folder: pathlib.Path
    user: str = getpass.getuser()

    @property
    def environment(self) -> dict[str, str]:
        """The variables of a process that uses this Slurm."""
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "SBATCH_"))}
        paths = os.pathsep.join([clean.get("PATH", ""), "/usr/sbin", "/usr/bin"])
        return clean | {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": paths}

    def command(self, *argv: str, timeout: float = 30.0) -> str:
        """Returns what one of Slurm's commands prints; raises CalledProcessError with its complaint."""
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, timeout=timeout)
        if done.returncode:
            raise RuntimeError(f"{' '.join(argv)}: {done.stderr.strip() or done.returncode}")
        return done.stdout

    def release(self) -> None:
        """Lets jobs that were queued again start now: Slurm holds them back for about two minutes.

        Not within the same second: the permission to run that was withdrawn with the first start would still be so.
        """
        time.sleep(2.5)
        for line in self.command("squeue", "--noheader", "--array", "--format=%i %T %r").splitlines():
            identity, state, reason = (line.split() + ["", ""])[:3]
            if state == "PENDING" and reason == "BeginTime":
                self.command("scontrol", "update", f"JobId={identity}", "StartTime=now")


def missing() -> str:
    """Returns why there can be no box here, or ""."""
    paths = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/bin"])
    absent = [name for name in COMMANDS if shutil.which(name, path=paths) is None]
    return f"{INSTALL} ({', '.join(absent[:3])} not found)" if absent else ""


def up(folder: pathlib.Path) -> Box:
    """Returns a box whose nodes are idle; one that runs there already is taken as it is.

    Raises:
        RuntimeError: programs are missing, or a daemon does not start; the end of its log is told.
    """
    if reason := missing():
        raise RuntimeError(reason)
    folder = folder.absolute()
    box = Box(folder)
    if _is_up(box):
        return box
    down(folder)
    for name in (".", "state", *(f"spool.{node}" for node in NODES)):
        (folder / name).mkdir(parents=True, exist_ok=True)
    ports = free_ports(3)
    text = CONFIGURATION.format(user=box.user, folder=folder, ports=ports, cpus=CPUS, grace=GRACE_SECONDS)
    (folder / "slurm.conf").write_text(text)
    (folder / "environment.sh").write_text(f"export SLURM_CONF={folder}/slurm.conf PATH=$PATH:/usr/sbin:/usr/bin\n")
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))
    # Forced: a temporary folder above may be open to all, which munge would rather not have.
    _daemon(
        box, "munged", "--force", "--foreground", f"--socket={folder}/munge.socket", f"--key-file={key}",
        f"--log-file={folder}/munged.log", f"--pid-file={folder}/munged.pid", f"--seed-file={folder}/munge.seed",
    )  # fmt: skip
    _wait_for(lambda: (folder / "munge.socket").exists(), box, "munged")
    _daemon(box, "slurmctld", "-D", "-i")
    for node in NODES:
        _daemon(box, "slurmd", "-D", "-N", node)
    _wait_for(lambda: _is_up(box), box, "slurmctld")
    return box


def down(folder: pathlib.Path) -> None:
    """Ends every process of a box, its jobs first; returns when none is left. The folder stays."""
    box = Box(folder.absolute())
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + STOP_SECONDS
        while leftovers := processes(box):
            for identity in leftovers:
                try:
                    os.kill(identity, number)
                except ProcessLookupError:
                    pass
            if time.monotonic() > deadline:
                break
            time.sleep(0.1)
    for started in _STARTED:
        started.poll()
    if leftovers := processes(box):
        raise RuntimeError(f"processes of the box in {folder} do not end: {leftovers}")


def processes(box: Box) -> list[int]:
    """Returns the processes that belong to a box: its daemons, its jobs, and whatever those started.

    A shell that uses the box has its SLURM_CONF too, and is none of them.
    """
    mark = f"SLURM_CONF={box.folder / 'slurm.conf'}".encode()
    leftovers = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            variables = (path / "environ").read_bytes().split(b"\0")
            is_job = any(variable.startswith(b"SLURM_JOB_ID=") for variable in variables)
            if mark in variables and (is_job or _name(path) in DAEMONS) and _state(path) != "Z":
                leftovers.append(int(path.name))
        except (OSError, ValueError):
            continue
    return [identity for identity in leftovers if identity != os.getpid()]


def _name(path: pathlib.Path) -> str:
    return (path / "comm").read_text().strip()


def _state(path: pathlib.Path) -> str:
    return (path / "stat").read_text().rpartition(")")[2].split()[0]


def _is_up(box: Box) -> bool:
    try:
        states = box.command("sinfo", "--noheader", "--Node", "--partition=low", "--format=%N %t", timeout=5).split()
    except (RuntimeError, subprocess.SubprocessError, OSError):
        return False
    return set(states[0::2]) == set(NODES) and set(states[1::2]) <= {"idle", "mix", "alloc"}


def _daemon(box: Box, name: str, *arguments: str) -> None:
    with (box.folder / f"{name}.out").open("ab") as output:
        started = subprocess.Popen(
            [name, *arguments], env=box.environment, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, cwd=box.folder,
        )  # fmt: skip
    _STARTED.append(started)


_STARTED: list[subprocess.Popen] = []  # by this process, to be reaped


def _wait_for(ready, box: Box, name: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if time.monotonic() > deadline:
            texts = [path.read_text(errors="replace")[-600:] for path in sorted(box.folder.glob("*.log"))]
            down(box.folder)
            raise RuntimeError(f"{name} did not start in {START_SECONDS:.0f} s: " + "\n".join(texts))
        time.sleep(0.1)


def free_ports(count: int) -> list[int]:
    """Returns ports of the loopback address that nobody listens on."""
    probes = [socket.socket() for _ in range(count)]
    for probe in probes:
        probe.bind(("127.0.0.1", 0))
    ports = [probe.getsockname()[1] for probe in probes]
    for probe in probes:
        probe.close()
    return ports


def main(argv: list[str]) -> int:
    """Returns the exit code of the command line."""
    actions: Mapping = {"up": up, "down": down, "status": None}
    if len(argv) not in (2, 3) or argv[1] not in actions:
        print(__doc__)
        return 2
    folder = pathlib.Path(argv[2]) if len(argv) == 3 else DEFAULT_FOLDER
    try:
        if argv[1] == "up":
            up(folder)
            print(f"up; use it with: source {folder.absolute()}/environment.sh")
        elif argv[1] == "down":
            down(folder)
            print("down")
        else:
            box = Box(folder.absolute())
            print(box.command("sinfo") + box.command("squeue") if _is_up(box) else "down")
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv))
