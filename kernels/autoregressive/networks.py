"""Autoregressive networks over a lattice of spins: their settings, their parameters, their first values.

A network gives every site i, in raster order, a number a_i of the earlier spins; q(s_i = +1 | s_<i) = sigmoid(a_i).
PixelCNN has masked convolutions, MADE masked dense layers; Wu, Wang, Zhang, arXiv:1809.10606. A network is a frozen,
hashable setting; its parameters are a plain dictionary of arrays by layer, to be held wherever the importer likes.
"""

import dataclasses
import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike

from ..array_types import Array, Bool, Count, RandomKey
from ..scalars import real
from .arguments import Parameters, check_integer

SLOPE = 0.5  # where PReLU starts


@dataclasses.dataclass(frozen=True)
class PixelCNN:
    """Masked convolutions over the lattice, without wrapping around.

    Attributes:
      rows, columns: of the lattice; `columns` is `rows` when None.
      depth: masked convolutions, the last one included; channels: between them.
      half_width: h; kernels are (2h + 1) x (2h + 1). A layer sees row i - r up to column j + h for r = 1..h.
      residual: the layers between the first and the last add conv(PReLU(1x1 product)) to what they are given.
      bias: whether layers have one. With it and without z2 the first conditional is fixed at 1/2.
      z2: the law is the mixture of the network's and of its mirror image under s -> -s.
      epsilon: conditionals are epsilon + (1 - 2 epsilon) sigmoid(a), in (0, 1/2).
      final_conv: the last convolution has `channels` outputs, then come PReLU and a 1x1 product to one.

    Raises:
      ValueError: a count below 1, an epsilon outside (0, 1/2).
    """

    rows: Count
    columns: Count | None = None
    depth: Count = 3
    channels: Count = 64
    half_width: Count = 3
    residual: bool = False
    bias: bool = True
    z2: bool = False
    epsilon: float = 1e-7
    final_conv: bool = False

    def __post_init__(self):
        _check_fields(self, "rows", "columns", "depth", "channels", "half_width")


@dataclasses.dataclass(frozen=True)
class MADE:
    """Masked dense layers with `channels` values a site; depth 1 without bias is logistic regression on earlier spins.

    A system without a lattice has one row: MADE(1, 20). Attributes as those of PixelCNN; the 1x1 product of a residual
    layer is one matrix a site.

    Raises:
      ValueError: a count below 1, an epsilon outside (0, 1/2).
    """

    rows: Count
    columns: Count | None = None
    depth: Count = 3
    channels: Count = 4
    residual: bool = False
    bias: bool = True
    z2: bool = False
    epsilon: float = 1e-7

    def __post_init__(self):
        _check_fields(self, "rows", "columns", "depth", "channels")


Network = PixelCNN | MADE


class Layer(NamedTuple):
    """One masked layer. Attributes: name, in the parameters; inputs, outputs, channels; inclusive, whether it sees its
    own site; activated, whether PReLU comes before it; residual, whether a 1x1 product comes before that, and the
    input is added to the output."""

    name: str
    inputs: Count
    outputs: Count
    inclusive: bool
    activated: bool
    residual: bool


def layers(cfg: Network) -> tuple[Layer, ...]:
    """Returns the masked layers of a network in order.

    Example:
      >>> from havel.kernels import autoregressive
      >>> [layer.outputs for layer in autoregressive.layers(autoregressive.PixelCNN(8, depth=3, channels=16))]
      [16, 16, 1]
    """
    last = cfg.depth - 1
    widths = [1] + [cfg.channels] * last + [cfg.channels if has_final(cfg) else 1]
    return tuple(
        Layer(f"layer_{k}", widths[k], widths[k + 1], k > 0, k > 0, cfg.residual and 0 < k < last)
        for k in range(cfg.depth)
    )


def has_final(cfg: Network) -> bool:
    """Whether PReLU and a 1x1 product end the network."""
    return isinstance(cfg, PixelCNN) and cfg.final_conv


def dtype_of(params: Parameters) -> np.dtype:
    """Returns the dtype of the computation: that of the first kernel."""
    return params["layer_0"]["kernel"].dtype


def sites(cfg: Network) -> int:
    """Returns the number of spins."""
    return cfg.rows * (cfg.columns or cfg.rows)


