"""Kernels on an accelerator, in a time box: make bench-device SECONDS=480 OUT=folder, or python -m kernels.bench_device

Measures what the device can do at most (a large copy, large matrix products), then each room of `bench_device_rows` in
a process of its own, the most important first, then small verbs over all devices, then the kernels' tests on the
device until the time is up. Results stand in OUT/device.json after every row; what the time did not suffice for is
listed there. On a CPU all sizes are small: a rehearsal. Needs JAX and Numba; Flax, Optax, Orbax and scikit-learn for
the verbs, pytest for the tests; no network.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

from .bench import Bench, provenance

ROOT = pathlib.Path(__file__).resolve().parents[1]
TESTS = tuple(
    f"tests/kernels/{name}"
    for name in (
        "autoregressive", "alpha_stable", "attribution", "ising", "boundary_attack", "soft_entropy",
        "entropy_coding/test_rate.py", "entropy_coding/test_xla_quantizers.py",
    )
)  # fmt: skip
LEAVE_S = 10.0  # between the interruption of a test run and its end


@dataclasses.dataclass
class DeviceBench(Bench):
    """A bench whose rows are written as they come, with ceilings and two sets of sizes."""

    target: pathlib.Path = pathlib.Path("rows.json")
    large: bool = False
    ceilings: dict[str, float] = dataclasses.field(default_factory=dict)
    attributions: dict = dataclasses.field(default_factory=dict)

    def sized(self, device, rehearsal):
        """Returns the first on an accelerator, the second on a CPU."""
        return device if self.large else rehearsal

    def compare(self, name, contestants, **facts):
        """`Bench.compare`, and what fails stands in its row."""
        try:
            super().compare(name, contestants, **facts)
        except Exception as failure:
            self.record(name, failure=f"{type(failure).__name__}: {str(failure)[:500]}")
        self.write()

    def write(self, **facts) -> None:
        """Writes what there is so far."""
        beside = self.target.with_suffix(".tmp")
        beside.write_text(json.dumps({"ceilings": self.ceilings, "rows": self.rows, **facts}))
        beside.replace(self.target)


def measure(room: str, target: pathlib.Path, ceilings: pathlib.Path, repeats: int) -> None:
    """Measures one room in this process; "ceilings" is the first."""
    import jax

    from . import ceilings as limits
    from .bench_device_rows import ROOMS

    bench = DeviceBench(repeats, target=target, large=jax.devices()[0].platform != "cpu")
    if room == "ceilings":
        bench.ceilings = limits.measured()
        bench.write(provenance=provenance())
        print("  ".join(f"{name} {value:.3g}" for name, value in bench.ceilings.items()), flush=True)
        return
    bench.ceilings = json.loads(ceilings.read_text())["ceilings"]
    try:
        ROOMS[room](bench)
    except KeyboardInterrupt:
        sys.exit("its time is over")
    except Exception as failure:  # the rows so far are worth keeping, and the next room has its own process
        bench.record(room, failure=f"{type(failure).__name__}: {str(failure)[:500]}")
    bench.write(complete=True)


def run_child(
    arguments: list[str], seconds: float, log: pathlib.Path | None = None, env=()
) -> tuple[int | None, float]:
    """Runs a Python module for at most so long; returns its exit status (None: it was stopped) and the seconds it took.

    It is interrupted first, so that a test run can still print its summary, and killed when that does not help.
    """
    start = time.monotonic()
    sink = log.open("w") if log else None
    child = subprocess.Popen(
        [sys.executable, "-m", *arguments], cwd=ROOT, stdout=sink, stderr=subprocess.STDOUT if sink else None,
        start_new_session=True, env={**os.environ, **dict(env)},
    )  # fmt: skip
    try:
        status = child.wait(max(seconds, 1))
    except subprocess.TimeoutExpired:
        status = None
        os.killpg(child.pid, signal.SIGINT)
        try:
            child.wait(LEAVE_S)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
    finally:
        if sink:
            sink.close()
    return status, time.monotonic() - start


def summary_of(log: pathlib.Path) -> dict:
    """Returns counts of a pytest log, and the tests that failed."""
    text = log.read_text(errors="replace") if log.exists() else ""
    counts = {word: int(count) for count, word in re.findall(r"(\d+) (passed|failed|skipped|errors?)\b", text[-3000:])}
    failed = sorted(set(re.findall(r"^(?:\[gw\d+\] \[ *\d+%\] )?(?:FAILED|ERROR) (\S+)", text, re.MULTILINE)))
    if not counts:  # stopped before its summary: count the lines
        counts = {word.lower(): len(re.findall(rf"\b{word}\b tests", text)) for word in ("PASSED", "FAILED")}
    return {**counts, "failures": failed}


def main() -> int:
    """Runs everything within the time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "rooms", nargs="*", help="of bench_device_rows, `verbs`, `tests`; all by default, in their order"
    )
    parser.add_argument("--seconds", type=float, default=480, help="for everything (default 480)")
    parser.add_argument("--output", type=pathlib.Path, default=ROOT / "runs" / "bench_device", help="folder of results")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of each contestant (default 5)")
    parser.add_argument("--commit", default="", help="of a copy without its history")
    parser.add_argument("--workers", type=int, default=min(8, os.cpu_count() or 1), help="of the test run")
    parser.add_argument("--only", help=argparse.SUPPRESS)  # the child's room
    parser.add_argument("--target", type=pathlib.Path, help=argparse.SUPPRESS)
    parser.add_argument("--ceilings", type=pathlib.Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.only:
        measure(arguments.only, arguments.target, arguments.ceilings, arguments.repeats)
        return 0
    return orchestrate(arguments, parser)


def run_tests(room: str, arguments, remaining_s: float, limits: pathlib.Path, result: dict):
    """Runs the kernels' tests on the device; returns status and seconds, their summary stands in the result."""
    log = arguments.output / "tests.log"
    pytest = ["pytest", *TESTS, "-v", "-n", str(arguments.workers), "-p", "no:cacheprovider", "--tb=short"]
    exact = {"JAX_DEFAULT_MATMUL_PRECISION": "highest"}  # their oracles are float64
    status, seconds = run_child(pytest, remaining_s - LEAVE_S, log, exact)
    result[room] = {**summary_of(log), "status": status, "seconds": round(seconds, 1)}
    return status, seconds


def run_verbs(room: str, arguments, remaining_s: float, limits: pathlib.Path, result: dict):
    """Runs small verbs over all devices; returns status and seconds, those of each verb stand in the result."""
    folder = arguments.output / "verbs"
    status, seconds = run_child(
        ["tests.projects.every_device", str(folder)], remaining_s, arguments.output / "verbs.log"
    )
    times, holders = folder / "seconds.json", folder / "devices.json"
    result[room] = {
        "status": status,
        "seconds": json.loads(times.read_text()) if times.exists() else {},
        "devices": json.loads(holders.read_text()) if holders.exists() else {},
    }
    return status, seconds


def run_room(room: str, arguments, remaining_s: float, limits: pathlib.Path, result: dict):
    """Measures a room in a process of its own; returns status and seconds, its rows stand in the result."""
    target = limits if room == "ceilings" else limits.with_name(f"{room}.json")
    child = ["kernels.bench_device", "--only", room, "--target", str(target), "--ceilings", str(limits)]
    status, seconds = run_child([*child, "--repeats", str(arguments.repeats)], remaining_s)
    rows = json.loads(target.read_text()) if target.exists() else {"rows": []}
    if room == "ceilings":
        result |= {**rows.get("provenance", {}), "ceilings": rows.get("ceilings", {})}
        if arguments.commit:
            result |= {"commit": arguments.commit, "dirty": None}
    else:
        facts = {"seconds": round(seconds, 1), "complete": rows.get("complete", False)}
        result["rooms"][room] = {**facts, "rows": rows["rows"]}
    return status, seconds


def orchestrate(arguments, parser) -> int:
    """Starts the rooms one after another and gathers their rows."""
    import tempfile

    from .bench_device_rows import ROOMS

    others = {"verbs": run_verbs, "tests": run_tests}
    names = [*ROOMS, *others]
    unknown = sorted(set(arguments.rooms) - set(names))
    if unknown:
        parser.error(f"no room {unknown[0]!r}; there are {', '.join(names)}")
    if arguments.seconds < 1 or arguments.repeats < 1:
        parser.error("--seconds and --repeats: at least 1")
    end = time.monotonic() + arguments.seconds
    arguments.output.mkdir(parents=True, exist_ok=True)
    result: dict = {"rooms": {}, "unmeasured": []}
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # the tests' workers share the device
    with tempfile.TemporaryDirectory() as folder:
        limits = pathlib.Path(folder) / "ceilings.json"
        for room in ["ceilings", *(arguments.rooms or names)]:
            remaining_s = end - time.monotonic()
            if remaining_s < 2 or (room not in ("ceilings", *others) and not limits.exists()):
                result["unmeasured"].append(room)
                continue
            step = others.get(room, run_room)
            status, seconds = step(room, arguments, remaining_s, limits, result)
            print(f"{room}: {seconds:.0f} s" + ("" if status == 0 else f", status {status}"), flush=True)
            (arguments.output / "device.json").write_text(json.dumps(result, indent=1) + "\n")
    (arguments.output / "device.json").write_text(json.dumps(result, indent=1) + "\n")
    if "tests" in result:
        print("tests: " + ", ".join(f"{value} {name}" for name, value in result["tests"].items() if name != "failures"))
    print(f"wrote {arguments.output / 'device.json'}")
    return 0 if result["rooms"] else 1


if __name__ == "__main__":
    sys.exit(main())
