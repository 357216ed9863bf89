"""Convolution, pooling and normalisation that are fast on CPU cores, and the Flax NNX layers made of them.

XLA's CPU convolution, above all its filter gradient, and the gradient of its `reduce_window` are slow; here they are
matrix products over patches and maxima of slices, see `patches`. Both work in two layouts: "NHWC" [batch, height,
width, channels], and "CHWN" [channels, height, width, batch], in which a CPU copies long contiguous runs. A network
that trains on CPU turns its input with `to_layout(x, preferred_layout())` once and stays in that layout. Where
`kernels.plain_operations` are asked for, XLA's own convolution and `reduce_window` are taken, in NHWC.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from common.models import initial, patches
from kernels import plain_operations

LAYOUTS = ("NHWC", "CHWN")


def preferred_layout() -> str:
    """Returns "CHWN" on CPU and "NHWC" on any other default backend: the layout in which a network should train."""
    return "CHWN" if _is_own_faster() else "NHWC"


def to_layout(x: jax.Array, layout: str) -> jax.Array:
    """Returns images `[batch, height, width, channels]` in `layout`."""
    return jnp.transpose(x, (3, 1, 2, 0)) if _is_chwn(layout) else x


def flatten(x: jax.Array, layout: str) -> jax.Array:
    """Returns feature maps in `layout` as `[batch, values]`: rows, columns, channels whatever the layout.

    Weights of a dense layer behind it travel between machines.
    """
    return from_layout(x, layout).reshape(x.shape[3 if _is_chwn(layout) else 0], -1)


def from_layout(x: jax.Array, layout: str) -> jax.Array:
    """Returns feature maps in `layout` as `[batch, height, width, channels]`."""
    return jnp.transpose(x, (3, 1, 2, 0)) if _is_chwn(layout) else x


def per_channel(vector: jax.Array, layout: str) -> jax.Array:
    """Returns `vector` `[channels]` shaped so that it broadcasts against feature maps in `layout`."""
    return vector[:, None, None, None] if _is_chwn(layout) else vector


def conv2d(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int | tuple[int, int] = 1,
    padding: str | Sequence[tuple[int, int]] = "VALID",
    dilation: int | tuple[int, int] = 1,
    layout: str = "NHWC",
    implementation: str | None = None,
) -> jax.Array:
    """Returns the two-dimensional convolution (cross-correlation, as in every network library).

    Args:
      x: `[batch, height, width, in_channels]`, or `[in_channels, height, width, batch]` with layout="CHWN".
      kernel: `[kernel_height, kernel_width, in_channels, out_channels]` in both layouts; cast to the dtype of `x`.
      stride: output step in pixels, one number or (vertical, horizontal).
      padding: "VALID", "SAME" (TensorFlow's: an odd pixel goes right and below) or ((top, bottom), (left, right))
        in pixels, not negative.
      dilation: distance between kernel taps in pixels.
      layout: "NHWC" or "CHWN"; of `x` and of the result.
      implementation: "im2col" (patches and one matrix product; reverse-mode gradients only), "xla"
        (`lax.conv_general_dilated`), or None: im2col on CPU, xla elsewhere.

    Returns:
      The maps in the layout and the dtype of `x`.

    Raises:
      ValueError: for an unknown layout, padding or implementation, or a kernel that does not fit `x`.
    """
    stride, dilation = _pair(stride, "stride"), _pair(dilation, "dilation")
    channels = x.shape[0 if _is_chwn(layout) else -1]
    if x.ndim != 4 or kernel.ndim != 4 or channels != kernel.shape[2]:
        raise ValueError(
            f"conv2d: maps of shape {x.shape} in layout {layout} do not fit a kernel of shape {kernel.shape}: "
            "both need four axes, and as many channels as kernel axis 2."
        )
    pads = _pixels_of_padding(x.shape[1:3], kernel.shape[:2], stride, dilation, padding)
    kernel = kernel.astype(x.dtype)
    if _implementation(implementation, "im2col") == "xla":
        numbers = (layout, "HWIO", layout)
        return lax.conv_general_dilated(x, kernel, stride, pads, rhs_dilation=dilation, dimension_numbers=numbers)
    if kernel.shape[:2] == (1, 1) and stride == (1, 1) and pads == ((0, 0), (0, 0)):
        return jnp.tensordot(kernel[0, 0].T, x, 1) if layout == "CHWN" else jnp.tensordot(x, kernel[0, 0], 1)
    x = to_layout(x, "CHWN") if layout == "NHWC" else x
    y = patches.convolve(jnp.pad(x, ((0, 0), *pads, (0, 0))), kernel, stride, dilation)
    return from_layout(y, "CHWN") if layout == "NHWC" else y


def depthwise_conv2d(
    x: jax.Array,
    kernel: jax.Array,
    *,
    stride: int | tuple[int, int] = 1,
    padding: str | Sequence[tuple[int, int]] = "SAME",
    layout: str = "NHWC",
    implementation: str | None = None,
) -> jax.Array:
    """Returns every channel convolved with a kernel of its own.

    Args:
      x, stride, padding, layout: as for `conv2d`.
      kernel: `[kernel_height, kernel_width, 1, channels]`.
      implementation: "shifted" (one multiply-add a tap), "xla", or None: shifted on CPU, xla elsewhere.

    Raises:
      ValueError: as `conv2d`.
    """
    stride = _pair(stride, "stride")
    channels = x.shape[0 if _is_chwn(layout) else -1]
    if x.ndim != 4 or kernel.ndim != 4 or kernel.shape[2:] != (1, channels):
        raise ValueError(
            f"depthwise_conv2d: maps of shape {x.shape} in layout {layout} do not fit a kernel of shape "
            f"{kernel.shape}; expected [height, width, 1, {channels}]."
        )
    pads = _pixels_of_padding(x.shape[1:3], kernel.shape[:2], stride, (1, 1), padding)
    kernel = kernel.astype(x.dtype)
    if _implementation(implementation, "shifted") == "xla":
        numbers = (layout, "HWIO", layout)
        return lax.conv_general_dilated(
            x, kernel, stride, pads, dimension_numbers=numbers, feature_group_count=channels
        )
    shape = (*kernel.shape[:2], channels, 1, 1, 1) if layout == "CHWN" else (*kernel.shape[:2], channels)
    return patches.depthwise(jnp.pad(x, ((0, 0), *pads, (0, 0))), kernel.reshape(shape), stride)


def max_pool(
    x: jax.Array,
    *,
    window: int | tuple[int, int] = 2,
    stride: int | tuple[int, int] | None = None,
    layout: str = "NHWC",
) -> jax.Array:
    """Returns the maxima over windows, without padding: rows and columns that fill no window are dropped.

    The gradient goes to the first maximum of a window in row-major order, as with XLA's `select_and_scatter`. A window
    that holds a NaN gives NaN.

    Args:
      x: four axes in `layout`.
      window: window height and width in pixels.
      stride: step in pixels, by default the window.
      layout: "NHWC" or "CHWN".

    Raises:
      ValueError: for an unknown layout, or maps smaller than the window.
    """
    _is_chwn(layout)
    window = _pair(window, "window")
    stride = window if stride is None else _pair(stride, "stride")
    if x.ndim != 4 or x.shape[1] < window[0] or x.shape[2] < window[1]:
        raise ValueError(f"max_pool: a window of {window} does not fit maps of shape {x.shape} (layout {layout}).")
    if plain_operations.wanted():
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *stride, 1), "VALID")
    return patches.max_pool(x, window, stride)


class Conv(nnx.Module):
    """A convolution: parameters `kernel` [height, width, in, out] and `bias` [out], the latter absent on request."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        padding: str | Sequence[tuple[int, int]] = "VALID",
        use_bias: bool = True,
        rngs: nnx.Rngs,
    ):
        shape = (*_pair(kernel_size, "kernel_size"), in_features, out_features)
        self.kernel = nnx.Param(initial.he_normal(rngs.params(), shape))
        self.bias = nnx.Param(initial.constant(0, out_features)) if use_bias else None
        self.stride, self.padding = stride, padding

    def __call__(self, x: jax.Array, *, layout: str = "NHWC") -> jax.Array:
        y = conv2d(x, self.kernel[...], stride=self.stride, padding=self.padding, layout=layout)
        return y if self.bias is None else y + per_channel(self.bias[...].astype(y.dtype), layout)