def init(cfg: Network, key: RandomKey, dtype: DTypeLike = jnp.float32) -> dict[str, Any]:
    """Returns first parameters: kernels uniform in +-1/sqrt(inputs of an output that the mask leaves), masked ones 0.

    Biases are uniform in +-1/sqrt(inputs without the mask), slopes of PReLU 1/2.

    Args:
      cfg: PixelCNN or MADE.
      key: from jax.random.key.
      dtype: of all parameters, which is that of the computation.

    Returns:
      PixelCNN: {"layer_0": {"kernel": [2h+1, 2h+1, inputs, outputs], "bias": [outputs]}, "layer_1": {..., "slope":
      [inputs]}, ...}; residual layers have "mix": {"kernel": [inputs, inputs], "bias": [inputs]} too, and with
      `final_conv` "final": {"slope": [channels], "kernel": [channels, 1], "bias": [1]} ends it. MADE: the same with
      kernels [sites, inputs, sites, outputs] (from, to), mix kernels [sites, inputs, inputs], and slopes and biases
      [sites, channels]. Without bias these entries are missing. Masked entries never matter, whatever they hold.

    Source: arXiv:1809.10606 and its reference code.

    Example:
      >>> import jax
      >>> from havel.kernels import autoregressive
      >>> cfg = autoregressive.PixelCNN(8, depth=2, channels=4, half_width=1)
      >>> {name: value.shape for name, value in autoregressive.init(cfg, jax.random.key(0))["layer_0"].items()}
      {'bias': (4,), 'kernel': (3, 3, 1, 4)}
    """
    check_network(cfg)
    return _init(cfg, key, jnp.dtype(dtype))


@functools.partial(jax.jit, static_argnames=("cfg", "dtype"))
def _init(cfg, key, dtype):
    keys = jax.random.split(key, cfg.depth + 1)
    params = {layer.name: _init_layer(cfg, layer, keys[k], dtype) for k, layer in enumerate(layers(cfg))}
    if has_final(cfg):
        kernel_key, bias_key = jax.random.split(keys[-1])
        bound = 1 / math.sqrt(cfg.channels)
        kernel = _uniform(kernel_key, (cfg.channels, 1), bound, dtype)
        params["final"] = {"slope": jnp.full((cfg.channels,), SLOPE, dtype), "kernel": kernel}
        if cfg.bias:
            params["final"]["bias"] = _uniform(bias_key, (1,), bound, dtype)
    return params


def _init_layer(cfg, layer, key, dtype) -> dict:
    kernel_key, bias_key, mix_key, mix_bias_key = jax.random.split(key, 4)
    site = _site_shape(cfg)
    bound = 1 / math.sqrt(layer.inputs * max(_open_taps(cfg, layer), 1))
    kernel = _uniform(kernel_key, _kernel_shape(cfg, layer), bound, dtype)
    entry: dict[str, Any] = {"kernel": jnp.where(open_weights(cfg, layer), kernel, 0)}
    if cfg.bias:
        entry["bias"] = _uniform(bias_key, (*site, layer.outputs), 1 / math.sqrt(layer.inputs * _taps(cfg)), dtype)
    if layer.activated:
        entry["slope"] = jnp.full((*site, layer.inputs), SLOPE, dtype)
    if layer.residual:
        bound = 1 / math.sqrt(layer.inputs)
        entry["mix"] = {"kernel": _uniform(mix_key, (*site, layer.inputs, layer.inputs), bound, dtype)}
        if cfg.bias:
            entry["mix"]["bias"] = _uniform(mix_bias_key, (*site, layer.inputs), bound, dtype)
    return entry


def parameter_counts(cfg: Network) -> tuple[int, int]:
    """Returns (stored, unmasked): the numbers that a plain masked implementation stores, and those of them that count.

    What `init` returns holds `stored` numbers, but for the residual MADE: its mix kernels are [sites, C, C] here, and
    masked [sites C, sites C] in the count, as in the paper's code.

    Example:
      >>> from havel.kernels import autoregressive
      >>> autoregressive.parameter_counts(autoregressive.MADE(2, depth=1, bias=False))  # stored, unmasked
      (16, 6)
    """
    check_network(cfg)
    stored = unmasked = 0
    places = math.prod(_site_shape(cfg))
    for layer in layers(cfg):
        vectors = places * (layer.outputs * cfg.bias + layer.inputs * layer.activated)
        if layer.residual:
            vectors += places * layer.inputs * cfg.bias
            stored += (places * layer.inputs) ** 2
            unmasked += places * layer.inputs**2
        stored += vectors + math.prod(_kernel_shape(cfg, layer))
        unmasked += vectors + round(layer.inputs * layer.outputs * places * _open_taps(cfg, layer))
    end = has_final(cfg) * (2 * cfg.channels + cfg.bias)
    return stored + end, unmasked + end


