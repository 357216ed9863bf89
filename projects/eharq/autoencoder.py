"""The supervised autoencoder: inputs through a narrow code and back, and a classifier on the code.

Its loss is |x - x^|^2 / d + lambda * weighted cross-entropy (arXiv:1807.10495; the layout is ours: 6, 16, 3, 16, 6
units, ReLU in the hidden layers, a linear code). The first layer is trained on principal components of unit variance:
the same functions, but reliabilities of neighbouring iterations are nearly equal, and Adam would need long to find what
little they differ in. All steps are one compiled scan; scores are computed in float64.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx

CURVE_POINTS = 50  # of the loss
LEAST_VARIANCE = 1e-7  # of a component beside the largest, below which float32 has nothing to say


class Autoencoder(nnx.Module):
    """Encoder, decoder and classifier; returns (reconstruction [rows, inputs], logit [rows])."""

    def __init__(self, inputs: int, hidden: int, code: int, *, rngs: nnx.Rngs):
        self.encoder_1 = nnx.Linear(inputs, hidden, rngs=rngs)
        self.encoder_2 = nnx.Linear(hidden, code, rngs=rngs)
        self.decoder_1 = nnx.Linear(code, hidden, rngs=rngs)
        self.decoder_2 = nnx.Linear(hidden, inputs, rngs=rngs)
        self.classifier = nnx.Linear(code, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        code = self.encoder_2(jax.nn.relu(self.encoder_1(x)))
        return self.decoder_2(jax.nn.relu(self.decoder_1(code))), self.classifier(code)[:, 0]


def loss(
    model: Autoencoder, seen: jax.Array, x: jax.Array, failed: jax.Array, weight: jax.Array, classifier_weight: float
) -> jax.Array:
    """Returns the mean over rows of the squared error of an input plus lambda times the weighted cross-entropy.

    Args:
      model: the network.
      seen: float32 [rows, inputs], their principal components.
      x: float32 [rows, inputs], standardised.
      failed: float32 [rows], 1 for a lost block.
      weight: float32 [rows], of mean 1 over the training blocks; both terms have it.
      classifier_weight: lambda.
    """
    reconstruction, logit = model(seen)
    squared_error = jnp.mean((x - reconstruction) ** 2, axis=1)
    cross_entropy = optax.sigmoid_binary_cross_entropy(logit, failed)
    return jnp.mean(weight * (squared_error + classifier_weight * cross_entropy))


def fit(
    inputs: np.ndarray, failed: np.ndarray, weight: np.ndarray, key: jax.Array, *,
    hidden: int, code: int, classifier_weight: float, learning_rate: float, batch_size: int, steps: int,
) -> tuple[dict[str, dict[str, np.ndarray]], np.ndarray]:  # fmt: skip
    """Returns the weights by layer and the mean loss of each fiftieth part of the steps.

    Args:
      inputs: [rows, inputs], standardised.
      failed: bool [rows].
      weight: float [rows], of mean 1.
      key: of first weights and of batches: the rows are shuffled once and cut, a step takes one of the cuts.
      hidden, code, classifier_weight, learning_rate, batch_size, steps: see `predict_config`.
    """
    generator = np.random.default_rng(np.asarray(jax.random.key_data(key)).tolist())
    size = min(batch_size, len(inputs))
    rows = generator.permutation(len(inputs))[: len(inputs) // size * size].reshape(-1, size)
    data = tuple(array.astype(np.float32)[rows] for array in (inputs, failed, weight))
    mean, whitening = components(inputs, weight)
    seen = ((inputs - mean) @ whitening).astype(np.float32)[rows]
    layers, losses = _train(key, seen, *data, hidden, code, classifier_weight, learning_rate, steps)
    layers = jax.tree.map(lambda array: np.asarray(array, np.float64), layers)
    layers["encoder_1"] = on_inputs(layers["encoder_1"], mean, whitening)
    parts = np.array_split(np.asarray(losses, np.float64), min(CURVE_POINTS, steps))
    return layers, np.array([part.mean() for part in parts])


def components(inputs: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns (mean [inputs], matrix [inputs, inputs]) that make principal components of unit variance of the inputs;
    those that hardly vary stay small."""
    mean = np.average(inputs, axis=0, weights=weight)
    variance, directions = np.linalg.eigh(np.cov(inputs.T, aweights=weight).reshape(2 * inputs.shape[1:]))
    return mean, directions / np.sqrt(np.maximum(variance, LEAST_VARIANCE * variance[-1]))


def on_inputs(layer: dict[str, np.ndarray], mean: np.ndarray, whitening: np.ndarray) -> dict[str, np.ndarray]:
    """Returns a layer that does with inputs what the given one does with their components, see `components`."""
    kernel = whitening @ layer["kernel"]
    return {"kernel": kernel, "bias": layer["bias"] - mean @ kernel}


@functools.partial(jax.jit, static_argnums=(5, 6, 7, 8, 9))
def _train(key, seen, inputs, failed, weight, hidden, code, classifier_weight, learning_rate, steps):
    """Returns the layers and the loss of every step, of data [batches, rows, ...]; one program from the first weights
    on, because many small ones would take longer to compile than it takes to run."""
    first, batches = jax.random.split(key)
    model = Autoencoder(inputs.shape[-1], hidden, code, rngs=nnx.Rngs(first))
    graph, weights = nnx.split(model, nnx.Param)
    optimizer = optax.flatten(optax.adam(optax.cosine_decay_schedule(learning_rate, steps)))

    def step(state, place):
        weights, moments = state
        batch = (array[place] for array in (seen, inputs, failed, weight))
        value, gradient = jax.value_and_grad(lambda w: loss(nnx.merge(graph, w), *batch, classifier_weight))(weights)
        change, moments = optimizer.update(gradient, moments, weights)
        return (optax.apply_updates(weights, change), moments), value

    places = jax.random.randint(batches, (steps,), 0, len(inputs))
    (weights, _), losses = jax.lax.scan(step, (weights, optimizer.init(weights)), places)
    return nnx.to_pure_dict(weights), losses


def logit(layers: dict[str, dict[str, np.ndarray]], inputs: np.ndarray) -> np.ndarray:
    """Returns the classifier's logit in float64, [rows]; larger is more likely lost.

    Args:
      layers: as `fit` returns them.
      inputs: float64 [rows, inputs], standardised.
    """

    def linear(name, x):
        return x @ layers[name]["kernel"] + layers[name]["bias"]

    return linear("classifier", linear("encoder_2", np.maximum(linear("encoder_1", inputs), 0)))[:, 0]
