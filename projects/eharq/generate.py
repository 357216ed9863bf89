"""Sends blocks and leaves what a receiver knows early, and whether the whole was decoded, shard by shard.

A run that is killed goes on with its next shard to the same bits. A batch follows from the seed and its number alone.
"""

import functools
import itertools
import time
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from common import app, config, mesh, processes
from kernels import ldpc
from projects.eharq import blocks, rates, receiver, transmission
from projects.eharq.config import GenerateConfig, probabilities

GOLDEN = (5**0.5 - 1) / 2  # multiples of it, modulo 1, are spread evenly wherever one stops


def main(settings: GenerateConfig, run: app.Run) -> dict:
    """Sends what is missing and returns what goes to `result.json`."""
    if not processes.is_single_process():
        raise ValueError("blocks are sent by one process: give each of several its own --seed and --run_dir")
    link = transmission.link_of(settings)
    codes = subcodes(link, settings)
    manifest = begin(settings, run)
    before = at = sum(entry["blocks"] for entry in manifest["shards"])
    start, sent = time.monotonic(), batches(settings, link, at // settings.batch)
    with run.progress(settings.blocks, "blocks", before) as progress:
        while at < settings.blocks:
            parts = [receive(batch, link, codes, settings) for batch in itertools.islice(sent, settings.batches)]
            columns, counts = (
                {name: np.concatenate([part[k][name] for part in parts]) for name in parts[0][k]} for k in (0, 1)
            )
            columns["stratum"] = strata_of(settings, at, len(columns["failed"]))
            count = min(len(columns["failed"]), settings.blocks - at)
            columns = {name: column[:count] for name, column in columns.items()}
            counts = {name: int(np.sum(column[:count])) for name, column in counts.items()}
            blocks.write_shard(run.path, manifest, columns, counts)
            at += count
            progress.update(count, bler=counts["failed"] / count)
    seconds = time.monotonic() - start
    result = summary(settings, run)
    if settings.blocks > before:
        rate = (settings.blocks - before) / seconds
        run.note(blocks_per_second=round(rate, 1))  # not in the result, which is the same for a run that was resumed
        run.log(f"{rate:,.0f} blocks/s")
    return result


def subcodes(link: transmission.Link, settings: GenerateConfig) -> tuple[ldpc.Code, ...]:
    """Returns the codes of the first parts.

    Raises:
      ValueError: one of them has too few bits to be decoded.
    """
    codes = []
    for sent in settings.subcodes:
        try:
            codes.append(ldpc.subcode(link.code, min(sent, link.code.sendable)))
        except ValueError as error:
            raise ValueError(f"--subcodes={','.join(map(str, settings.subcodes))}: {error}") from None
    return tuple(codes)


def begin(settings: GenerateConfig, run: app.Run) -> dict[str, Any]:
    """Returns the manifest of the shards that are there, or a new one.

    Raises:
      ValueError: what is there is damaged.
    """
    if blocks.manifest_path(run.path).is_file():
        return blocks.read_manifest(run.path)
    names = blocks.feature_names(settings.feature_iterations)
    return blocks.new_manifest(config.to_texts(settings), names, settings.subcodes, probabilities(settings))


def strata_of(settings: GenerateConfig, at: int, count: int) -> np.ndarray:
    """Returns int32 [count], the strata of the blocks from number `at` on: shares hold wherever one stops."""
    shares = settings.strata_shares or (1.0,) * (len(settings.strata) + 1)
    edges = np.cumsum(shares) / np.sum(shares)
    places = (at + np.arange(count)) * GOLDEN % 1
    return np.searchsorted(edges[:-1], places, side="right").astype(np.int32)


def batches(settings: GenerateConfig, link: transmission.Link, first: int) -> Iterator[transmission.Transmission]:
    """Yields each batch from number `first` on; the next one is on its way while one is looked at."""
    send = functools.partial(
        transmission.send,
        noise=transmission.noise_of(settings.es_n0_db),
        link=link, count=settings.batch, again=transmission.again_of(settings), sharding=mesh.data_sharding(local=True),
    )  # fmt: skip
    key, edges = jax.random.key(settings.seed), np.array([0.0, *settings.strata, 1.0], np.float32)
    later = None
    for number in range(first, -(-settings.blocks // settings.batch)):
        stratum = strata_of(settings, number * settings.batch, settings.batch)
        bounds = {"low": edges[stratum], "high": edges[stratum + 1]} if settings.strata else {}
        now, later = later, send(jax.random.fold_in(key, number), **bounds)
        if now is not None:
            yield now
    if later is not None:
        yield later


def receive(
    sent: transmission.Transmission, link: transmission.Link, codes: tuple[ldpc.Code, ...], settings: GenerateConfig
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns (the columns of a batch, but for its strata; what is counted) by block."""
    early = [
        receiver.features(code, sent.llr, bits, settings) for code, bits in zip(codes, settings.subcodes, strict=True)
    ]
    first = receiver.outcome(link.code, sent.llr, sent.words, settings)
    both = receiver.outcome(link.code, sent.combined, sent.words, settings)
    columns = {
        "features": np.stack(early, axis=1), "failed": first.failed, "combined_failed": both.failed,
        "gain": np.asarray(sent.gain),
    }  # fmt: skip
    counts = {
        "failed": first.failed, "combined_failed": both.failed, "undetected": first.undetected,
        "combined_undetected": both.undetected, "iterations": first.iterations, "combined_iterations": both.iterations,
    }  # fmt: skip
    return columns, counts


def summary(settings: GenerateConfig, run: app.Run) -> dict:
    """Returns error rates with their intervals, of all and by stratum, from the shards; leaves their table."""
    rows, about = blocks.load(run.path), blocks.describe(run.path)
    counts, total = about["counts"], about["blocks"]
    shares = {name: rates.share(getattr(rows, name), rows.weight)._asdict() for name in ("failed", "combined_failed")}
    strata = [
        {
            "probability": probability,
            "blocks": int(np.count_nonzero(rows.stratum == number)),
            "failed": int(np.count_nonzero(rows.failed[rows.stratum == number])),
            "combined_failed": int(np.count_nonzero(rows.combined_failed[rows.stratum == number])),
        }
        for number, probability in enumerate(about["probabilities"])
    ]
    columns = list(strata[0])
    run.table("strata", columns, [[row[name] for name in columns] for row in strata], "Blocks and failures by stratum")
    return {
        "blocks": total,
        "es_n0_db": settings.es_n0_db,
        "bler": shares["failed"],
        "combined_bler": shares["combined_failed"],
        "undetected": counts["undetected"],
        "combined_undetected": counts["combined_undetected"],
        "mean_iterations": counts["iterations"] / total,
        "combined_mean_iterations": counts["combined_iterations"] / total,
        "correlation": transmission.again_of(settings).correlation,
        "strata": strata,
    }


if __name__ == "__main__":
    app.run(main, GenerateConfig)
