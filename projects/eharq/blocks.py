"""Transmitted blocks as rows: what a receiver knows after a part of the code word, and whether the whole was decoded.

A folder of them is `FOLDER/blocks`: shards (.npz, nothing that unpickles) and `manifest.json`, which says how they were
made, and of each shard its CRC-32 and counts. `generate` writes them shard by shard, `load` reads them.
"""

import io
import json
import pathlib
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from common import files

FORMAT = "havel eharq blocks 1"
FOLDER, MANIFEST = "blocks", "manifest.json"
COLUMNS = ("features", "failed", "combined_failed", "stratum", "gain")  # of a shard; weights follow from all of them
DTYPES = {
    "features": np.float32, "failed": np.bool_, "combined_failed": np.bool_, "stratum": np.int32, "gain": np.float32,
}  # fmt: skip


class Blocks(NamedTuple):
    """One row a transmitted block.

    Attributes:
      features: float32 [blocks, subcodes, features], see `feature_names`, all of what was received by then.
      failed: bool [blocks], the label (True is NACK): the first transmission was not decoded to the sent word.
      combined_failed: bool [blocks], nor was it together with one retransmission.
      stratum: int32 [blocks], of the channel's gain; 0 where nothing is stratified.
      weight: float64 [blocks], probability of the stratum over its share of the blocks; mean 1, all ones for plain
        Monte Carlo.
      gain: float32 [blocks], mean |H|^2 of the first transmission. Never a feature: a receiver does not know it.
    """

    features: np.ndarray
    failed: np.ndarray
    combined_failed: np.ndarray
    stratum: np.ndarray
    weight: np.ndarray
    gain: np.ndarray


def feature_names(iterations: int = 5) -> tuple[str, ...]:
    """Returns the names of the columns of features after so many iterations on a subcode.

    "raw" is the mean |LLR| of the channel over the sent bits of the subcode, "vnr_i" the mean |posterior| of all its
    bits after i iterations (0: what comes in), "unsatisfied_i" the share of its checks that are not satisfied then.
    """
    steps = range(iterations + 1)
    return ("raw", *(f"vnr_{i}" for i in steps), *(f"unsatisfied_{i}" for i in steps))


FEATURES = feature_names()


def load(folder: str | pathlib.Path) -> Blocks:
    """Returns the blocks of a folder, in the order in which they were drawn.

    Args:
      folder: a run directory of `generate` (also one that has not finished), or what `save` wrote.

    Raises:
      ValueError: there are none, or a shard is missing, damaged or not what the manifest says.
    """
    manifest = read_manifest(folder)
    shards = [_read_shard(pathlib.Path(folder) / FOLDER / entry["name"], entry) for entry in manifest["shards"]]
    columns = {name: np.concatenate([shard[name] for shard in shards]) for name in COLUMNS}
    expected = (len(manifest["subcodes"]), len(manifest["features"]))
    probabilities = np.asarray(manifest["probabilities"], np.float64)
    strata = columns["stratum"]
    if columns["features"].shape[1:] != expected or strata.min() < 0 or strata.max() >= len(probabilities):
        raise ValueError(
            f"{folder}: features {list(columns['features'].shape[1:])} and strata up to {strata.max()}, where the "
            f"manifest says {list(expected)} and {len(probabilities)} strata; remove the folder and generate it again"
        )
    return Blocks(weight=weights(strata, probabilities), **columns)


