"""The compiled coder and preset search against plain Python written from the formulas, and nncodec's recorded quirk."""

import base64

import numpy as np
import pytest

from kernels import entropy_coding
from kernels.entropy_coding.codeword import make_options
from kernels.entropy_coding.core import constants, presets
from tests.kernels.entropy_coding import cases, random_tensors
from tests.kernels.entropy_coding.test_recorded_streams import STREAMS
from tests.kernels.oracles import cabac
from tests.kernels.oracles import presets as preset_oracle


def skipped_rows(rows, options):
    matrix = len(rows) > 1 and len(rows[0]) > 1
    return [not any(row) for row in rows] if options["profile"] and matrix else None


def check(q, options):
    settings = random_tensors.coder_options(options)
    rows = random_tensors.matrix(q).tolist()
    stream = entropy_coding.encode_tensor(q, **options)
    assert entropy_coding.stream_length(q, **options) == len(stream)
    chosen = {}
    if options["presets"]:
        search = {name: settings[name] for name in ("n_unary", "dq", "scan")}
        chosen = preset_oracle.choose(rows, skipped=skipped_rows(rows, settings), **search)
    expected = cabac.encode(rows, presets=chosen, **settings)
    assert stream.hex() == expected.hex()
    assert cabac.decode(stream, len(rows), len(rows[0]) if rows else 0, **settings) == rows
    back = entropy_coding.decode_tensor(stream, q.shape, **settings)
    assert back.dtype == np.int32 and back.shape == q.shape
    np.testing.assert_array_equal(back, q)


@pytest.mark.parametrize("first", range(0, 120, 20))
def test_same_bytes_as_the_oracle(first):
    for seed in range(first, first + 20):
        q, options = random_tensors.draw(seed)
        if q.size <= 300:
            check(q, options)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(1000, 2000, 100))
def test_same_bytes_as_the_oracle_at_length(first):
    for seed in range(first, first + 100):
        check(*random_tensors.draw(seed))


@pytest.mark.parametrize(
    "shape, density, options",
    [
        ((1, 1024), 0, {}),  # a buffer that is exactly full
        ((1, 1023), 0, {}),
        ((1, 1025), 0, {}),
        ((1, 2048), 0, {}),
        ((16, 64), 0, {"scan": 1}),  # full at the end of a block row
        ((1, 4000), 30, {}),  # presets merge
        ((60, 70), 300, {"scan": 2}),
        ((40, 100), 400, {"dq": True}),
        ((48, 40), 300, {"dq": True, "scan": 1}),
        ((1, 1100), 1000, {"n_unary": 1}),
    ],
)
def test_costs_of_all_presets(shape, density, options):
    """Merged trial states, restarts and full buffers lose no bin: all nine totals of every context are equal."""
    q = cases.levels(int(np.prod(shape)), density, 3, 7).reshape(shape)
    if options.get("dq"):
        q = random_tensors.on_trellis_grid(q, options.get("scan", 0)).astype(np.int32)
    n_unary, dq = options.get("n_unary", 11), options.get("dq", False)
    coder = make_options(q.shape, n_unary, dq, options.get("scan", 0), 0)
    levels = q.reshape(coder.height, coder.width)
    levels.flags.writeable = False
    found = presets.costs(
        levels, coder.n_unary, dq, coder.block, np.zeros(coder.height, np.uint8), constants.num_contexts(n_unary)
    )
    expected = np.zeros_like(found)
    first = {"sig": 0, "sign": 24, "gt": 27, "prefix": 27 + 2 * n_unary}
    for (kind, index), total in preset_oracle.costs(q.tolist(), **options).items():
        expected[first[kind] + index] = total
    np.testing.assert_array_equal(found, expected)


def test_ties_keep_the_lower_preset():
    """A context without bins costs nothing under any preset: it stays at 0, and the header says so."""
    chosen = preset_oracle.choose([[0] * 64])
    assert set(chosen) <= {("sig", 0)}
    stream = entropy_coding.encode_tensor(np.zeros((1, 64), np.int32))
    assert stream == cabac.encode([[0] * 64], presets=chosen)


# nncodec binarises grid integers, not levels, when it searches presets with dependent quantisation, and its neighbour
# outlives a row of blocks. Its streams are explained by that, and decode; ours are shorter or equal on the whole.
QUIRK = [case for case in cases.RECORDED if case.dq and case.presets]


@pytest.mark.parametrize("case", QUIRK, ids=lambda case: case.name)
def test_recorded_presets_of_dependent_quantisation(case):
    q = cases.tensor(case)
    recorded = base64.b64decode(STREAMS[case.name]["stream"])
    settings = {name: getattr(case, name) for name in ("n_unary", "dq", "scan")}
    theirs = preset_oracle.choose(q.tolist(), binarise_grid=True, **settings)
    same = cabac.encode(q.tolist(), presets=theirs, **settings) == recorded
    assert same
    ours = preset_oracle.choose(q.tolist(), **settings)
    stream = entropy_coding.encode_tensor(q, **settings)
    assert stream == cabac.encode(q.tolist(), presets=ours, **settings)
    assert len(stream) <= len(recorded)
