"""What compress is asked for: files that make the same file again, what no step serves, options that make no sense."""

import numpy as np
import pytest

from kernels import entropy_coding
from tests.kernels.entropy_coding import trees
from tests.kernels.entropy_coding.trees import same


def statistics() -> dict[str, np.ndarray]:
    """A convolution with its norm, whose variances are large: what NNC's own settings are applied to."""
    random = np.random.default_rng(5)
    return {
        "w": random.normal(0, 0.05, (64, 64)).astype(np.float32),
        "bn_scale": random.normal(1, 0.1, 60).astype(np.float32),
        "bn_var": random.uniform(0, 5, 60).astype(np.float32),
        "w2": (random.normal(0, 0.05, (70, 50)) * (random.random(50) < 0.3)).astype(np.float32),
    }


@pytest.mark.parametrize("quantizer", ["uniform", "rdo", "trellis"])
@pytest.mark.parametrize("scan", [0, 2])
def test_integers_of_a_file_make_the_same_file(quantizer, scan):
    """Also those of the trellis, alone and sharing a codeword, whatever the order of axes."""
    options = {"rate_weight": 0.1} if quantizer == "rdo" else {}
    data = entropy_coding.compress(
        statistics(), qp=-32, small_qp=-75, quantizer=quantizer, scan=scan, check=True, **options
    )
    again = entropy_coding.compress(entropy_coding.decompress(data, quantized=True), scan=scan, check=True)
    assert len(again) == len(data)
    same(entropy_coding.decompress(again), entropy_coding.decompress(data))


def test_integers_that_left_their_path_are_coded_all_the_same():
    data = entropy_coding.compress(statistics(), qp=-32, small_qp=-75, quantizer="trellis")
    integers = entropy_coding.decompress(data, quantized=True)
    assert {leaf.path is None for leaf in integers.values()} == {False}
    del integers["bn_scale"]  # the others of its codeword now start in another state
    changed = integers["w"].q.copy()
    changed[0] += 1
    integers["w"] = entropy_coding.Quantized(changed, integers["w"].step, path=integers["w"].path)
    back = entropy_coding.decompress(entropy_coding.compress(integers, check=True), quantized=True)
    np.testing.assert_array_equal(back["w"].q, changed)
    np.testing.assert_array_equal(back["bn_var"].q, integers["bn_var"].q)


def test_what_a_step_for_all_cannot_reach_is_stored_as_it_is():
    """NNC's own step of statistics, 2^-18.7, is finer than float32 at 6,519, and no level is an infinity."""
    tree = statistics() | {
        "running_var": np.array([0.5, 6519.3, 2.0], np.float32),
        "minus_infinity": np.float32(-np.inf),
        "mask": np.where(np.tri(5, dtype=bool), 0, -np.inf).astype(np.float32),
    }
    data = entropy_coding.compress(tree, qp=-32, small_qp=-75, quantizer="trellis", check=True)
    back = entropy_coding.decompress(data)
    raw = {tensor.name for tensor in entropy_coding.inspect(data).tensors if tensor.coding == "raw"}
    assert raw == {"running_var", "minus_infinity", "mask"}
    for name in raw:
        assert back[name].tobytes() == tree[name].tobytes()
    for name, step in (("running_var", 2.0**-19), ("mask", 0.1)):
        with pytest.raises(ValueError, match=f"tensor '{name}'"):
            entropy_coding.compress(tree, step={name: step})


def test_the_trellis_takes_the_order_of_axes_by_bits_and_errors():
    """With columns of unlike size the last axis comes first: fewer bits by a tenth, and no larger error."""
    for seed in range(8):
        random = np.random.default_rng(seed)
        w = (random.laplace(0, 1, (90, 70)) * random.exponential(1, 70) ** 3).astype(np.float32)
        sizes, errors = [], []
        for axes in ("keep", "auto"):
            data = entropy_coding.compress({"w": w}, step=0.2, quantizer="trellis", axes=axes)
            sizes.append(len(data))
            errors.append(float(np.square(entropy_coding.decompress(data)["w"] - w, dtype=np.float64).sum()))
        assert sizes[1] < 0.9 * sizes[0] and errors[1] <= errors[0] * (1 + 1e-9)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    "options, message",
    [
        ({"qp": 5000}, "qp=5000: expected an integer from -1000 to 999"),
        ({"qp": "-28"}, "qp='-28': expected an integer"),
        ({"qp": True}, "qp=True: expected an integer"),
        ({"small_qp": 0.5, "qp": 1}, "small_qp=0.5: expected an integer"),
        ({"step": np.ones(3)}, r"step=array.* expected a number, a mapping"),
        ({"step": "0.1"}, "step='0.1'; expected a number"),
        ({"step": {"net/w": np.ones(2)}}, "tensor 'net/w': its step is array"),
        ({"step": lambda name, array: "fine"}, "tensor 'net/w': its step is 'fine'"),
        ({"step": 0.1, "jobs": -1}, "jobs=-1: expected"),
        ({"step": 0.1, "jobs": 0}, "jobs=0: expected"),
        ({"step": 0.1, "importance": {"net/w": np.ones((5, 4))}}, "importance changes nothing"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        entropy_coding.compress({"net": {"w": trees.weights((5, 4), 1)}}, **options)


def test_a_file_that_is_not_what_was_to_be_written_is_told(monkeypatch):
    from kernels.entropy_coding.container import compression

    leaves = compression.decoded_leaves

    def damaged(data, jobs):
        decoded = leaves(data, jobs)
        decoded[0].q[0, 0] += 1
        return decoded

    monkeypatch.setattr(compression, "decoded_leaves", damaged)
    with pytest.raises(RuntimeError, match="'w' does not decode"):
        entropy_coding.compress({"w": trees.weights((60, 50), 1)}, step=0.1, check=True)
