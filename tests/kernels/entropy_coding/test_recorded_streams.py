"""Byte equality with streams that nncodec 2.1.3 made (tests/peers/record_nncodec.py), and reading them back."""

import base64
import hashlib
import json
import pathlib

import numpy as np
import pytest

from kernels import entropy_coding
from tests.kernels.entropy_coding import cases

DOCUMENT = json.loads((pathlib.Path(__file__).parent / "nncodec_streams.json").read_text())
STREAMS = {record["case"]["name"]: record for record in DOCUMENT["streams"]}


def settings_of(case: cases.Case) -> dict:
    return {name: getattr(case, name) for name in ("n_unary", "dq", "scan", "profile")}


def test_the_recordings_are_those_of_the_cases():
    assert DOCUMENT["version"] == "2.1.3"
    assert [cases.Case(**record["case"]) for record in DOCUMENT["streams"]] == list(cases.RECORDED)
    for presets in (False, True):
        assert sum(case.presets is presets for case in cases.RECORDED) >= 12


@pytest.mark.parametrize("case", cases.RECORDED, ids=lambda case: case.name)
def test_recorded_stream(case):
    record = STREAMS[case.name]
    recorded = base64.b64decode(record["stream"])
    assert hashlib.sha256(recorded).hexdigest() == record["sha256"]
    q = cases.tensor(case)
    assert hashlib.sha256(q.astype("<i4").tobytes()).hexdigest() == record["values_sha256"]
    np.testing.assert_array_equal(entropy_coding.decode_tensor(recorded, q.shape, **settings_of(case)), q)
    ours = entropy_coding.encode_tensor(q, presets=case.presets, **settings_of(case))
    assert entropy_coding.stream_length(q, presets=case.presets, **settings_of(case)) == len(ours)
    # With dependent quantisation nncodec chooses presets on grid integers instead of levels: other presets than ours.
    if not (case.dq and case.presets):
        same = ours == recorded  # not in the assertion: pytest would print both streams
        assert same, f"{len(ours)} bytes, recorded {len(recorded)}"
