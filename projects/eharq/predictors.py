"""Predictors of a lost block from the first part of it: one feature, logistic regression, forests, an autoencoder.

A score is float64 and larger where a block is more likely lost. Both classes count half in training, by weights; the
forests see a subsample of both. Reliabilities are looked at as logarithms, and every input is standardised on the
training blocks. A stored predictor is an .npz file of numbers.
"""

import json
import pathlib
from typing import Any, NamedTuple

import jax
import numpy as np

from common import weight_files
from projects.eharq import autoencoder, forests, rates
from projects.eharq.blocks import FEATURES, Blocks
from projects.eharq.predict_config import KINDS, PredictorConfig

TITLES = dict(
    zip(KINDS, ("threshold", "logistic regression", "random forest", "isolation forest", "autoencoder"), strict=True)
)
SMALLEST = 1e-6  # reliability whose logarithm is taken; below it a decoder knows nothing


class Predictor(NamedTuple):
    """A fitted predictor.

    Attributes:
      kind: one of KINDS.
      inputs: names of its features.
      subcode: which of the data set's it was fitted on.
      location, scale: float64 [inputs], of the training blocks.
      arrays: what its kind needs, a tree of arrays.
      notes: what its training says of itself, as JSON.
    """

    kind: str
    inputs: tuple[str, ...]
    subcode: int
    location: np.ndarray
    scale: np.ndarray
    arrays: dict[str, Any]
    notes: dict[str, Any]


def fit(kind: str, blocks: Blocks, subcode: int, settings: PredictorConfig, key: jax.Array) -> Predictor:
    """Returns a predictor of `failed` from the features of one subcode.

    Args:
      kind: one of KINDS.
      blocks: for training.
      subcode: whose features.
      settings: of the predictors.
      key: of whatever is drawn.

    Raises:
      ValueError: an unknown kind or subcode, blocks of one class only, or features that are no numbers.
    """
    if kind not in KINDS:
        raise ValueError(f"kind {kind!r}: expected one of {', '.join(KINDS)}")
    subcodes = blocks.features.shape[1]
    if not 0 <= subcode < subcodes:
        raise ValueError(f"subcode {subcode}: the blocks have {subcodes}, counted from 0")
    lost = int(np.count_nonzero(blocks.failed))
    if not 0 < lost < len(blocks.failed):
        raise ValueError(
            f"{lost} of {len(blocks.failed)} training blocks are lost: both classes are needed; generate more blocks, "
            "or at another signal-to-noise ratio"
        )
    values = transformed(blocks.features[:, subcode], settings.inputs)
    weight = blocks.weight if settings.stratum_weights else np.ones(len(blocks.failed))
    location = np.average(values, axis=0, weights=weight)
    scale = np.sqrt(np.average((values - location) ** 2, axis=0, weights=weight))
    scale[scale == 0] = 1.0  # the same for all blocks: says nothing
    inputs = (values - location) / scale
    arrays, notes = FITS[kind](inputs, blocks.failed, weight, settings, key)
    notes = {"blocks": len(blocks.failed), "nacks": lost} | notes
    return Predictor(kind, tuple(settings.inputs), subcode, location, scale, arrays, notes)


def score(predictor: Predictor, features: np.ndarray) -> np.ndarray:
    """Returns float64 [blocks], larger where a block is more likely lost.

    Args:
      predictor: fitted.
      features: [blocks, features] of its subcode, in the order of FEATURES.

    Raises:
      ValueError: another number of features, or some that are no numbers.
    """
    inputs = (transformed(features, predictor.inputs) - predictor.location) / predictor.scale
    return SCORES[predictor.kind](predictor.arrays, inputs)


def transformed(features: np.ndarray, names: tuple[str, ...]) -> np.ndarray:
    """Returns some features as float64 [blocks, names]: logarithms of reliabilities, shares of checks as they are.

    Raises:
      ValueError: another number of features than FEATURES has, or one that is negative or not finite.
    """
    if features.ndim != 2 or features.shape[1] != len(FEATURES):
        raise ValueError(f"features of shape {features.shape}: expected [blocks, {len(FEATURES)}], see blocks.FEATURES")
    values = features[:, [FEATURES.index(name) for name in names]].astype(np.float64)
    good = np.isfinite(values) & (values >= 0)
    if not good.all():
        row, column = np.argwhere(~good)[0]
        raise ValueError(
            f"feature {names[column]} of block {row} is {values[row, column]}: expected finite, not negative numbers; "
            "generate the blocks again"
        )
    is_share = np.array([name.startswith("unsatisfied") for name in names])
    return np.where(is_share, values, np.log(np.maximum(values, SMALLEST)))


