"""The project file of ViRelAy 1.0.0: YAML that names a label map, a data set, attributions and analyses.

Paths are relative to the file. The label map is JSON, a list of {index, word_net_id, name}; a class without a WordNet
number has eight digits there, so that a category of that name shows the class's.
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping, Sequence

from common import files
from common.explorer_files.analyses import category_name

UP_SAMPLING = ("none", "fill_zeros", "fill_ones", "edge_repeat", "mirror_edge", "wrap_around", "resize")
DOWN_SAMPLING = ("none", "center_crop", "resize")
STRATEGIES = ("true_label", "predicted_label")
TYPES = ("hdf5", "image_directory")


@dataclasses.dataclass(frozen=True)
class Label:
    """A class of the label map."""

    index: int
    word_net_id: str | None
    name: str


@dataclasses.dataclass(frozen=True)
class Dataset:
    """Where the images are.

    Attributes:
      name: shown to the user.
      path: an HDF5 file, or a folder of images.
      type: "hdf5" or "image_directory".
      input_width, input_height: what the network takes, in pixels; 0 unknown. Images of a folder are brought to it.
      up_sampling_method, down_sampling_method: how.
      label_index_regex, label_word_net_id_regex: one of them for a folder: its first group, matched from the start of
          an image's path, is the label.
    """

    name: str
    path: pathlib.Path
    type: str = "hdf5"
    input_width: int = 0
    input_height: int = 0
    up_sampling_method: str = "none"
    down_sampling_method: str = "none"
    label_index_regex: str | None = None
    label_word_net_id_regex: str | None = None


@dataclasses.dataclass(frozen=True)
class Project:
    """A project file, read: paths are whole; `analyses` maps a method to its files."""

    path: pathlib.Path
    name: str
    model: str
    labels: tuple[Label, ...]
    dataset: Dataset
    attribution_method: str = ""
    attribution_strategy: str = "true_label"
    attributions: tuple[pathlib.Path, ...] = ()
    analyses: Mapping[str, tuple[pathlib.Path, ...]] = dataclasses.field(default_factory=dict)


def write_project(
    path: str | os.PathLike,
    name: str,
    model: str,
    labels: Sequence[str | Label],
    dataset: str | os.PathLike | Dataset,
    attributions: Sequence[str | os.PathLike] = (),
    analyses: Mapping[str, Sequence[str | os.PathLike]] | None = None,
    attribution_method: str = "relevance",
    attribution_strategy: str = "true_label",
) -> pathlib.Path:
    """Writes a project file and, beside it, its label map.

    Args:
      path: of the YAML file.
      name, model: shown to the user; projects that are opened together need different names.
      labels: the classes' names in order, or `Label`s.
      dataset: the HDF5 file of the images, or a `Dataset`.
      attributions: HDF5 files.
      analyses: HDF5 files by the method that made them. The reader exchanges "_" and "-" in these names, so that one
          with "-" could never be opened.
      attribution_method: shown to the user.
      attribution_strategy: "true_label" or "predicted_label": which class was explained.

    Returns:
      The path of the label map.

    Raises:
      ValueError: an unknown strategy, type or sampling method, a method's name with "-", two classes of one number.
    """
    import yaml

    path = pathlib.Path(path)
    classes = [
        label if isinstance(label, Label) else Label(i, category_name(i), label) for i, label in enumerate(labels)
    ]
    source = dataset if isinstance(dataset, Dataset) else Dataset(pathlib.Path(dataset).stem, pathlib.Path(dataset))
    _check(classes, source, analyses or {}, attribution_strategy)
    label_map = path.with_name(f"{path.stem}.labels.json")
    content: dict = {"name": name, "model": model, "label_map": label_map.name}
    content["dataset"] = dataclasses.asdict(source) | {"path": _relative(source.path, path)}
    if attributions:
        content["attributions"] = {
            "attribution_method": attribution_method, "attribution_strategy": attribution_strategy,
            "sources": [_relative(item, path) for item in attributions],
        }  # fmt: skip
    if analyses:
        content["analyses"] = [
            {"analysis_method": method, "sources": [_relative(item, path) for item in sources]}
            for method, sources in analyses.items()
        ]
    files.write_atomically(label_map, json.dumps([dataclasses.asdict(label) for label in classes], indent=2) + "\n")
    files.write_atomically(path, yaml.safe_dump({"project": content}, sort_keys=False, allow_unicode=True))
    return label_map


def read_project(path: str | os.PathLike) -> Project:
    """Returns what a project file says.

    Raises:
      ValueError: it, or a file that it names, is not as it should be; the text lists everything (`validate`).
    """
    from common.explorer_files import validation

    problems = validation.validate(path)
    if problems:
        raise ValueError("\n".join(map(str, problems)))
    return parse(pathlib.Path(path))


def parse(path: pathlib.Path) -> Project:
    """Returns a project file as it stands; what is missing raises a KeyError."""
    import yaml

    content = yaml.safe_load(path.read_text(encoding="utf-8"))["project"]
    folder = path.parent
    label_map = json.loads((folder / content["label_map"]).read_text(encoding="utf-8"))
    fields = {field.name for field in dataclasses.fields(Dataset)}
    described = {key: value for key, value in content["dataset"].items() if key in fields}
    about = content.get("attributions") or {}
    analyses: dict[str, tuple[pathlib.Path, ...]] = {}
    for analysis in content.get("analyses") or ():
        sources = tuple(folder / source for source in analysis["sources"])
        analyses[analysis["analysis_method"]] = analyses.get(analysis["analysis_method"], ()) + sources
    return Project(
        path, content["name"], content["model"],
        tuple(Label(label["index"], label["word_net_id"], label["name"]) for label in label_map),
        Dataset(**(described | {"path": folder / described["path"]})),
        about.get("attribution_method", ""), about.get("attribution_strategy", "true_label"),
        tuple(folder / source for source in about.get("sources", ())), analyses,
    )  # fmt: skip


def _check(labels: Sequence[Label], dataset: Dataset, analyses: Mapping, strategy: str) -> None:
    if len({label.index for label in labels}) < len(labels):
        raise ValueError("labels: two classes have the same number")
    options = {
        "attribution_strategy": (strategy, STRATEGIES), "type": (dataset.type, TYPES),
        "up_sampling_method": (dataset.up_sampling_method, UP_SAMPLING),
        "down_sampling_method": (dataset.down_sampling_method, DOWN_SAMPLING),
    }  # fmt: skip
    for what, (value, values) in options.items():
        if value not in values:
            raise ValueError(f"{what} {value!r}: expected one of {', '.join(values)}")
    for method in analyses:
        if "-" in method:
            raise ValueError(
                f"analysis method {method!r}: the reader exchanges '_' and '-': {method.replace('-', '_')!r}"
            )
    regexes = [dataset.label_index_regex, dataset.label_word_net_id_regex]
    if dataset.type == "image_directory" and regexes.count(None) != 1:
        raise ValueError("a folder of images needs label_index_regex or label_word_net_id_regex, and not both")


def _relative(target: str | os.PathLike, path: pathlib.Path) -> str:
    return os.path.relpath(target, path.parent)