def open_weights(cfg: Network, layer: Layer) -> Bool[Array, "from inputs to outputs"]:
    """Returns which entries of a layer's kernel count: bool, [2h+1, 2h+1, 1, 1] or, of MADE, [sites, 1, sites, 1]."""
    if isinstance(cfg, MADE):
        source, target = jnp.arange(sites(cfg))[:, None, None, None], jnp.arange(sites(cfg))[None, None, :, None]
        return source <= target if layer.inclusive else source < target
    width = 2 * cfg.half_width + 1
    order, centre = jnp.arange(width * width).reshape(width, width, 1, 1), width * width // 2
    return order <= centre if layer.inclusive else order < centre


def check_network(cfg: Any) -> None:
    """Raises TypeError for what is no network."""
    if not isinstance(cfg, Network):
        raise TypeError(f"cfg is a {type(cfg).__name__}; expected PixelCNN or MADE")


def check_parameters(params: Parameters, cfg: Network) -> None:
    """Raises ValueError for parameters that are not those of the network: some have other shapes, lack or are too many.

    They would not always fail by themselves: samples could have another law than their log-probabilities.
    """
    check_network(cfg)
    shapes = _shapes(cfg)
    for path, shape in shapes.items():
        node: Any = params
        for key in path:
            node = node[key] if isinstance(node, Mapping) and key in node else None
        if node is None or np.shape(node) != shape:
            problem = "missing" if node is None else f"of shape {list(np.shape(node))}"
            raise ValueError(
                f"params: {'/'.join(path)} is {problem}, cfg has {list(shape)}; parameters are those of init(cfg, key)"
            )
    if len(leaves := jax.tree_util.tree_leaves_with_path(params)) > len(shapes):
        names = {tuple(str(part.key) for part in path) for path, _ in leaves}
        more = ", ".join(sorted("/".join(path) for path in names - set(shapes)))
        raise ValueError(f"params hold {more}, which cfg does not have; parameters are those of init(cfg, key)")


@functools.lru_cache(maxsize=256)
def _shapes(cfg) -> dict[tuple[str, ...], tuple[int, ...]]:
    """The shape of each parameter by its path."""
    tree = jax.eval_shape(lambda: _init(cfg, jax.random.key(0), jnp.dtype(jnp.float32)))
    return {tuple(part.key for part in path): leaf.shape for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}


def _kernel_shape(cfg, layer) -> tuple[int, ...]:
    if isinstance(cfg, MADE):
        return (sites(cfg), layer.inputs, sites(cfg), layer.outputs)
    return (2 * cfg.half_width + 1, 2 * cfg.half_width + 1, layer.inputs, layer.outputs)


def _site_shape(cfg) -> tuple[int, ...]:
    """What parameters of one place are repeated over: the sites of MADE, nothing for PixelCNN."""
    return (sites(cfg),) if isinstance(cfg, MADE) else ()


def _taps(cfg) -> int:
    return sites(cfg) if isinstance(cfg, MADE) else (2 * cfg.half_width + 1) ** 2


def _open_taps(cfg, layer) -> float:
    """Places that an output sees; of MADE on average over sites."""
    if isinstance(cfg, MADE):
        return (sites(cfg) + (1 if layer.inclusive else -1)) / 2
    return _taps(cfg) // 2 + layer.inclusive


def _uniform(key, shape, bound, dtype):
    return jax.random.uniform(key, shape, dtype, -bound, bound)


def _check_fields(cfg, *counts: str) -> None:
    if cfg.columns is None:
        object.__setattr__(cfg, "columns", cfg.rows)
    for name in counts:
        check_integer(name, getattr(cfg, name), 1)
    expected = "a number in (0, 1/2): conditionals stay in [epsilon, 1 - epsilon]"
    real("epsilon", cfg.epsilon, expected, lambda epsilon: 0 < epsilon < 0.5)
