"""Convolution and pooling that are fast on CPU cores, and the Flax NNX layers made of them.

XLA's CPU convolution, above all its filter gradient, and its `reduce_window` gradient are slow. Here a convolution is one matrix
product over gathered patches, and max-pooling a maximum of slices with its own gradient. Both work in either of two layouts: "NHWC"
[batch, height, width, channels], the usual one and the fast one on accelerators, and "CHWN" [channels, height, width, batch], the
fast one on CPU, where every slice that is copied is a long contiguous run.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax

from common.models import patches as patch_ops

LAYOUTS = ("NHWC", "CHWN")


def preferred_layout() -> str:
    """Returns "CHWN" on CPU and "NHWC" on any other default backend: the layout in which a network should compute."""
    return "CHWN" if jax.default_backend() == "cpu" else "NHWC"


def to_layout(x: jax.Array, layout: str) -> jax.Array:
    """Returns images `[batch, height, width, channels]` in `layout`."""
    return jnp.transpose(x, (3, 1, 2, 0)) if _checked_layout(layout) == "CHWN" else x


def from_layout(x: jax.Array, layout: str) -> jax.Array:
    """Returns feature maps in `layout` as `[batch, height, width, channels]`."""
    return jnp.transpose(x, (3, 1, 2, 0)) if _checked_layout(layout) == "CHWN" else x


def channel_axis(layout: str) -> int:
    """Returns the axis of the channels in `layout`: 3 for "NHWC", 0 for "CHWN"."""
    return 0 if _checked_layout(layout) == "CHWN" else 3


def per_channel(vector: jax.Array, layout: str) -> jax.Array:
    """Returns `vector` `[channels]` shaped so that it broadcasts against feature maps in `layout`."""
    return vector[:, None, None, None] if _checked_layout(layout) == "CHWN" else vector


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
    """Two-dimensional convolution (cross-correlation, as in every network library).

    Args:
        x: `[batch, height, width, in_channels]`, or `[in_channels, height, width, batch]` with layout="CHWN".
        kernel: `[kernel_height, kernel_width, in_channels, out_channels]` in both layouts.
        stride: output step in pixels, one number or (vertical, horizontal).
        padding: "VALID", "SAME" (TensorFlow's: the extra pixel right and below) or ((top, bottom), (left, right)) in pixels.
        dilation: distance between kernel taps in pixels.
        layout: "NHWC" or "CHWN"; of `x` and of the result.
        implementation: "im2col" (patches and one matrix product), "xla" (`lax.conv_general_dilated`), or None: im2col on CPU, xla elsewhere.

    Returns:
        The convolved maps in the same layout and the dtype of `x` (the kernel is cast to it).

    Raises:
        ValueError: for an unknown layout, padding or implementation, or a kernel that does not fit the channels.
    """
    _checked_layout(layout)
    stride, dilation = _pair(stride, "stride"), _pair(dilation, "dilation")
    if x.ndim != 4 or kernel.ndim != 4 or x.shape[channel_axis(layout)] != kernel.shape[2]:
        raise ValueError(
            f"conv2d: images of shape {x.shape} in layout {layout} do not fit a kernel of shape {kernel.shape}; "
            "expected four axes each and equal channels (kernel axis 2)."
        )
    pads = _explicit_padding(x.shape[1:3], kernel.shape[:2], stride, dilation, padding)
    kernel = kernel.astype(x.dtype)
    if _implementation(implementation) == "xla":
        return lax.conv_general_dilated(
            x, kernel, stride, pads, rhs_dilation=dilation, dimension_numbers=(layout, "HWIO", layout)
        )
    x = to_layout(x, "CHWN") if layout == "NHWC" else x
    if any(side for pair in pads for side in pair):
        x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    y = patch_ops.convolve(x, kernel, stride, dilation)
    return from_layout(y, "CHWN") if layout == "NHWC" else y


def max_pool(
    x: jax.Array, *, window: int | tuple[int, int] = 2, stride: int | tuple[int, int] | None = None, layout: str = "NHWC"
) -> jax.Array:
    """Maximum over windows, without padding (rows and columns that fill no window are dropped).

    The gradient goes to the first maximum of a window in row-major order, as it does for XLA's `select_and_scatter`; a window
    that holds a NaN gives NaN.

    Args:
        x: four axes in `layout`.
        window: window height and width in pixels.
        stride: step in pixels, default the window.
        layout: "NHWC" or "CHWN".

    Returns:
        The maxima, in the same layout and dtype.
    """
    _checked_layout(layout)
    window = _pair(window, "window")
    stride = window if stride is None else _pair(stride, "stride")
    return patch_ops.max_pool(x, window, stride)


class Conv(nnx.Module):
    """A convolution with a bias: parameters `kernel` [height, width, in, out] and `bias` [out] (None without)."""

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
        self.kernel = nnx.Param(nnx.initializers.he_normal()(rngs.params(), shape, jnp.float32))
        self.bias = nnx.Param(jnp.zeros((out_features,), jnp.float32)) if use_bias else None
        self.stride = _pair(stride, "stride")
        self.padding = padding

    def __call__(self, x: jax.Array, *, layout: str = "NHWC") -> jax.Array:
        y = conv2d(x, self.kernel[...], stride=self.stride, padding=self.padding, layout=layout)
        return y if self.bias is None else y + per_channel(self.bias[...].astype(y.dtype), layout)


class Linear(nnx.Module):
    """A dense layer: parameters `kernel` [in, out] and `bias` [out] (None without)."""

    def __init__(self, in_features: int, out_features: int, *, use_bias: bool = True, rngs: nnx.Rngs):
        self.kernel = nnx.Param(nnx.initializers.he_normal()(rngs.params(), (in_features, out_features), jnp.float32))
        self.bias = nnx.Param(jnp.zeros((out_features,), jnp.float32)) if use_bias else None

    def __call__(self, x: jax.Array) -> jax.Array:
        y = x @ self.kernel[...].astype(x.dtype)
        return y if self.bias is None else y + self.bias[...].astype(y.dtype)


def _checked_layout(layout: str) -> str:
    if layout not in LAYOUTS:
        raise ValueError(f"layout is {layout!r}; expected one of {', '.join(LAYOUTS)}.")
    return layout


def _implementation(implementation: str | None) -> str:
    if implementation is None:
        return "im2col" if jax.default_backend() == "cpu" else "xla"
    if implementation not in ("im2col", "xla"):
        raise ValueError(f"implementation is {implementation!r}; expected None, 'im2col' or 'xla'.")
    return implementation


def _pair(value: int | tuple[int, int], name: str) -> tuple[int, int]:
    pair = (value, value) if isinstance(value, int) else tuple(value)
    if len(pair) != 2 or min(pair) < 1:
        raise ValueError(f"{name} is {value!r}; expected one positive number or two.")
    return pair


def _explicit_padding(size, window, stride, dilation, padding) -> tuple[tuple[int, int], tuple[int, int]]:
    """Returns ((top, bottom), (left, right)) in pixels."""
    if isinstance(padding, str):
        if padding not in ("SAME", "VALID"):
            raise ValueError(f"padding is {padding!r}; expected 'SAME', 'VALID' or two pairs of pixels.")
        extents = [(taps - 1) * step + 1 for taps, step in zip(window, dilation, strict=True)]
        padding = lax.padtype_to_pads(size, extents, stride, padding)
    return tuple((int(low), int(high)) for low, high in padding)
