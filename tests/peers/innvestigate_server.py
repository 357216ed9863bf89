"""iNNvestigate on request, under its own Python: .venv-peers/innvestigate/bin/python tests/peers/innvestigate_server.py

Networks come as plans (tests/kernels/attribution/layered.py) with an .npz of parameters, channels last; explanations go
back as .npz. A network is built once in float64 and then named by its number.
"""

import importlib.metadata
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import line_server
import numpy as np
import tensorflow as tf

tf.compat.v1.disable_eager_execution()
tf.keras.backend.set_floatx("float64")

import innvestigate  # noqa: E402  # after the precision, which it reads at import
from innvestigate.analyzer.relevance_based import relevance_rule  # noqa: E402

LAYERS = tf.keras.layers
networks: list[tuple] = []


class BatchNormalization(LAYERS.BatchNormalization):
    """Keras', whose axis is a number in its configuration: that of 2.14 is a list, which iNNvestigate cannot read."""

    def get_config(self):
        """Returns the configuration."""
        config = super().get_config()
        axis = config["axis"]
        return config | {"axis": axis if isinstance(axis, int) else list(axis)[0]}


def version() -> dict:
    """Returns what answers here."""
    return {name: importlib.metadata.version(name) for name in ("innvestigate", "tensorflow", "numpy")}


def build(plan: list, shape: list, parameters: str) -> dict:
    """Keeps a plan, the shape of one input and an .npz of parameters as a network; returns its number."""
    with np.load(parameters, allow_pickle=False) as arrays:
        networks.append((plan, tuple(shape), {name: arrays[name] for name in arrays.files}))
    return {"network": len(networks) - 1}


def _model(plan, shape, values) -> tf.keras.Model:
    """Returns a network in a graph of its own: what iNNvestigate adds to a model's layers stays there."""
    tf.keras.backend.clear_session()
    tf.keras.backend.set_learning_phase(0)  # batch normalisation with running statistics
    inputs = LAYERS.Input(shape=shape)
    model = tf.keras.Model(inputs, _applied(plan, inputs))
    for layer in model.layers:
        names = [name for name in WEIGHTS if f"{layer.name}/{name}" in values]
        if names:
            layer.set_weights([_stored(layer, name, values[f"{layer.name}/{name}"]) for name in names])
    return model


WEIGHTS = ("kernel", "gamma", "bias", "beta", "mean", "variance")  # in the order of Keras


def _stored(layer, name, value):
    if isinstance(layer, LAYERS.DepthwiseConv2D) and name == "kernel":  # [h, w, 1, channels] -> [h, w, channels, 1]
        return value.transpose(0, 1, 3, 2)
    return value


def _applied(plan, x):
    for step in plan:
        x = _layer(step, x)
    return x


def _layer(step, x):
    op, name = step["op"], step.get("name")
    if op == "conv":
        options = {
            "strides": step["stride"], "padding": step["padding"], "dilation_rate": step["dilation"],
            "activation": step["activation"], "use_bias": step["bias"], "name": name,
        }  # fmt: skip
        if step["groups"] > 1:
            return LAYERS.DepthwiseConv2D(step["kernel"], **options)(x)
        return LAYERS.Conv2D(step["out"], step["kernel"], **options)(x)
    if op == "dense":
        return LAYERS.Dense(step["out"], activation=step["activation"], use_bias=step["bias"], name=name)(x)
    if op == "batch_norm":
        return BatchNormalization(epsilon=step["epsilon"], name=name)(x)
    if op == "residual":
        return LAYERS.Add()([_applied(step["steps"], x), _applied(step["shortcut"], x)])
    if op == "concat":
        return LAYERS.Concatenate()([_applied(branch, x) for branch in step["branches"]])
    if op in ("max_pool", "avg_pool"):
        return (LAYERS.MaxPooling2D if op == "max_pool" else LAYERS.AveragePooling2D)(step["size"])(x)
    if op == "activation":
        return LAYERS.Activation(step["function"])(x)
    kinds = {"relu_layer": LAYERS.ReLU, "flatten": LAYERS.Flatten, "global_avg_pool": LAYERS.GlobalAveragePooling2D}
    return kinds[op]()(x)


def analyze(network: int, analyzer: str, images: str, answer: str, index=None, mode=None, **options) -> dict:
    """Writes `y` and `explanation` to the .npz `answer`.

    Args:
      index: of `neuron_selection_mode="index"`; mode: of another one.
      options: of the analyzer; names of rules in `bn_layer_rule` and lists of such in `rule` become its classes, and
        pairs in `input_layer_rule` a tuple.
    """
    for name in ("bn_layer_rule", "rule"):
        if isinstance(options.get(name), str):
            options[name] = getattr(relevance_rule, options[name] + "Rule")
        elif isinstance(options.get(name), list):
            options[name] = [getattr(relevance_rule, one + "Rule") for one in options[name]]
    if isinstance(options.get("input_layer_rule"), list):
        options["input_layer_rule"] = tuple(options["input_layer_rule"])
    mode = "index" if index is not None else mode
    model, values = _model(*networks[network]), np.load(images, allow_pickle=False)
    y = model.predict(values, verbose=0)  # first: it initialises the variables
    one = innvestigate.create_analyzer(analyzer, model, **({"neuron_selection_mode": mode} if mode else {}), **options)
    explanation = one.analyze(values, **({} if index is None else {"neuron_selection": index}))
    np.savez(answer, y=y, explanation=explanation)
    return {}


def names() -> dict:
    """Returns the names of all analyzers."""
    return {"names": sorted(innvestigate.analyzer.analyzers)}


if __name__ == "__main__":
    commands = (version, build, analyze, names)
    line_server.serve({command.__name__: command for command in commands})
