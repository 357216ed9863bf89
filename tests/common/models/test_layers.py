"""The fast convolution and pooling against XLA's own: values and gradients, every layout, stride and padding in use."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax import lax

from common.models import layers, patches

# (image height, width, in, out), kernel, stride, padding, dilation
CONVOLUTIONS = {
    "lenet5 second": ((12, 12, 4, 6), 5, 1, "VALID", 1),
    "vgg": ((8, 8, 3, 5), 3, 1, "SAME", 1),
    "vgg, smaller than the kernel": ((2, 2, 3, 4), 3, 1, "SAME", 1),
    "efficientnet stem, even side": ((10, 12, 3, 4), 3, 2, "SAME", 1),
    "stride 2, odd side": ((9, 11, 2, 3), 5, 2, "SAME", 1),
    "pointwise": ((5, 7, 6, 4), 1, 1, "VALID", 1),
    "pointwise with stride": ((5, 8, 6, 4), 1, 2, "SAME", 1),
    "uneven everything": ((11, 9, 2, 3), (2, 3), (3, 2), ((2, 1), (0, 4)), (2, 3)),
}


def random(*shape, seed=0, dtype=np.float32):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def value_and_gradients(function, x, kernel):
    """Values, and the gradients of a nonlinear sum of them."""

    def both(x, kernel):
        y, pull = jax.vjp(function, x, kernel)
        return y, *pull(jnp.cos(y))

    return jax.jit(both)(x, kernel)


def assert_close(actual, expected, tolerance):
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == other.dtype and one.shape == other.shape
        one, other = np.asarray(one, np.float64), np.asarray(other, np.float64)
        np.testing.assert_allclose(one, other, atol=tolerance * max(1, np.abs(other).max()), rtol=0)


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_conv2d_equals_xla(case, monkeypatch):
    (height, width, inputs, outputs), size, stride, padding, dilation = CONVOLUTIONS[case]
    monkeypatch.setattr(patches, "BLOCK_BYTES", 4000)  # several blocks of rows, as for real sizes
    size = (size, size) if isinstance(size, int) else size
    x, kernel = random(3, height, width, inputs), random(*size, inputs, outputs, seed=1)

    def convolve(implementation, layout):
        def function(x, kernel):
            options = dict(stride=stride, padding=padding, dilation=dilation, implementation=implementation)
            y = layers.conv2d(layers.to_layout(x, layout), kernel, layout=layout, **options)
            return layers.from_layout(y, layout)

        return value_and_gradients(function, x, kernel)

    expected = convolve("xla", "NHWC")
    for layout in layers.LAYOUTS:
        assert_close(convolve("im2col", layout), expected, 2e-6)


def test_conv2d_in_several_blocks_is_one_convolution(monkeypatch):
    x, kernel = random(2, 13, 6, 3), random(3, 3, 3, 4, seed=1)
    run = lambda: value_and_gradients(lambda x, k: layers.conv2d(x, k, implementation="im2col"), x, kernel)  # noqa: E731
    whole = run()
    monkeypatch.setattr(patches, "BLOCK_BYTES", 1)
    assert_close(run(), whole, 1e-6)


@pytest.mark.parametrize("dtype,tolerance", [("bfloat16", 0.02), ("float16", 0.003), ("float64", 1e-13)])
def test_conv2d_keeps_the_dtype(dtype, tolerance):
    with jax.enable_x64(dtype == "float64"):
        x, kernel = random(2, 8, 8, 3, dtype=dtype), random(3, 3, 3, 5, seed=1, dtype=dtype)
        results = [
            value_and_gradients(
                lambda x, k, i=implementation: layers.conv2d(x, k, padding="SAME", implementation=i), x, kernel
            )
            for implementation in ("im2col", "xla")
        ]
        assert results[0][0].dtype == dtype
        assert_close(*results, tolerance)


def test_kernel_is_cast_to_the_input_and_its_gradient_back():
    x, kernel = random(2, 6, 6, 3, dtype=jnp.bfloat16), random(3, 3, 3, 5, seed=1)
    y, _, kernel_gradient = value_and_gradients(lambda x, k: layers.conv2d(x, k, implementation="im2col"), x, kernel)
    assert y.dtype == jnp.bfloat16 and kernel_gradient.dtype == jnp.float32


def test_conv2d_under_vmap_over_kernels_and_images():
    x, kernel = random(4, 2, 6, 6, 3), random(4, 3, 3, 3, 5, seed=1)
    gradient = lambda i: jax.grad(  # noqa: E731
        lambda k, x: jnp.sum(jnp.sin(layers.conv2d(x, k, stride=2, padding="SAME", implementation=i)))
    )
    actual = jax.jit(jax.vmap(gradient("im2col")))(kernel, x)
    expected = jnp.stack([gradient("xla")(kernel[i], x[i]) for i in range(4)])
    assert_close([actual], [expected], 2e-6)


@pytest.mark.parametrize("size,stride", [(3, 1), (3, 2), (5, 2)])
def test_depthwise_equals_xla(size, stride):
    x, kernel = random(2, 10, 9, 4), random(size, size, 1, 4, seed=1)

    def convolve(implementation, layout):
        def function(x, kernel):
            x = layers.to_layout(x, layout)
            y = layers.depthwise_conv2d(x, kernel, stride=stride, layout=layout, implementation=implementation)
            return layers.from_layout(y, layout)

        return value_and_gradients(function, x, kernel)

    expected = convolve("xla", "NHWC")
    for layout in layers.LAYOUTS:
        assert_close(convolve("shifted", layout), expected, 2e-6)


@pytest.mark.parametrize(
    "window,stride,shape", [(2, 2, (6, 8)), (2, 2, (5, 7)), (3, 2, (9, 8)), ((2, 3), (1, 2), (5, 6))]
)
def test_max_pool_equals_xla(window, stride, shape):
    # Few different values, so that ties are everywhere: the first maximum must get the gradient.
    x = jnp.round(random(3, *shape, 4))
    pair = lambda value: (value, value) if isinstance(value, int) else value  # noqa: E731

    def ours(x, layout):
        y = layers.max_pool(layers.to_layout(x, layout), window=window, stride=stride, layout=layout)
        return layers.from_layout(y, layout)

    def xla(x):
        return lax.reduce_window(x, -jnp.inf, lax.max, (1, *pair(window), 1), (1, *pair(stride), 1), "VALID")

    def both(function):
        gradient = random(*jax.eval_shape(function, x).shape, seed=2)
        return jax.jit(lambda x: (function(x), *jax.vjp(function, x)[1](gradient)))(x)

    expected = both(xla)
    for layout in layers.LAYOUTS:
        assert_close(both(functools.partial(ours, layout=layout)), expected, 1e-6)


def test_max_pool_gives_the_gradient_to_the_first_maximum():
    x = jnp.asarray([[1.0, 2.0], [2.0, 2.0]]).reshape(1, 2, 2, 1)
    gradient = jax.grad(lambda x: layers.max_pool(x).sum())(x)
    assert gradient.reshape(-1).tolist() == [0, 1, 0, 0]
    assert np.isnan(layers.max_pool(x.at[0, 1, 0, 0].set(jnp.nan))).all()


@pytest.mark.parametrize("layout", layers.LAYOUTS)
def test_batch_norm(layout):
    x = random(5, 3, 4, 6) * 3 + 1000  # a mean far from zero must not cost digits
    norm = layers.BatchNorm(6, momentum=0.75, epsilon=1e-3)
    norm.scale[...], norm.bias[...] = random(6, seed=1), random(6, seed=2)
    wide = np.asarray(x, np.float64)
    mean, var = wide.mean((0, 1, 2)), wide.var((0, 1, 2))
    expected = (wide - mean) / np.sqrt(var + 1e-3) * norm.scale[...] + norm.bias[...]

    y = layers.from_layout(norm(layers.to_layout(x, layout), layout=layout), layout)
    np.testing.assert_allclose(y, expected, atol=2e-3)
    np.testing.assert_allclose(norm.mean[...], 0.25 * mean, rtol=1e-5)
    np.testing.assert_allclose(norm.var[...], 0.75 + 0.25 * var, rtol=1e-3)

    norm.eval()
    before = np.asarray(norm.mean[...])
    y = layers.from_layout(norm(layers.to_layout(x, layout), layout=layout), layout)
    running = (wide - before) / np.sqrt(np.asarray(norm.var[...]) + 1e-3) * norm.scale[...] + norm.bias[...]
    np.testing.assert_allclose(y, running, rtol=1e-4, atol=1e-3)
    assert (norm.mean[...] == before).all()


def test_batch_norm_gradient():
    x, weight = random(4, 3, 3, 5), random(4, 3, 3, 5, seed=1)
    norm = layers.BatchNorm(5)
    graph, parameters, statistics = nnx.split(norm, nnx.Param, nnx.BatchStat)

    def ours(parameters, x):
        return jnp.sum(weight * jnp.sin(nnx.merge(graph, parameters, statistics, copy=True)(x)))

    def plain(parameters, x):
        mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
        y = (x - mean) / jnp.sqrt(var + 1e-5) * parameters["scale"][...] + parameters["bias"][...]
        return jnp.sum(weight * jnp.sin(y))

    actual, expected = (jax.tree.leaves(jax.jit(jax.grad(f, (0, 1)))(parameters, x)) for f in (ours, plain))
    assert_close(actual, expected, 1e-5)


@pytest.mark.parametrize(
    "call,words",
    [
        (lambda x, k: layers.conv2d(x, k, layout="NCHW"), ["NCHW", "CHWN"]),
        (lambda x, k: layers.conv2d(x, k, implementation="fast"), ["fast", "im2col"]),
        (lambda x, k: layers.conv2d(x, k, padding="FULL"), ["FULL", "SAME"]),
        (lambda x, k: layers.conv2d(x, k, padding=((-1, 0), (0, 0))), ["negative"]),
        (lambda x, k: layers.conv2d(x, k, stride=0), ["stride", "0"]),
        (lambda x, k: layers.conv2d(x, k, layout="CHWN"), ["(2, 6, 6, 3)", "CHWN"]),
        (lambda x, k: layers.conv2d(x, k, dilation=3), ["7", "does not fit"]),
        (lambda x, k: layers.depthwise_conv2d(x, k), ["[height, width, 1, 3]"]),
        (lambda x, k: layers.max_pool(x, window=7), ["(7, 7)", "(2, 6, 6, 3)"]),
    ],
)
def test_errors_name_what_is_wrong(call, words):
    with pytest.raises(ValueError) as caught:
        call(jnp.zeros((2, 6, 6, 3)), jnp.zeros((3, 3, 3, 5)))
    assert all(word in str(caught.value) for word in words), caught.value


@pytest.mark.parametrize("layout", layers.LAYOUTS)
def test_flatten_has_one_order_for_every_layout(layout):
    x = random(2, 3, 4, 5)
    flat = layers.flatten(layers.to_layout(x, layout), layout)
    np.testing.assert_array_equal(flat, np.asarray(x).reshape(2, -1))
