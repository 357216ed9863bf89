"""Runs the benchmark of every kernel and writes the results: python -m kernels.bench [ROOM...] [--output DIR]

A room's bench.py, or folder bench/, has `run(bench)`, which times its kernels on named shapes against the strongest
form of each peer. Ours and theirs alternate within one run, the median of at least five repeats is quoted, and every
row goes to ROOM/bench.<device>.json with the device, the versions and the commit. A peer whose environment is missing
is left out and said so.
"""

import argparse
import contextlib
import dataclasses
import datetime
import importlib
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import sys
from collections.abc import Callable

from . import peers, timing

HERE = pathlib.Path(__file__).resolve().parent
ROOMS = sorted(
    path.relative_to(HERE).parts[0] for form in ("bench.py", "bench/__init__.py") for path in HERE.glob(f"*/{form}")
)


@dataclasses.dataclass
class Bench:
    """Collects rows. `repeats` is the number of timed calls of each contestant, after one that is not counted."""

    repeats: int = 5
    rows: list[dict] = dataclasses.field(default_factory=list)

    def compare(
        self, name: str, contestants: dict[str, Callable[[], float | None]], *, work: float, unit: str, **facts
    ):
        """Times contestants in turn (A B A B ...) and records a row.

        Args:
          name: of the row.
          contestants: callables by name, ours first; each is timed as `timing.in_turn` does.
          work: amount of work in one call, in `unit`s; throughput is quoted in millions of units a second.
          facts: whatever else belongs in the row (a floor in seconds as `floor_s`, the setting, sizes).
        """
        timings = timing.in_turn(contestants, repeats=self.repeats)
        medians, seconds = timing.medians(timings), {who: one.seconds for who, one in timings.items()}
        first = next(iter(contestants))
        row = {"name": name, "unit": unit, "work": work, "median_s": medians, "seconds": seconds, **facts}
        row["millions_per_s"] = {who: work / median / 1e6 for who, median in medians.items()}
        row["times_faster_than"] = {who: median / medians[first] for who, median in medians.items() if who != first}
        if "floor_s" in facts:
            row["times_floor"] = medians[first] / facts["floor_s"]
        self.rows.append(row)
        print(self._line(row), flush=True)

    def record(self, name: str, **facts) -> None:
        """Records a row that is no comparison."""
        self.rows.append({"name": name, **facts})
        print(f"{name:<46} " + "  ".join(f"{key} {_short(value)}" for key, value in facts.items()), flush=True)

    @staticmethod
    @contextlib.contextmanager
    def peer(name: str):
        """Yields a running peer, or None, and says so, where this is no checkout or it has not been built."""
        if (reason := peers.missing(name)) is not None:
            print(f"{name} is left out: {reason}", file=sys.stderr)
            yield None
            return
        with peers.start(name) as running:
            yield running

    @staticmethod
    def _line(row) -> str:
        size, prefix = (1, "M") if min(row["millions_per_s"].values()) >= 0.1 else (1e6, "")
        parts = [f"{who} {size * speed:.4g} {prefix}{row['unit']}/s" for who, speed in row["millions_per_s"].items()]
        parts += [f"{ratio:.2f}x {who}" for who, ratio in row["times_faster_than"].items()]
        parts += [f"{row['times_floor']:.1f}x the floor"] if "times_floor" in row else []
        return f"{row['name']:<46} " + "  ".join(parts)


def _short(value) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def device_name() -> str:
    """Name of the device for file names and reports: the accelerator's, else the processor's with its core count."""
    import jax

    device = jax.devices()[0]
    if device.platform != "cpu":
        return device.device_kind.replace(" ", "-").lower()
    model = platform.machine()
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    for mark in ("(R)", "(TM)", "(tm)"):
        model = model.replace(mark, "")
    return f"{model}-{os.cpu_count()}-cores".replace(" ", "-").lower()


def provenance() -> dict:
    """Where and on what a result was measured."""

    def git(*arguments) -> str:
        process = subprocess.run(["git", *arguments], cwd=HERE, capture_output=True, text=True, check=False)
        return process.stdout.strip() if process.returncode == 0 else "unknown"

    packages = ("jax", "jaxlib", "numpy", "numba")
    versions = {name: importlib.metadata.version(name) for name in packages}
    return {
        "device": device_name(),
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": git("rev-parse", "HEAD"),
        "dirty": bool(git("status", "--porcelain", "--untracked-files=no", "--", "kernels")),
        "versions": {"python": platform.python_version(), **versions},
        "load": os.getloadavg()[0],
    }


def main() -> int:
    """Measures the rooms named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("rooms", nargs="*", metavar="ROOM", help=f"of {', '.join(ROOMS)}; all by default")
    parser.add_argument("--output", type=pathlib.Path, help="folder of the result files (default: each room's)")
    parser.add_argument("--repeats", type=int, default=5, help="timed calls of each contestant (default 5)")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.rooms) - set(ROOMS))
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are {', '.join(ROOMS)}")
    if arguments.repeats < 1:
        parser.error(f"--repeats={arguments.repeats}: at least one timed call")
    for room in arguments.rooms or ROOMS:
        bench = Bench(arguments.repeats)
        facts = provenance()
        print(f"{room} on {facts['device']} (load {facts['load']:.1f})", flush=True)
        importlib.import_module(f"{__package__}.{room}.bench").run(bench)
        target = (arguments.output or HERE / room) / f"bench.{facts['device']}.json"
        target.parent.mkdir(parents=True, exist_ok=True)
        beside = target.with_suffix(".tmp")
        beside.write_text(json.dumps({**facts, "rows": bench.rows}, indent=1) + "\n")
        beside.replace(target)
        print(f"wrote {target}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
