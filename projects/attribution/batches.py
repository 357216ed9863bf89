"""The batches of an explanation, each a file that is whole or absent, and what is read off all of them."""

import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from common import files
from kernels.attribution.report import constant_maps


def save(path: pathlib.Path, **arrays) -> None:
    """Writes one batch whole or not at all."""
    with files.beside(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **{name: np.asarray(value) for name, value in arrays.items()})


def load(path: pathlib.Path) -> dict[str, np.ndarray]:
    """Returns the arrays of one batch."""
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def column(paths: Sequence[pathlib.Path], name: str) -> np.ndarray:
    """Returns one array of all batches as one; the others are not read."""
    parts = []
    for path in paths:
        with np.load(path, allow_pickle=False) as arrays:
            parts.append(arrays[name])
    return np.concatenate(parts)


def first(paths: Sequence[pathlib.Path], count: int) -> dict[str, np.ndarray]:
    """Returns the first `count` samples of all batches as one, fewer where there are fewer."""
    parts, total = [], 0
    for path in paths:
        parts.append(load(path))
        total += len(parts[-1]["index"])
        if total >= count:
            break
    return {name: np.concatenate([piece[name] for piece in parts])[:count] for name in parts[0]}


def numbered(paths: Sequence[pathlib.Path]) -> Iterator[dict[str, np.ndarray]]:
    """Yields all batches with `index` counted from 0: the numbers of the samples in a data set of these alone."""
    start = 0
    for path in paths:
        piece = load(path)
        yield piece | {"index": np.arange(start, start + len(piece["index"]))}
        start += len(piece["index"])


def write_relevance(target: pathlib.Path, paths: Sequence[pathlib.Path], count: int) -> None:
    """Writes the relevance of all batches as one .npy file `[count, height, width, channels]`, a batch in memory at a
    time."""
    start = 0
    with files.beside(target) as temporary:
        whole = None
        for path in paths:
            relevance = load(path)["relevance"]
            if whole is None:
                shape = (count, *relevance.shape[1:])
                whole = np.lib.format.open_memmap(temporary, mode="w+", dtype=relevance.dtype, shape=shape)
            whole[start : start + len(relevance)] = relevance
            start += len(relevance)
        if start != count:
            raise ValueError(f"{target.name}: the batches have {start} maps, and {count} were to be explained")
        whole.flush()


def explained_outputs(piece: dict[str, np.ndarray]) -> np.ndarray:
    """Returns the output of each sample that its map explains, float64 `[batch]`."""
    return np.take_along_axis(piece["prediction"], piece["target"][:, None], -1)[:, 0].astype(np.float64)


def sums(piece: dict[str, np.ndarray]) -> np.ndarray:
    """Returns the sum of each sample's map, float64 `[batch]`."""
    return piece["relevance"].reshape(len(piece["index"]), -1).astype(np.float64).sum(-1)


def summarise(paths: Sequence[pathlib.Path], has_labels: bool) -> dict:
    """Returns the share of right predictions, if there are labels, how much of the outputs the maps hold, and how many
    maps are constant."""
    correct, ratios, constant = [], [], 0
    for path in paths:
        piece = load(path)
        explained = explained_outputs(piece)
        correct += (piece["prediction"].argmax(-1) == piece["label"]).tolist()
        ratios += (sums(piece) / np.where(explained == 0, np.inf, explained)).tolist()
        constant += int(np.sum(constant_maps(piece["relevance"])))
    accuracy = {"accuracy": float(np.mean(correct))} if has_labels else {}
    return accuracy | {"median_sum_over_output": float(np.median(ratios)), "constant_maps": constant}