class DepthwiseConv(nnx.Module):
    """A depthwise convolution without bias: parameter `kernel` [height, width, 1, channels]."""

    def __init__(
        self,
        features: int,
        kernel_size: int | tuple[int, int],
        *,
        stride: int | tuple[int, int] = 1,
        padding: str | Sequence[tuple[int, int]] = "SAME",
        rngs: nnx.Rngs,
    ):
        shape = (*_pair(kernel_size, "kernel_size"), 1, features)
        self.kernel = nnx.Param(initial.he_normal(rngs.params(), shape))
        self.stride, self.padding = stride, padding

    def __call__(self, x: jax.Array, *, layout: str = "NHWC") -> jax.Array:
        return depthwise_conv2d(x, self.kernel[...], stride=self.stride, padding=self.padding, layout=layout)


class Linear(nnx.Module):
    """A dense layer: parameters `kernel` [in, out] and `bias` [out], the latter absent on request."""

    def __init__(self, in_features: int, out_features: int, *, use_bias: bool = True, rngs: nnx.Rngs):
        self.kernel = nnx.Param(initial.he_normal(rngs.params(), (in_features, out_features)))
        self.bias = nnx.Param(initial.constant(0, out_features)) if use_bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x @ self.kernel[...].astype(x.dtype)
        return y if self.bias is None else y + self.bias[...].astype(y.dtype)


