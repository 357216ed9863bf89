"""Files as others write them for ViRelAy, by h5py alone: groups, n-hot labels, no index, channels on either side."""

import h5py
import numpy as np


def write_grouped_dataset(path, images, labels) -> None:
    """An image and a scalar uint16 (or bool row) a key; keys are padded with zeros."""
    with h5py.File(path, "w") as file:
        for number, (image, label) in enumerate(zip(images, labels, strict=True)):
            file[f"data/{number:03d}"] = image
            file[f"label/{number:03d}"] = label if np.ndim(label) else np.uint16(label)


def write_attribution(path, relevance, labels, predictions, index=None) -> None:
    """Arrays as they are."""
    with h5py.File(path, "w") as file:
        file["attribution"], file["label"], file["prediction"] = relevance, labels, predictions
        if index is not None:
            file["index"] = np.asarray(index, np.uint32)


def write_analysis(path, categories) -> None:
    """categories: name -> (index, {embedding: values}, {clustering: labels})."""
    with h5py.File(path, "w") as file:
        for name, (index, embeddings, clusterings) in categories.items():
            file[f"{name}/index"] = np.asarray(index, np.uint32)
            for kind, items in (("embedding", embeddings), ("cluster", clusterings)):
                for key, values in items.items():
                    file[f"{name}/{kind}/{key}"] = values
