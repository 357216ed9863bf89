"""Blocks in files: what was written is read, weights follow from strata, damage is told."""

import json

import numpy as np
import pytest

from projects.eharq import blocks


def some(count=40, subcodes=2, strata=4, seed=0):
    draw = np.random.default_rng(seed)
    stratum = (np.arange(count) % strata).astype(np.int32)
    probabilities = np.array([0.1, 0.2, 0.3, 0.4])
    return blocks.Blocks(
        features=draw.normal(size=(count, subcodes, len(blocks.FEATURES))).astype(np.float32),
        failed=draw.random(count) < 0.3, combined_failed=draw.random(count) < 0.1, stratum=stratum,
        weight=blocks.weights(stratum, probabilities), gain=draw.random(count).astype(np.float32),
    )  # fmt: skip


def test_features_have_names():
    assert blocks.FEATURES[:3] == ("raw", "vnr_0", "vnr_1") and blocks.FEATURES[-1] == "unsatisfied_5"
    assert len(blocks.FEATURES) == 13 and len(blocks.feature_names(2)) == 7


def test_what_was_saved_is_loaded(tmp_path):
    rows = some()
    blocks.save(tmp_path, rows, subcodes=(900, 1500), settings={"es_n0_db": "4.0"})
    loaded = blocks.load(tmp_path)
    for name in blocks.Blocks._fields:
        one, other = getattr(rows, name), getattr(loaded, name)
        assert one.dtype == other.dtype, name
        np.testing.assert_allclose(one, other, rtol=1e-12)
    about = blocks.describe(tmp_path)
    assert about["subcodes"] == [900, 1500] and about["settings"] == {"es_n0_db": "4.0"} and about["blocks"] == 40
    assert about["features"] == list(blocks.FEATURES)
    assert about["probabilities"] == pytest.approx([0.1, 0.2, 0.3, 0.4])


def test_weights():
    stratum = np.array([0, 0, 1, 1, 1, 1])
    np.testing.assert_allclose(blocks.weights(stratum, np.array([0.5, 0.5])), [1.5, 1.5, 0.75, 0.75, 0.75, 0.75])
    with pytest.raises(ValueError, match="stratum 1 of 3 has none of the 2 blocks"):
        blocks.weights(np.array([0, 2]), np.full(3, 1 / 3))


def test_rows_that_do_not_fit(tmp_path):
    rows = some()
    with pytest.raises(ValueError, match="expected one row a block"):
        blocks.save(tmp_path, rows._replace(failed=rows.failed[:-1]))
    with pytest.raises(ValueError, match="3 subcodes"):
        blocks.save(tmp_path, rows, subcodes=(1, 2, 3))
    assert not list(tmp_path.iterdir())


def test_no_blocks(tmp_path):
    with pytest.raises(ValueError, match="holds no blocks"):
        blocks.load(tmp_path)


@pytest.mark.parametrize("place", [0, 100, -1])
def test_a_damaged_shard(tmp_path, place):
    blocks.save(tmp_path, some())
    (shard,) = (tmp_path / blocks.FOLDER).glob("*.npz")
    data = bytearray(shard.read_bytes())
    data[place] ^= 1
    shard.write_bytes(data)
    with pytest.raises(ValueError, match="is damaged"):
        blocks.load(tmp_path)
    shard.unlink()
    with pytest.raises(ValueError, match="cannot be read"):
        blocks.load(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": "another"}, "is no manifest"),
        ({"shards": []}, "no whole shard"),
        ({"shards": [{"name": "x"}]}, "is damaged"),
        ({"shards": [{"name": "../x.npz", "crc": 0, "blocks": 1, "counts": {}}]}, "no whole shard"),
        ({"features": ["raw"]}, "where the manifest says"),
        ({"probabilities": [1.0]}, "where the manifest says"),
    ],
)
def test_a_manifest_of_something_else(tmp_path, change, message):
    blocks.save(tmp_path, some())
    path = blocks.manifest_path(tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(ValueError, match=message):
        blocks.load(tmp_path)


def test_a_manifest_that_is_no_text(tmp_path):
    blocks.save(tmp_path, some())
    blocks.manifest_path(tmp_path).write_bytes(b"\xff\x00{")
    with pytest.raises(ValueError, match="cannot be read"):
        blocks.load(tmp_path)
