"""What the tests of launching share: launch.run as a function, and a Slurm to try on."""

import os
import pathlib
import subprocess
import sys
import time

import pytest

from tests.launch import slurm_box

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch):
    """Commands are launched from the root of the checkout, on the processor, outside of any cluster."""
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    for name in [*os.environ]:
        if name.startswith(("SLURM_", "SBATCH_", "JAX_COORDINATOR")) or name in ("JAX_NUM_PROCESSES", "JAX_PROCESS_ID"):
            monkeypatch.delenv(name)


@pytest.fixture
def launch(capfd):
    """Returns a function that calls launch.run: (exit code, standard output, standard error)."""
    from launch import run

    def call(*argv):
        capfd.readouterr()
        code = run.main(["launch.run", *map(str, argv)])
        return (code, *capfd.readouterr())

    return call


def start(*argv, **environment) -> subprocess.Popen:
    """Returns launch.run as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "launch.run", *map(str, argv)], cwd=ROOT, env=os.environ | environment,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def until(condition, seconds: float = 120.0, what: str = "it"):
    """Returns what `condition` returns once that is true; fails after some seconds."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"{what} did not happen in {seconds:.0f} s"
        time.sleep(0.05)
    return value


def processes_with(text: str) -> list[int]:
    """Returns the other processes that have a text in their command line (a zero byte stands between arguments)."""
    leftovers = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (path / "cmdline").read_bytes() and int(path.name) != os.getpid():
                leftovers.append(int(path.name))
        except OSError:
            continue
    return leftovers


@pytest.fixture(scope="session")
def running_box(tmp_path_factory):
    """A Slurm of our own; the test is skipped where there is none, unless HAVEL_NEEDS_SLURM says that there must be."""
    needed = os.environ.get("HAVEL_NEEDS_SLURM", "") not in ("", "0")
    if reason := slurm_box.missing():
        (pytest.fail if needed else pytest.skip)(reason)
    folder = tmp_path_factory.mktemp("slurm")
    try:
        box = slurm_box.up(folder)
    except RuntimeError as error:
        (pytest.fail if needed else pytest.skip)(f"a Slurm is installed, but does not start here: {error}")
    yield box
    slurm_box.down(folder)


@pytest.fixture
def box(running_box, monkeypatch, at_the_root):
    """The box, used by this process; node names do not resolve there, so JAX is told where to meet."""
    (port,) = slurm_box.free_ports(1)
    for name, value in running_box.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("JAX_COORDINATOR_ADDRESS", f"127.0.0.1:{port}")
    monkeypatch.setenv("JAX_COORDINATOR_BIND_ADDRESS", f"127.0.0.1:{port}")
    yield running_box
    running_box.command("scancel", "--user", running_box.user)
    until(lambda: not running_box.command("squeue", "--noheader").strip(), 60, "the end of all jobs")
