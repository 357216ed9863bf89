"""Planted artifacts: who carries one follows from the seed, and an image gets the same whatever comes with it."""

import dataclasses

import numpy as np
import pytest

from common.models import zoo
from projects.spray import artifacts
from projects.spray.artifacts import ArtifactConfig


@pytest.fixture(scope="module")
def data():
    return zoo.load_dataset("digits")


@pytest.mark.parametrize("kind", ["tag", "patch", "border", "cast"])
def test_an_image_gets_the_same_artifact_whatever_comes_with_it(kind):
    images = np.random.default_rng(0).integers(0, 256, (6, 12, 10, 3), np.uint8)
    settings = ArtifactConfig(artifact=kind, artifact_size=3)
    numbers = np.array([5, 0, 7, 3, 9, 1])
    together = artifacts.insert(images, settings, numbers)
    for row in range(6):
        np.testing.assert_array_equal(
            artifacts.insert(images[row : row + 1], settings, numbers[row : row + 1])[0], together[row]
        )
    changed = (together != images).any(axis=(1, 2, 3))
    assert changed.all()
    if kind in ("tag", "border"):
        mask = artifacts.box(settings, 12, 10)
        np.testing.assert_array_equal(together[:, ~mask], images[:, ~mask])
        assert (together[:, mask] == 255).all() and mask.sum() == {"tag": 9, "border": 120 - 6 * 4}[kind]


def test_a_share_of_one_class_carries_it_and_nothing_else_changes(data):
    settings = ArtifactConfig(share=0.25, planted_class=8)
    planted, carrying = artifacts.plant(data, settings)
    assert carrying.sum() == round(0.25 * (data.train_labels == 8).sum())
    assert (data.train_labels[carrying] == 8).all()
    np.testing.assert_array_equal(planted.train_images[~carrying], data.train_images[~carrying])
    assert (planted.train_images[carrying][:, 1:4, 1:4] == 255).all()
    np.testing.assert_array_equal(planted.test_images, data.test_images)
    _, again = artifacts.plant(data, dataclasses.replace(settings, share=0.5))
    assert again[carrying].all(), "a larger share has the carriers of a smaller one"
    _, other = artifacts.plant(data, dataclasses.replace(settings, artifact_seed=1))
    assert (other != carrying).any()


def test_no_share_and_no_artifact_leave_everything(data):
    for settings in (ArtifactConfig(share=0.0), ArtifactConfig(artifact="none")):
        planted, carrying = artifacts.plant(data, settings)
        assert not carrying.any()
        np.testing.assert_array_equal(planted.train_images, data.train_images)


def test_strength_mixes_the_artifact_with_the_image():
    images = np.full((1, 8, 8, 1), 100, np.uint8)
    half = artifacts.insert(images, ArtifactConfig(strength=0.5))
    assert set(np.unique(half)) == {100, 178}  # 177.5 to even


def test_bad_artifacts_are_named(data):
    with pytest.raises(ValueError, match="artifact_size=20"):
        artifacts.insert(np.zeros((1, 16, 16, 1), np.uint8), ArtifactConfig(artifact_size=20))
    with pytest.raises(ValueError, match="planted_class=12"):
        artifacts.plant(data, ArtifactConfig(planted_class=12))
    with pytest.raises(ValueError, match="elsewhere"):
        artifacts.box(ArtifactConfig(artifact="patch"), 8, 8)