def weights(stratum: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Returns float64 [blocks]: the probability of each block's stratum over the share of blocks in it.

    Args:
      stratum: int [blocks].
      probabilities: of the strata; they sum to 1.

    Raises:
      ValueError: a stratum has no block: what happens there is not known.
    """
    counts = np.bincount(stratum, minlength=len(probabilities))
    if (counts == 0).any():
        raise ValueError(
            f"stratum {int(np.argmin(counts))} of {len(probabilities)} has none of the {len(stratum)} blocks; draw more"
        )
    return (probabilities * len(stratum) / counts)[stratum]


def describe(folder: str | pathlib.Path) -> dict[str, Any]:
    """Returns what the blocks of a folder are: `settings` (flag -> text), `features`, `subcodes` (sent bits of each),
    `probabilities` (of strata), `blocks` and the sums of what shards count.

    Raises:
      ValueError: there are none.
    """
    manifest = read_manifest(folder)
    counts: dict[str, int] = {}
    for entry in manifest["shards"]:
        for name, count in entry["counts"].items():
            counts[name] = counts.get(name, 0) + count
    names = ("settings", "features", "subcodes", "probabilities")
    total = sum(entry["blocks"] for entry in manifest["shards"])
    return {name: manifest[name] for name in names} | {"blocks": total, "counts": counts}


def save(
    folder: str | pathlib.Path,
    blocks: Blocks,
    settings: Mapping[str, Any] | None = None,
    *,
    features: Sequence[str] = FEATURES,
    subcodes: Sequence[int] | None = None,
) -> None:
    """Writes blocks as one shard, as `load` reads them: for blocks that were drawn elsewhere.

    Args:
      folder: gets the folder `blocks`.
      blocks: their weights have to follow from strata: equal within each.
      settings: of what made them.
      features: names of the columns of features.
      subcodes: sent bits of each subcode; by default they are numbered.

    Raises:
      ValueError: shapes do not fit.
    """
    count, parts, width = np.shape(blocks.features)
    subcodes = list(range(parts)) if subcodes is None else list(subcodes)
    lengths = {name: len(getattr(blocks, name)) for name in Blocks._fields}
    if (len(subcodes), len(features)) != (parts, width) or set(lengths.values()) != {count}:
        raise ValueError(
            f"features [{count}, {parts}, {width}] with {len(subcodes)} subcodes, {len(features)} names and {lengths} "
            "rows: expected one row a block, one entry a subcode, one name a feature"
        )
    strata = int(np.max(blocks.stratum)) + 1
    probabilities = np.bincount(blocks.stratum, weights=blocks.weight, minlength=strata) / np.sum(blocks.weight)
    manifest = new_manifest(settings or {}, features, subcodes, probabilities)
    write_shard(folder, manifest, {name: getattr(blocks, name) for name in COLUMNS}, {})


def new_manifest(
    settings: Mapping[str, Any], features: Sequence[str], subcodes: Sequence[int], probabilities: Any
) -> dict[str, Any]:
    """Returns the manifest of a folder that has no shards yet."""
    return files.clean(
        {
            "format": FORMAT, "settings": dict(settings), "features": list(features), "subcodes": list(subcodes),
            "probabilities": np.asarray(probabilities, np.float64), "shards": [],
        }
    )  # fmt: skip


def manifest_path(folder: str | pathlib.Path) -> pathlib.Path:
    """Returns the file that changes whenever a shard does: what a run that reads the blocks notes as its input."""
    return pathlib.Path(folder) / FOLDER / MANIFEST


def read_manifest(folder: str | pathlib.Path) -> dict[str, Any]:
    """Returns the manifest of a folder with at least one shard.

    Raises:
      ValueError: there is none, or it is another's.
    """
    path = manifest_path(folder)
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"{folder} holds no blocks ({path} is missing): name a run directory of generate") from None
    except (OSError, ValueError, RecursionError):
        raise ValueError(f"{path} cannot be read: remove the folder and generate its blocks again") from None
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ValueError(f"{path} is no manifest of blocks: expected the format {FORMAT!r}")
    try:
        shards = manifest["shards"]
        entries = [(str(e["name"]), int(e["crc"]), int(e["blocks"]), dict(e["counts"])) for e in shards]
        is_whole = all(manifest[name] for name in ("features", "subcodes", "probabilities"))
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{path} is damaged: remove the folder and generate its blocks again") from None
    if not entries or not is_whole or any(pathlib.PurePath(name).name != name for name, *_ in entries):
        raise ValueError(f"{folder} holds no whole shard of blocks yet: let generate run longer")
    return manifest


def write_shard(
    folder: str | pathlib.Path, manifest: dict[str, Any], columns: Mapping[str, np.ndarray], counts: Mapping[str, int]
) -> None:
    """Writes a shard beside and renames it, then says so in the manifest, which it changes.

    Killed in between, a shard that the manifest does not know is drawn again.

    Args:
      folder: of the run.
      manifest: of the shards before it.
      columns: `COLUMNS`, a row a block.
      counts: of events in it, for the sums of `describe`.
    """
    name = f"shard_{len(manifest['shards']):05d}.npz"
    buffer = io.BytesIO()
    np.savez(buffer, **{key: np.asarray(columns[key], DTYPES[key]) for key in COLUMNS})
    files.write_atomically(pathlib.Path(folder) / FOLDER / name, buffer.getvalue())
    entry = {"name": name, "crc": zlib.crc32(buffer.getvalue()), "blocks": len(columns["failed"])}
    manifest["shards"].append(entry | {"counts": files.clean(dict(counts))})
    files.write_json(manifest_path(folder), manifest)


def _read_shard(path: pathlib.Path, entry: Mapping[str, Any]) -> dict[str, np.ndarray]:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror}): generate the blocks again") from None
    problem = ValueError(f"{path} is damaged: remove the folder and generate its blocks again")
    if zlib.crc32(data) != entry["crc"]:
        raise problem
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            columns = {name: file[name] for name in COLUMNS}
    except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile):
        raise problem from None
    if any(len(column) != entry["blocks"] or column.dtype != DTYPES[name] for name, column in columns.items()):
        raise problem
    return columns
