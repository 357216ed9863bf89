"""Error-rate curves of LDPC codes: 5G's or a matrix of your own, any modulation, without fading or over a delay line.

A point ends with a fixed number of block errors, whose interval is exact although it is looked at again and again (see
`intervals.counted_rate`), or when blocks run out. A run that is killed goes on to the same counts.
"""

import csv
import functools
import math
import pathlib
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from common import app, files, mesh, processes
from common.study import parts
from kernels import ldpc
from projects.eharq import intervals, receiver, transmission
from projects.eharq.config import BlerConfig

SAVE_SECONDS = 10.0
STRICT = 0.99  # level of the intervals that reference points are compared by
COUNTS = ("errors", "blocks", "bit_errors", "undetected", "iterations")


def main(settings: BlerConfig, run: app.Run) -> dict:
    """Measures the points that are missing and returns what goes to `result.json`."""
    if not processes.is_single_process():
        raise ValueError("points are measured by one process: give each of several its own --snr_db and --run_dir")
    link = transmission.link_of(settings)
    references = [] if settings.reference is None else read_reference(settings.reference, link, settings)
    positions = information_positions(link)
    points = []
    for number, snr_db in enumerate(settings.snr_db):
        make = functools.partial(measure, settings, run, link, positions, number)
        counts = parts.part(run, f"point{number}", make)
        points.append(described(snr_db, counts, settings, link, len(positions)))
        run.log(line(points[-1]))
    points.sort(key=lambda point: point["snr_db"])
    result = {
        "code": f"{link.code.name or link.code!r}, {len(positions)} information bits, {link.sent} sent",
        "rate": link.rate,
        "axis": axis_of(settings),
        "points": points,
        "reference": [compared(one, points, settings.errors) for one in references],
    }
    if run.is_main:
        report(run, settings, result)
    return result


def axis_of(settings: BlerConfig) -> str:
    """Returns what the points are over."""
    return "Eb/N0, dB" if settings.per_bit else "Es/N0, dB"


def bits_in_db(link: transmission.Link) -> float:
    """Returns how many dB E_s/N_0 lies above E_b/N_0: a symbol carries rate times order information bits."""
    return 10 * math.log10(link.rate * link.order)


def information_positions(link: transmission.Link) -> np.ndarray:
    """Returns int [bits], where the information is in a word, fillers left out: block errors are errors there."""
    positions = np.asarray(ldpc.information_positions(link.code))
    return positions[: link.bits - link.fillers]


def measure(
    settings: BlerConfig, run: app.Run, link: transmission.Link, positions: np.ndarray, number: int
) -> dict[str, int]:
    """Returns the counts of a point, from those that were saved on."""
    path = run.path / "pieces" / f"point{number}_so_far.json"
    state = files.read_json(path) or dict.fromkeys(("batches", *COUNTS), 0)
    snr_db = settings.snr_db[number] + (bits_in_db(link) if settings.per_bit else 0.0)
    key = jax.random.fold_in(jax.random.key(settings.seed), number)
    sharding, last = mesh.data_sharding(local=True), time.monotonic()
    options: dict[str, Any] = {
        "update": settings.update, "schedule": settings.schedule, "offset": settings.offset,
        "early_stop": settings.early_stop,
    }  # fmt: skip
    with run.progress(settings.errors, f"errors at {settings.snr_db[number]:g} dB", state["errors"]) as progress:
        while state["errors"] < settings.errors and state["blocks"] < settings.max_blocks:
            batch = transmission.send(
                jax.random.fold_in(key, state["batches"]), transmission.noise_of(snr_db), link=link,
                count=settings.batch, sharding=sharding,
            )  # fmt: skip
            outcome = receiver.outcome(link.code, batch.llr, batch.words, settings, positions, **options)
            before = state["errors"]
            state = add(state, outcome, settings.errors, settings.max_blocks)
            progress.update(state["errors"] - before, blocks=state["blocks"])
            if run.is_main and time.monotonic() - last >= SAVE_SECONDS:
                files.write_json(path, state)
                last = time.monotonic()
    files.remove(path)
    return state


def add(state: Mapping[str, int], outcome: receiver.Outcome, stop: int, most: int) -> dict[str, int]:
    """Returns the counts with a batch more, whose blocks count up to the last error that is wanted, and to `most`."""
    failed = outcome.failed
    reached = np.flatnonzero(np.cumsum(failed) == stop - state["errors"])
    end = min(len(failed), most - state["blocks"], *(reached[:1] + 1))
    batch = {
        "batches": 1, "errors": failed[:end].sum(), "blocks": end, "bit_errors": outcome.wrong[:end].sum(),
        "undetected": outcome.undetected[:end].sum(), "iterations": outcome.iterations[:end].sum(),
    }  # fmt: skip
    return {name: int(state[name] + count) for name, count in batch.items()}


