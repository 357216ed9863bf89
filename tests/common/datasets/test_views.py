"""Photographs seen several times."""

import numpy as np
import pytest

from common import datasets
from common.datasets import views


def test_views_of_photographs():
    images = np.random.default_rng(0).integers(0, 256, (2, 256, 256, 3), np.uint8)
    photographs = views.seen_from(datasets.Split(images, np.array([3, 5])), 3)
    assert photographs.labels.tolist() == [3, 5] * 3
    np.testing.assert_array_equal(photographs.images[:2], images)
    np.testing.assert_array_equal(photographs.images[2:4], images[:, :, ::-1])
    # The centre crop of a moved view is another crop of the same photograph, without what wraps around.
    np.testing.assert_array_equal(photographs.images[4:, 16:240, 16:240], images[:, :224, :224])
    with pytest.raises(ValueError, match="views=7: choose 1 to 6"):
        views.seen_from(datasets.Split(images, np.array([3, 5])), 7)
