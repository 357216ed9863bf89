"""The two transformers: sizes, shapes, what hangs on what, and that they learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from common import models
from common.models import transformer
from common.training import step

BLOCK = 4 * (64 * 64 + 64) + (64 * 256 + 256) + (256 * 64 + 64) + 4 * 64  # attention, mlp, two norms


def size(make) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(jax.eval_shape(lambda: nnx.state(make(), nnx.Param))))


@pytest.mark.parametrize(("pooling", "extra"), [("token", 64 + 65 * 64), ("mean", 64 * 64)])
def test_number_of_parameters_of_the_vision_transformer(pooling, extra):
    expected = (4 * 4 * 3 * 64 + 64) + extra + 4 * BLOCK + 128 + (64 * 10 + 10)
    assert size(lambda: models.create("vit", rngs=nnx.Rngs(0), pooling=pooling)) == expected
    assert pooling == "mean" or expected == 208_074


def test_number_of_parameters_of_the_character_transformer():
    expected = 30 * 64 + 50 * 64 + 2 * BLOCK + 128 + (64 * 30 + 30)
    assert size(lambda: models.CharacterTransformer(30, 50, rngs=nnx.Rngs(0))) == expected


@pytest.mark.parametrize("pooling", transformer.POOLINGS)
def test_an_image_is_cut_into_patches(pooling):
    """Logits of any patches and classes; without positions the order of the patches is not seen."""
    options = {"rngs": nnx.Rngs(0), "width": 0.25, "blocks": 1, "num_classes": 7, "pooling": pooling}
    network = models.create("vit", input_shape=(8, 12, 1), **options)
    apply, tree = models.apply_function(network), models.to_tree(network)
    images = np.random.default_rng(0).normal(size=(2, 8, 12, 1)).astype(np.float32)
    logits = apply(tree, images)
    assert logits.shape == (2, 7) and np.isfinite(logits).all()
    swapped = images.copy()
    swapped[:, :4, :4], swapped[:, 4:, 8:] = images[:, 4:, 8:], images[:, :4, :4]
    assert np.abs(apply(tree, swapped) - logits).max() > 1e-3
    nowhere = tree | {"positions": np.zeros_like(tree["positions"])}
    np.testing.assert_allclose(apply(nowhere, swapped), apply(nowhere, images), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"), [({"input_shape": (30, 32, 3)}, "multiples of 4"), ({"pooling": "sum"}, "token, mean")]
)
def test_what_does_not_fit_is_refused(options, words):
    with pytest.raises(ValueError, match=words):
        models.create("vit", rngs=nnx.Rngs(0), **options)


@pytest.fixture(scope="module")
def small():
    network = models.CharacterTransformer(11, 9, rngs=nnx.Rngs(0), width=0.25, blocks=2)
    return network, models.apply_function(network), models.to_tree(network)


def test_no_logit_hangs_on_a_later_character(small):
    _, apply, tree = small
    text = np.random.default_rng(0).integers(0, 11, (2, 9))
    logits = np.asarray(apply(tree, text))
    assert logits.shape == (2, 9, 11)
    for place in (4, 8):
        other = text.copy()
        other[:, place] = (other[:, place] + 1) % 11
        changed = np.abs(np.asarray(apply(tree, other)) - logits).max((0, 2))
        assert (changed[:place] == 0).all() and (changed[place:] > 1e-4).all()
    np.testing.assert_allclose(apply(tree, text[:, :5]), logits[:, :5], atol=1e-5)


def test_halves_are_the_whole_and_long_texts_are_refused(small):
    network, apply, tree = small
    text = np.random.default_rng(1).integers(0, 11, (2, 9))
    embed, decode = (models.apply_function(network, name) for name in ("embed", "decode"))
    embedded = embed(tree, text)
    np.testing.assert_array_equal(embedded, tree["embedding"][text] + tree["positions"])
    np.testing.assert_allclose(decode(tree, embedded), apply(tree, text), atol=1e-6)
    with pytest.raises(ValueError, match="10 characters; expected 9 at most"):
        apply(tree, np.zeros((1, 10), int))


def test_attention_is_its_formula(small):
    network, *_ = small
    x = jnp.asarray(np.random.default_rng(2).normal(size=(1, 4, 16)), jnp.float32)
    layer = network.block1.attention
    query, key, value = (np.asarray(part(x))[0].reshape(4, 4, 4) for part in (layer.query, layer.key, layer.value))
    mixed = np.zeros((4, 4, 4))
    for head in range(4):
        for now in range(4):
            weights = np.exp(key[: now + 1, head] @ query[now, head] / 2)
            mixed[now, head] = weights / weights.sum() @ value[: now + 1, head]
    expected = mixed.reshape(4, 16) @ np.asarray(layer.out.kernel[...]) + np.asarray(layer.out.bias[...])
    np.testing.assert_allclose(layer(x)[0], expected, atol=1e-5)


def test_training_falls(small):
    """The step of classifiers trains on the next character as it is: a text that repeats is learned."""
    network, *_ = small
    text = np.tile(np.arange(5), 2)[None] + np.arange(4)[:, None]
    optimizer = optax.adam(1e-2)
    merge, state = step.initial_state(network, optimizer, 0)
    advance = jax.jit(step.make_step(merge, optimizer, lambda key, characters: characters))
    losses = []
    for _ in range(30):
        state, metrics = advance(state, {"images": text[:, :-1], "labels": text[:, 1:]})
        losses.append(float(metrics["cross_entropy"]))
    assert losses[0] > 1.5 and losses[-1] < losses[0] / 3
