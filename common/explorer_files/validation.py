"""What is wrong with a project, all of it at once: keys, files, lengths, names that the reader could never open."""

import dataclasses
import json
import os
import pathlib
import re
from collections.abc import Iterator

import numpy as np

from common.explorer_files import project as project_file
from common.explorer_files import readers

REQUIRED = ("name", "model", "label_map", "dataset")


@dataclasses.dataclass(frozen=True)
class Problem:
    """One thing that is wrong: in which file, at which key, and what is there instead of what."""

    file: str
    key: str
    text: str

    def __str__(self) -> str:
        return f"{self.file}: {self.key}: {self.text}"


def validate(path: str | os.PathLike) -> list[Problem]:
    """Returns what is wrong with a project file and the files that it names; an empty list where nothing is."""
    import yaml

    path = pathlib.Path(path)
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        return [Problem(str(path), "file", " ".join(str(error).split()))]
    if not isinstance(content, dict) or not isinstance(content.get("project"), dict):
        return [Problem(str(path), "project", "missing: expected a mapping `project:`")]
    problems = list(_project_problems(path, content["project"]))
    if problems:
        return problems
    return list(_file_problems(project_file.parse(path)))


def _project_problems(path: pathlib.Path, content: dict) -> Iterator[Problem]:
    where = str(path)
    for key in REQUIRED:
        if key not in content:
            yield Problem(where, key, "missing")
    if isinstance(content.get("label_map"), str):
        yield from _label_map_problems(path.parent / content["label_map"])
    if isinstance(content.get("dataset"), dict):
        yield from _dataset_problems(path, content["dataset"])
    elif "dataset" in content:
        yield Problem(where, "dataset", f"{content['dataset']!r}: expected a mapping")
    attributions = content.get("attributions")
    if attributions is not None:
        if not isinstance(attributions, dict) or not isinstance(attributions.get("sources"), list):
            yield Problem(
                where, "attributions", "expected attribution_method, attribution_strategy and a list of sources"
            )
        elif attributions.get("attribution_strategy") not in project_file.STRATEGIES:
            strategy = attributions.get("attribution_strategy")
            expected = " or ".join(project_file.STRATEGIES)
            yield Problem(where, "attribution_strategy", f"{strategy!r}: expected {expected}")
    for number, analysis in enumerate(content.get("analyses") or ()):
        if not isinstance(analysis, dict) or not {"analysis_method", "sources"} <= set(analysis):
            yield Problem(where, f"analyses[{number}]", "expected analysis_method and a list of sources")
        elif "-" in str(analysis["analysis_method"]):
            text = f"{analysis['analysis_method']!r} has '-', which ViRelAy exchanges for '_': it could never be opened"
            yield Problem(where, f"analyses[{number}].analysis_method", text)


def _label_map_problems(path: pathlib.Path) -> Iterator[Problem]:
    try:
        labels = json.loads(path.read_text(encoding="utf-8"))
        seen = [(int(label["index"]), str(label["name"]), label["word_net_id"]) for label in labels]
    except (OSError, ValueError, TypeError, KeyError) as error:
        text = f"{type(error).__name__} {error}: expected a list of {{index, word_net_id, name}}"
        yield Problem(str(path), "label map", text)
        return
    if len({index for index, *_ in seen}) < len(seen):
        yield Problem(str(path), "index", "two classes have the same number")


def _dataset_problems(path: pathlib.Path, dataset: dict) -> Iterator[Problem]:
    where = str(path)
    choices = {
        "type": project_file.TYPES, "up_sampling_method": project_file.UP_SAMPLING,
        "down_sampling_method": project_file.DOWN_SAMPLING,
    }  # fmt: skip
    for key in ("name", "path", "type"):
        if key not in dataset:
            yield Problem(where, f"dataset.{key}", "missing")
    for key, values in choices.items():
        if key in dataset and dataset[key] not in values:
            yield Problem(where, f"dataset.{key}", f"{dataset[key]!r}: expected one of {', '.join(values)}")
    if dataset.get("type") == "image_directory":
        patterns = {key: dataset.get(key) for key in ("label_index_regex", "label_word_net_id_regex")}
        if sum(pattern is not None for pattern in patterns.values()) != 1:
            yield Problem(where, "dataset", "expected label_index_regex or label_word_net_id_regex, and not both")
        for key, pattern in patterns.items():
            try:
                if pattern is not None and re.compile(pattern).groups < 1:
                    yield Problem(where, f"dataset.{key}", f"{pattern!r} has no group, which would be the label")
            except re.error as error:
                yield Problem(where, f"dataset.{key}", f"{pattern!r}: {error}")


