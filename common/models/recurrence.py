"""The part of an LSTM that goes from time to time, with a backward pass of its own.

What does not depend on the state before is outside: products of the inputs of all times are one, and so is the gradient
of the kernel here, which a transposed scan would add up step by step: most of its time for many clients.

Hochreiter, Schmidhuber, "Long short-term memory", 1997, with forget gates; order of the gates as in PyTorch.
"""

from typing import Any

import jax
import jax.numpy as jnp


@jax.custom_vjp
def states(inputs: jax.Array, kernel: jax.Array) -> jax.Array:
    """Returns the hidden states of all times, [times, batch, hidden], from states that are 0. Reverse mode only.

    Args:
      inputs: what gates have from inputs and biases, [times, batch, 4 hidden]: input, forget, cell and output gate.
      kernel: of the state before, [hidden, 4 hidden].
    """
    return _forward(inputs, kernel)[0]


def _forward(inputs: jax.Array, kernel: jax.Array) -> tuple[jax.Array, Any]:
    def step(carry: tuple[jax.Array, jax.Array], values: jax.Array) -> tuple[tuple[jax.Array, jax.Array], Any]:
        state, cell = carry
        to_input, forget, change, output = jnp.split(values + state @ kernel, 4, axis=-1)
        to_input, forget, output = _sigmoid(to_input), _sigmoid(forget), _sigmoid(output)
        change = jnp.tanh(change)
        cell = forget * cell + to_input * change
        state = output * jnp.tanh(cell)
        return (state, cell), (state, cell, jnp.concatenate([to_input, forget, change, output], axis=-1))

    zeros = jnp.zeros((*inputs.shape[1:-1], kernel.shape[0]), inputs.dtype)
    outputs, cells, gates = jax.lax.scan(step, (zeros, zeros), inputs)[1]
    return outputs, (outputs, cells, gates, kernel)


def _backward(saved: Any, slopes: jax.Array) -> tuple[jax.Array, jax.Array]:
    outputs, cells, gates, kernel = saved
    before = [jnp.concatenate([jnp.zeros_like(array[:1]), array[:-1]]) for array in (outputs, cells)]

    def step(carry: tuple[jax.Array, jax.Array], item: Any) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        state_slope, cell_slope = carry
        slope, cell, cell_before, gate = item
        to_input, forget, change, output = jnp.split(gate, 4, axis=-1)
        squashed, state_slope = jnp.tanh(cell), state_slope + slope
        cell_slope = cell_slope + state_slope * output * (1 - squashed * squashed)
        gate_slopes = [
            cell_slope * change * to_input * (1 - to_input),
            cell_slope * cell_before * forget * (1 - forget),
            cell_slope * to_input * (1 - change * change),
            state_slope * squashed * output * (1 - output),
        ]
        gate_slope = jnp.concatenate(gate_slopes, axis=-1)
        return (gate_slope @ kernel.T, cell_slope * forget), gate_slope

    zeros = jnp.zeros_like(cells[0])
    gate_slopes = jax.lax.scan(step, (zeros, zeros), (slopes, cells, before[1], gates), reverse=True)[1]
    return gate_slopes, jnp.einsum("tbh,tbg->hg", before[0], gate_slopes)


states.defvjp(_forward, _backward)


def _sigmoid(x: jax.Array) -> jax.Array:
    return 0.5 * jnp.tanh(0.5 * x) + 0.5  # XLA's tanh on CPU is a rational function, its logistic function is not
