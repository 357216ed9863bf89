"""Colour maps and pictures against Zennit's, recorded (tests/peers/record_zennit.py), and by hand."""

import numpy as np
import pytest

from kernels.attribution import heatmaps
from tests.kernels.attribution import cases, recordings

RECORDED = recordings.load("pictures")
PICTURES = cases.pictures()


@pytest.mark.parametrize("level", cases.LEVELS)
@pytest.mark.parametrize("text", cases.PALETTES)
def test_palette_is_zennits(text, level):
    np.testing.assert_array_equal(heatmaps.palette(text, level), RECORDED[f"palette/{text}/{level}"])


@pytest.mark.parametrize("name", PICTURES)
def test_picture_is_zennits(name):
    values, settings = PICTURES[name]
    picture = heatmaps.imgify(values, **settings)
    assert picture.dtype == np.uint8 and picture.shape[-1] == 3
    np.testing.assert_array_equal(picture, RECORDED[f"picture/{name}"])


def test_every_map_is_recorded():
    assert set(heatmaps.COLORMAPS) < set(cases.PALETTES)
    assert len(heatmaps.COLORMAPS) == 11


def test_nodes_by_hand():
    found = heatmaps.colormap("f00,0f0,8:00f,fff,000")
    np.testing.assert_array_equal(found.indices, [0, 68, 136, 195, 255])  # 8 is 88: 0 .. 136 .. 255, truncated
    np.testing.assert_array_equal(found.colors[[0, 2, 4]], [[255, 0, 0], [0, 0, 255], [0, 0, 0]])
    np.testing.assert_allclose(found([0.0, 34 / 255, 2.0]), [[1, 0, 0], [0.5, 0.5, 0], [0, 0, 0]])


def test_levels_by_hand():
    np.testing.assert_array_equal(heatmaps.palette("000,fff"), np.arange(256)[:, None].repeat(3, 1))
    np.testing.assert_array_equal(heatmaps.palette("000,fff", 0.0), np.full((256, 3), 127))
    steep = heatmaps.palette("000,fff", 1e6)
    assert (steep[:128] == 0).all() and (steep[128:] == 255).all()


@pytest.mark.parametrize("value", [0.0, -3.5, 1e30])
@pytest.mark.parametrize("symmetric", [False, True])
def test_a_constant_array_has_one_colour(value, symmetric):
    with np.errstate(all="raise"):
        picture = heatmaps.imgify(np.full((4, 5), value), symmetric=symmetric)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) == 1
    centre = value == 0 or not symmetric
    np.testing.assert_array_equal(picture[0, 0], heatmaps.palette("bwr")[127 if centre else 255 if value > 0 else 0])


def test_a_constant_sample_leaves_the_others_alone():
    values = np.stack([np.zeros((3, 3)), np.arange(9.0).reshape(3, 3)])
    picture = heatmaps.imgify(values, grid=(1, 2), cmap="gray")
    np.testing.assert_array_equal(picture[:, :3], 127)
    np.testing.assert_array_equal(picture[:, 3:, 0].ravel(), np.arange(9) * 255 // 8)


def test_other_number_types():
    values = np.linspace(-1, 1, 12).reshape(3, 4)
    import jax.numpy as jnp

    expected = heatmaps.imgify(values.astype(np.float32), cmap="gray").astype(int)
    np.testing.assert_array_equal(heatmaps.imgify(jnp.asarray(values, jnp.float32), cmap="gray"), expected)
    coarse = heatmaps.imgify(jnp.asarray(values, jnp.bfloat16), cmap="gray").astype(int)
    assert np.abs(coarse - expected).max() <= 2


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nothing", "coldnhot"),
        ("fff", "two or more"),
        ("000,ggg", "'ggg'"),
        ("000,fffff", "'fffff'"),
        ("80:000,40:fff", "index 40 comes after 80"),
        ("f:000,80:fff", "ascending"),
    ],
)
def test_a_wrong_map_says_why(text, words):
    with pytest.raises(ValueError, match=words):
        heatmaps.colormap(text)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("values", "settings", "words"),
    [
        (np.full((3, 3), np.nan), {}, "9 NaN"),
        (np.zeros((2, 5, 6)), {}, r"\(2, 5, 6\)"),
        (np.zeros(4), {}, "no picture"),
        (np.zeros((0, 4)), {}, "empty"),
        (np.zeros((3, 3), bool), {}, "bool"),
        (np.zeros((3, 3), complex), {}, "complex"),
        (np.arange(9.0).reshape(3, 3), {"vmin": 2.0, "vmax": 1.0}, "vmin=2.0"),
        (np.zeros((5, 3, 3)), {"grid": (2, 2)}, "4 cells for 5"),
        (np.zeros((3, 3)), {"level": np.inf}, "level=inf"),
    ],
)
def test_a_wrong_picture_says_why(values, settings, words):
    with pytest.raises(ValueError, match=words):
        heatmaps.imgify(values, **settings)