def _file_problems(project: project_file.Project) -> Iterator[Problem]:
    classes = {label.index for label in project.labels}
    names = {label.word_net_id for label in project.labels}
    count = None
    if project.dataset.type == "hdf5":
        count = yield from _open(project.dataset.path, _samples_problems, classes)
    elif not project.dataset.path.is_dir():
        yield Problem(str(project.dataset.path), "dataset", "no such folder")
    explained: set[int] = set()
    for source in project.attributions:
        numbers = yield from _open(source, _attribution_problems, classes, count)
        explained |= set(numbers if numbers is not None else ())
    for sources in project.analyses.values():
        first: dict[str, dict[str, set[str]]] = {}
        for source in sources:
            yield from _open(source, _analysis_problems, names, explained if project.attributions else None, first)


def _open(path: pathlib.Path, check, *arguments):
    import h5py

    try:
        file = h5py.File(path, "r")
    except OSError as error:
        yield Problem(str(path), "file", "no such file" if not path.exists() else f"no HDF5 file ({error})")
        return None
    with file:
        return (yield from check(str(path), file, *arguments))


def _samples_problems(path: str, file, classes: set[int]):
    missing = [name for name in ("data", "label") if name not in file]
    for name in missing:
        yield Problem(path, name, f"missing: the file has {', '.join(sorted(file)) or 'nothing'}")
    if missing:
        return None
    count = len(file["data"])
    if len(file["label"]) != count or not count:
        yield Problem(
            path, "label", f"{len(file['label'])} labels of {count} images: expected one an image, one or more"
        )
    node = file["data"][sorted(file["data"])[0]] if hasattr(file["data"], "keys") and count else file["data"]
    if len(node.shape) != (3 if hasattr(file["data"], "keys") else 4):
        yield Problem(path, "data", f"an image is {node.shape[-3:]}: expected [height, width, channels]")
    yield from _label_problems(path, file["label"], classes)
    return count


def _label_problems(path: str, node, classes: set[int]):
    try:
        labels = readers._labels(path, readers._rows(path, "label", node, None))
    except ValueError as error:
        yield Problem(path, "label", str(error))
        return
    present = set(np.flatnonzero(labels.any(0)) if labels.dtype == bool else np.unique(labels))
    if unknown := sorted(int(label) for label in present - classes):
        yield Problem(path, "label", f"classes {unknown[:8]} are not in the label map")
    if hasattr(node, "keys") and labels.dtype != bool:
        if any(item.dtype != np.uint16 for item in node.values()):
            yield Problem(path, "label", "integers of a group: ViRelAy reads scalars of uint16 there, nothing else")


def _attribution_problems(path: str, file, classes: set[int], count: int | None):
    missing = [name for name in ("attribution", "label", "prediction") if name not in file]
    for name in missing:
        yield Problem(path, name, f"missing: the file has {', '.join(sorted(file)) or 'nothing'}")
    if missing:
        return None
    rows = len(file["attribution"])
    for name in ("label", "prediction", "index"):
        if name in file and len(file[name]) != rows:
            yield Problem(path, name, f"{len(file[name])} entries of {rows} attributions")
    numbers = np.asarray(file["index"][()]) if "index" in file else np.arange(rows)
    if count is not None and rows and numbers.max() >= count:
        yield Problem(path, "index", f"sample {numbers.max()}, but the data set has 0 to {count - 1}")
    yield from _label_problems(path, file["label"], classes)
    return [int(number) for number in numbers]


def _analysis_problems(path: str, file, names: set, explained: set[int] | None, first: dict):
    if not len(file):
        yield Problem(path, "categories", "none")
    for category in file:
        group = file[category]
        missing = [name for name in ("index", "embedding", "cluster") if name not in group]
        if missing:
            yield Problem(path, category, f"{' and '.join(missing)} missing")
            continue
        if category not in names:
            yield Problem(path, category, "no word_net_id of the label map: its class's name would not be shown")
        count = len(group["index"])
        for kind in ("embedding", "cluster"):
            for name in group[kind]:
                if len(group[kind][name]) != count:
                    text = f"{len(group[kind][name])} rows, index has {count}"
                    yield Problem(path, f"{category}/{kind}/{name}", text)
            expected = first.setdefault(kind, {category: set(group[kind])})
            (reference, members), *_ = expected.items()
            if set(group[kind]) != members:
                text = f"other names than in {reference!r}, whose names ViRelAy takes for all categories"
                yield Problem(path, f"{category}/{kind}", text)
        if explained is not None and (lost := sorted({int(i) for i in group["index"]} - explained)):
            yield Problem(path, f"{category}/index", f"samples {lost[:8]} have no attribution")