class BatchNorm(nnx.Module):
    """Batch normalisation: parameters `scale`, `bias`, running statistics `mean`, `var` [features] (biased variance).

    `module.train()` and `module.eval()` choose the statistics: of the batch, which are also averaged into the running
    ones, or the running ones. Statistics are float32 or wider whatever the dtype of the input.
    """

    def __init__(self, features: int, *, momentum: float = 0.9, epsilon: float = 1e-5, rngs: nnx.Rngs | None = None):
        self.scale = nnx.Param(initial.constant(1, features))
        self.bias = nnx.Param(initial.constant(0, features))
        self.mean = nnx.BatchStat(initial.constant(0, features))
        self.var = nnx.BatchStat(initial.constant(1, features))
        self.momentum, self.epsilon = momentum, epsilon
        self.use_running_average = False

    def __call__(self, x: jax.Array, *, layout: str = "NHWC") -> jax.Array:
        """Normalises feature maps in `layout`; "NHWC" stands for any `[..., features]`, two axes for example."""
        channels_first = _is_chwn(layout)
        mean, var = self.mean[...], self.var[...]
        if not self.use_running_average:
            axes = (1, 2, 3) if channels_first else tuple(range(x.ndim - 1))
            wide = x.astype(jnp.promote_types(x.dtype, jnp.float32))
            mean = jnp.mean(wide, axes)
            # Around the mean, in a second pass: the difference of squares loses digits where the mean is large.
            centre = per_channel(mean, "CHWN") if channels_first else mean
            var = jnp.mean(jnp.square(wide - centre), axes)
            for running, new in ((self.mean, mean), (self.var, var)):
                averaged = self.momentum * running[...] + (1 - self.momentum) * lax.stop_gradient(new)
                running[...] = averaged.astype(running[...].dtype)
        factor = self.scale[...] * lax.rsqrt(var + self.epsilon)
        offset = self.bias[...] - mean * factor
        if channels_first:
            factor, offset = per_channel(factor, "CHWN"), per_channel(offset, "CHWN")
        return x * factor.astype(x.dtype) + offset.astype(x.dtype)

    def set_view(self, use_running_average: bool | None = None) -> None:
        """Takes the option of `nnx.view`."""
        if use_running_average is not None:
            self.use_running_average = use_running_average


def _is_chwn(layout: str) -> bool:
    if layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}; expected one of {', '.join(LAYOUTS)}.")
    return layout == "CHWN"


def _is_own_faster() -> bool:
    return jax.default_backend() == "cpu" and not plain_operations.wanted()


def _implementation(implementation: str | None, own: str) -> str:
    if implementation is None:
        return own if _is_own_faster() else "xla"
    if implementation not in (own, "xla"):
        raise ValueError(f"implementation is {implementation!r}; expected None, {own!r} or 'xla'.")
    return implementation


def _pair(value: int | tuple[int, int], name: str) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"{name} is {value!r}; expected one positive number or two.")
    return pair


def _pixels_of_padding(size, window, stride, dilation, padding) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns ((top, bottom), (left, right)) in pixels; refuses maps that are smaller than the window."""
    extents = [(taps - 1) * step + 1 for taps, step in zip(window, dilation, strict=True)]
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            raise ValueError(f"padding is {padding!r}; expected 'SAME', 'VALID' or two pairs of pixels.")
        padding = lax.padtype_to_pads(size, extents, stride, padding)
    pads = tuple((int(low), int(high)) for low, high in padding)
    if len(pads) != 2 or min(side for pair in pads for side in pair) < 0:
        raise ValueError(f"padding is {padding!r}; expected two pairs of pixels that are not negative.")
    if any(pixels + sum(pair) < extent for pixels, pair, extent in zip(size, pads, extents, strict=True)):
        raise ValueError(f"a window of {tuple(extents)} pixels does not fit maps of {tuple(size)} with padding {pads}.")
    return pads