def balanced(failed: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Returns weights of mean 1 with which both classes count half."""
    lost = weight[failed].sum() / weight.sum()
    weight = weight * np.where(failed, 0.5 / lost, 0.5 / (1 - lost))
    return weight / weight.mean()


def subsample(
    failed: np.ndarray, weight: np.ndarray, rows: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Returns (rows, their weights): lost blocks fill at most half, each class keeps the weight that it had.

    Args:
      failed, weight: of all blocks.
      rows: how many at most.
      generator: that draws them, without replacement.
    """
    lost, delivered = np.flatnonzero(failed), np.flatnonzero(~failed)
    some = min(len(lost), max(rows // 2, rows - len(delivered)))
    parts = [(lost, some), (delivered, min(len(delivered), rows - some))]
    drawn = [np.sort(generator.choice(members, count, replace=False)) for members, count in parts]
    weights = [
        weight[chosen] * (weight[members].sum() / weight[chosen].sum())
        for (members, _), chosen in zip(parts, drawn, strict=True)
    ]
    return np.concatenate(drawn), np.concatenate(weights)


def _fit_threshold(inputs, failed, weight, settings, key) -> tuple[dict, dict]:
    """The one input of which a threshold has the lowest FPR at the FNR of the settings, on the training blocks."""
    signs = np.array([1.0 if name.startswith("unsatisfied") else -1.0 for name in settings.inputs])
    costs = []
    for column, sign in zip(inputs.T, signs, strict=True):
        scores = sign * column
        lowest = rates.threshold_at(scores, failed, weight, settings.threshold_fnr)
        costs.append(float(weight[~failed & (scores >= lowest)].sum() / weight[~failed].sum()))
    best = int(np.argmin(costs))
    notes = {"feature": settings.inputs[best], "training_fpr": dict(zip(settings.inputs, costs, strict=True))}
    return {"column": np.array(best), "sign": np.array(signs[best])}, notes


def _fit_logistic_regression(inputs, failed, weight, settings, key) -> tuple[dict, dict]:
    from sklearn.linear_model import LogisticRegression

    # Reliabilities after neighbouring iterations are nearly the same: Newton's steps do not mind, gradients' would.
    model = LogisticRegression(C=settings.inverse_penalty, solver="newton-cholesky", max_iter=100)
    model.fit(inputs, failed, sample_weight=balanced(failed, weight))
    notes = {"coefficients": dict(zip(settings.inputs, model.coef_[0].tolist(), strict=True))}
    return {"coefficients": model.coef_[0], "intercept": np.array(model.intercept_[0])}, notes


def _fit_random_forest(inputs, failed, weight, settings, key) -> tuple[dict, dict]:
    generator = _generator(key)
    rows, some = subsample(failed, balanced(failed, weight), settings.forest_rows, generator)
    forest = forests.random_forest(
        inputs[rows], failed[rows], some, trees=settings.trees, depth=settings.depth,
        least_in_leaf=settings.least_in_leaf, seed=_seed(generator),
    )  # fmt: skip
    return forest._asdict(), {"rows": len(rows), "rows_nacks": int(failed[rows].sum())}


def _fit_isolation_forest(inputs, failed, weight, settings, key) -> tuple[dict, dict]:
    """What is usual are delivered blocks; those of a stratified set are drawn as they are probable."""
    generator = _generator(key)
    delivered = np.flatnonzero(~failed)
    count = min(settings.forest_rows, len(delivered))
    if np.ptp(weight[delivered]):
        share = weight[delivered] / weight[delivered].sum()
        rows = generator.choice(delivered, count, replace=True, p=share)
    else:
        rows = generator.choice(delivered, count, replace=False)
    model = forests.fit_isolation_forest(inputs[rows], settings.trees, settings.isolation_rows, _seed(generator))
    return forests.from_isolation_forest(model)._asdict(), {"rows": count}


def _fit_autoencoder(inputs, failed, weight, settings, key) -> tuple[dict, dict]:
    names = ("hidden", "code", "classifier_weight", "learning_rate", "batch_size", "steps")
    options = {name: getattr(settings, name) for name in names}
    layers, losses = autoencoder.fit(inputs, failed, balanced(failed, weight), key, **options)
    if not np.isfinite(losses).all():
        raise ValueError(f"the autoencoder's loss became {losses[-1]}; a lower --learning_rate may help")
    return layers, {"loss": losses.tolist()}


def _generator(key: jax.Array) -> np.random.Generator:
    return np.random.default_rng(np.asarray(jax.random.key_data(key), np.uint32).tolist())


def _seed(generator: np.random.Generator) -> int:
    return int(generator.integers(2**31))


FITS = dict(
    zip(
        KINDS,
        (_fit_threshold, _fit_logistic_regression, _fit_random_forest, _fit_isolation_forest, _fit_autoencoder),
        strict=True,
    )
)
SCORES = {
    "threshold": lambda arrays, inputs: float(arrays["sign"]) * inputs[:, int(arrays["column"])],
    "logistic_regression": lambda arrays, inputs: inputs @ arrays["coefficients"] + float(arrays["intercept"]),
    "random_forest": lambda arrays, inputs: forests.mean_value(forests.Forest(**arrays), inputs),
    "isolation_forest": lambda arrays, inputs: np.exp2(-forests.mean_value(forests.Forest(**arrays), inputs)),
    "autoencoder": autoencoder.logit,
}


def save(path: str | pathlib.Path, predictor: Predictor) -> None:
    """Writes a predictor as .npz, whole or not at all; its texts are JSON in an array of bytes."""
    texts = {name: getattr(predictor, name) for name in ("kind", "inputs", "subcode", "notes")}
    texts = np.frombuffer(json.dumps(texts).encode(), np.uint8)
    tree = {"texts": texts, "location": predictor.location, "scale": predictor.scale, "arrays": predictor.arrays}
    weight_files.save_npz(path, tree)


def load(path: str | pathlib.Path) -> Predictor:
    """Returns a predictor that `save` wrote.

    Raises:
      FileNotFoundError: there is no such file.
      ValueError: it is no predictor.
    """
    tree = weight_files.load_npz(path)
    try:
        texts = json.loads(np.asarray(tree["texts"], np.uint8).tobytes())
        kind, inputs, subcode, notes = (texts[name] for name in ("kind", "inputs", "subcode", "notes"))
        predictor = Predictor(
            kind, tuple(inputs), subcode, tree["location"], tree["scale"], tree["arrays"], notes
        )  # fmt: skip
        if kind not in KINDS or not set(inputs) <= set(FEATURES):
            raise ValueError(f"kind {kind!r} of {inputs}")
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: expected a predictor of eharq.train ({error})") from None
    return predictor