def described(
    snr_db: float, counts: Mapping[str, int], settings: BlerConfig, link: transmission.Link, bits: int
) -> dict[str, Any]:
    """Returns a point as results have it."""
    rate = intervals.counted_rate(counts["errors"], counts["blocks"], settings.errors)
    strict = intervals.counted_rate(counts["errors"], counts["blocks"], settings.errors, STRICT)
    return {
        "snr_db": snr_db,
        "es_n0_db": snr_db + (bits_in_db(link) if settings.per_bit else 0.0),
        "bler": rate.value,
        "low": rate.low,
        "high": rate.high,
        "low_99": strict.low,
        "high_99": strict.high,
        "ber": counts["bit_errors"] / (counts["blocks"] * bits),
        "errors": counts["errors"],
        "blocks": counts["blocks"],
        "undetected": counts["undetected"],
        "mean_iterations": counts["iterations"] / counts["blocks"],
    }


def line(point: Mapping[str, Any]) -> str:
    """Returns a point in words."""
    return (
        f"{point['snr_db']:g} dB: block errors {point['bler']:.3g} ({point['low']:.3g} to {point['high']:.3g}), "
        f"{point['errors']} of {point['blocks']:,}, {point['undetected']} undetected; bits {point['ber']:.3g}; "
        f"{point['mean_iterations']:.2f} iterations"
    )


def read_reference(path: str, link: transmission.Link, settings: BlerConfig) -> list[dict[str, float]]:
    """Returns the points of a CSV file with a column es_n0_db or eb_n0_db and a column bler, over the curve's axis.

    Raises:
      ValueError: it cannot be read, or is no such file.
    """
    problem = f"--reference={path}: expected a CSV file with columns bler and es_n0_db or eb_n0_db"
    try:
        rows = list(csv.DictReader(pathlib.Path(path).read_text(encoding="utf-8-sig").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{problem} ({error})") from None
    axis = next((name for name in ("es_n0_db", "eb_n0_db") if rows and name in rows[0]), None)
    if axis is None or "bler" not in rows[0]:
        raise ValueError(f"{problem}; it has {', '.join(map(str, rows[0])) if rows else 'no rows'}")
    shift = bits_in_db(link) * ((axis == "eb_n0_db") - settings.per_bit)
    points = []
    for number, row in enumerate(rows, 2):
        try:
            snr_db, bler = float(row[axis]), float(row["bler"])
        except (TypeError, ValueError):
            raise ValueError(f"{problem}; line {number} has {row[axis]!r} and {row['bler']!r}") from None
        if not (math.isfinite(snr_db) and 0 <= bler <= 1):
            raise ValueError(f"{problem}; line {number} has {snr_db:g} dB and {bler:g}")
        points.append({"snr_db": snr_db + shift, "bler": bler})
    return points


def compared(reference: Mapping[str, float], points: Sequence[Mapping[str, Any]], stop: int) -> dict[str, Any]:
    """Returns a reference point beside the curve: whether it lies in the 99 % interval of our point there, and how many
    dB our curve is to the right of it; None where there is nothing to say it from."""
    near = min(points, key=lambda point: abs(point["snr_db"] - reference["snr_db"]))
    is_there = abs(near["snr_db"] - reference["snr_db"]) < 0.005
    ours = snr_at(reference["bler"], points)
    return {
        **reference,
        "ours": near["bler"] if is_there else None,
        "within_99": near["low_99"] <= reference["bler"] <= near["high_99"] if is_there else None,
        "db_to_the_right": None if ours is None else ours - reference["snr_db"],
    }


def snr_at(bler: float, points: Sequence[Mapping[str, Any]]) -> float | None:
    """Returns where the curve, straight lines of log BLER between points, has an error rate; None outside of it."""
    for left, right in zip(points, points[1:], strict=False):
        if left["bler"] >= bler >= right["bler"] > 0 and left["bler"] > right["bler"]:
            share = math.log(left["bler"] / bler) / math.log(left["bler"] / right["bler"])
            return left["snr_db"] + share * (right["snr_db"] - left["snr_db"])
    return None


def report(run: app.Run, settings: BlerConfig, result: Mapping[str, Any]) -> None:
    """Leaves the table and the picture."""
    from projects.eharq import plots  # matplotlib takes seconds to import

    columns = [result["axis"], "BLER", "95 % from", "to", "BER", "block errors", "blocks", "undetected", "iterations"]
    names = ["snr_db", "bler", "low", "high", "ber", "errors", "blocks", "undetected", "mean_iterations"]
    rows = [[point[name] for name in names] for point in result["points"]]
    note = (
        f"A point ends with {settings.errors} block errors, where its interval is the exact one of that rule, or with "
        f"{settings.max_blocks:,} blocks. Errors are those of information bits."
    )
    run.table("points", columns, rows, result["code"], note)
    if result["reference"]:
        names = ["snr_db", "bler", "ours", "within_99", "db_to_the_right"]
        rows = [[_shown(point[name]) for name in names] for point in result["reference"]]
        columns = [result["axis"], "reference BLER", "ours there", "within 99 %", "dB ours is to the right"]
        run.table("reference", columns, rows, "Beside reference points")
    plots.draw_curves(run, "bler", {result["code"]: result}, f"Block error rates of {result['code']}, 95 % intervals.")


def _shown(value: Any) -> Any:
    return {True: "yes", False: "no", None: ""}.get(value, value) if isinstance(value, bool | None) else value


if __name__ == "__main__":
    app.run(main, BlerConfig)
