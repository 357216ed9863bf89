"""Tensors of a few shared values, through a file and back."""

import numpy as np
import pytest

from kernels import entropy_coding
from kernels.entropy_coding import Codebook
from tests.kernels.entropy_coding import damage, trees
from tests.kernels.entropy_coding.trees import same


def test_codebooks():
    tree = trees.codebooks()
    data = entropy_coding.compress(tree)
    weights = {name: leaf.weights() if isinstance(leaf, Codebook) else leaf for name, leaf in tree.items()}
    same(entropy_coding.decompress(data), weights)
    same(entropy_coding.read_tensor(data, "small"), weights["small"])
    content = entropy_coding.decompress(data, quantized=True)
    for name in ("alone", "small", "half", "one value"):
        same(content[name].labels, tree[name].labels.astype(np.int32))
        same(content[name].values, tree[name].values)
        assert content[name].zero == tree[name].zero
    same(content["zero"], np.zeros((50, 50), np.float32))  # a codebook of no use is not kept
    # Labels cost what integers cost; beside them the values and a few bytes of the header.
    integers = entropy_coding.compress({"alone": tree["alone"].labels})
    labels = damage.plain(entropy_coding.compress({"alone": tree["alone"]}))
    assert len(labels) == len(damage.plain(integers)) + tree["alone"].values.nbytes + 2
    summary = {tensor.name: tensor for tensor in entropy_coding.inspect(data).tensors}
    assert summary["alone"].coding == "codebook" and summary["alone"].step is None
    assert summary["alone"].nonzero == np.count_nonzero(tree["alone"].labels)


def test_a_codebook_says_which_value_label_0_means():
    with pytest.raises(ValueError, match="has 0 values of 0.0"):
        Codebook(np.array([0]), np.array([1.0, 2.0]))
    with pytest.raises(ValueError, match="has 2 values of 0.0"):
        Codebook(np.array([0]), np.array([0.0, -0.0]))
