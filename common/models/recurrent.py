"""An LSTM that reads the rows of an image one after another, such as the frames of a spectrogram.

Hochreiter, Schmidhuber, "Long short-term memory", 1997, with forget gates. It trains by `recurrence.states`; where
`kernels.plain_operations` are asked for it is the textbook's cell in one `lax.scan`, whose products attribution reads.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import nnx

from common.models import initial, layers, recurrence
from common.models.lenet import scaled
from kernels import plain_operations


class LSTMLayer(nnx.Module):
    """Sequences `[times, batch, inputs]` to hidden states `[times, batch, hidden]`, from a state of zeros.

    Parameters `kernel` [inputs, 4 hidden], `hidden_kernel` [hidden, 4 hidden] and `bias` [4 hidden]: input, forget,
    cell and output gate. The forget gate's bias begins at one (Jozefowicz et al., ICML 2015).
    """

    def __init__(self, inputs: int, hidden: int, *, rngs: nnx.Rngs):
        # Half of He's variance: no ReLU halves what goes through.
        factor = math.sqrt(0.5)
        self.kernel = nnx.Param(factor * initial.he_normal(rngs.params(), (inputs, 4 * hidden)))
        self.hidden_kernel = nnx.Param(factor * initial.he_normal(rngs.params(), (hidden, 4 * hidden)))
        gates = [initial.constant(float(name == "forget"), hidden) for name in ("input", "forget", "cell", "output")]
        self.bias = nnx.Param(jnp.concatenate(gates))

    def __call__(self, x: jax.Array) -> jax.Array:
        kernel, hidden_kernel, bias = self.kernel[...], self.hidden_kernel[...], self.bias[...]
        if not plain_operations.wanted():
            return recurrence.states(x @ kernel + bias, hidden_kernel)

        def step(carry: tuple[jax.Array, jax.Array], now: jax.Array) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
            state, cell = carry
            to_input, forget, change, output = jnp.split(now @ kernel + state @ hidden_kernel + bias, 4, axis=-1)
            cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(to_input) * jnp.tanh(change)
            state = jax.nn.sigmoid(output) * jnp.tanh(cell)
            return (state, cell), state

        zeros = jnp.zeros((x.shape[1], hidden_kernel.shape[0]), x.dtype)
        return jax.lax.scan(step, (zeros, zeros), x)[1]


class RowLSTM(nnx.Module):
    """Two layers of an LSTM over the rows of an image and a dense layer on the last state: `lstm1`, `lstm2`, `fc`.

    Takes images `[batch, height, width, channels]` of `input_shape`, whose rows are the times, and returns logits
    `[batch, num_classes]`. 215,306 parameters for 32 x 32 x 1.
    """

    def __init__(
        self,
        *,
        rngs: nnx.Rngs,
        num_classes: int = 10,
        width: float = 1.0,
        input_shape: tuple[int, int, int] = (32, 32, 1),
        hidden: int = 128,
        linear: Callable = layers.Linear,
    ):
        _, columns, channels = input_shape
        units = scaled(hidden, width)
        self.lstm1 = LSTMLayer(columns * channels, units, rngs=rngs)
        self.lstm2 = LSTMLayer(units, units, rngs=rngs)
        self.fc = linear(units, num_classes, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        rows = jnp.swapaxes(x.reshape(*x.shape[:2], -1), 0, 1)
        return self.fc(self.lstm2(self.lstm1(rows))[-1])
