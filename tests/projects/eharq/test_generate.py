"""Generation: a killed run, features as a plain decode has them, strata beside plain Monte Carlo, bad flags."""

import dataclasses
import json
import zlib

import jax
import numpy as np
import pytest

from common import config
from common.runs import run_directory
from kernels import ldpc
from projects.eharq import blocks, generate, transmission
from projects.eharq.config import GenerateConfig

SMALL = GenerateConfig(
    lifting=6, sent=300, subcodes=(150, 250), subcarriers=30, spacing=36e3, iterations=10, blocks=600, batch=128,
    batches=2, es_n0_db=2.0, seed=3, redundancy_version=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """(folder, result) of a run that nothing interrupted."""
    path = tmp_path_factory.mktemp("whole")
    return path, generate.main(SMALL, run_directory.open_for_test(path))


def test_a_run_leaves_blocks_and_rates(whole):
    path, result = whole
    rows, about = blocks.load(path), blocks.describe(path)
    assert rows.features.shape == (600, 2, len(blocks.FEATURES)) and np.isfinite(rows.features).all()
    assert (rows.weight == 1).all() and not rows.stratum.any()
    assert about["settings"] == config.to_texts(SMALL) and about["counts"]["failed"] == rows.failed.sum()
    assert result["bler"]["events"] == rows.failed.sum() and result["bler"]["value"] == rows.failed.mean()
    assert 0.02 < rows.failed.mean() < 0.6, "the setting says something about both kinds of blocks"
    assert rows.combined_failed.sum() < rows.failed.sum()
    gains = [rows.gain[rows.failed].mean(), rows.gain[~rows.failed].mean()]
    assert gains[0] < 0.7 * gains[1], "blocks are lost where the channel fades"
    json.dumps(result)


def test_a_killed_run_ends_with_the_same_bits(whole, tmp_path, monkeypatch):
    write, calls = blocks.write_shard, []

    def write_once(folder, manifest, columns, counts):
        """Dies between the second shard and the manifest that knows it."""
        if len(calls) == 1:
            known = blocks.manifest_path(folder).read_bytes()
            write(folder, manifest, columns, counts)
            blocks.manifest_path(folder).write_bytes(known)
            raise KeyboardInterrupt
        calls.append(folder)
        write(folder, manifest, columns, counts)

    monkeypatch.setattr(blocks, "write_shard", write_once)
    run = run_directory.open_for_test(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        generate.main(SMALL, run)
    assert blocks.describe(tmp_path)["blocks"] == 256
    monkeypatch.setattr(blocks, "write_shard", write)
    assert generate.main(SMALL, run) == whole[1]
    sums = [
        {file.name: zlib.crc32(file.read_bytes()) for file in (folder / blocks.FOLDER).iterdir()}
        for folder in (tmp_path, whole[0])
    ]
    assert sums[0] == sums[1] and len(sums[0]) == 4


def test_features_are_those_of_a_plain_decode(whole):
    """Of the first part alone: LLRs that come later are other numbers here."""
    rows, link = blocks.load(whole[0]), transmission.link_of(SMALL)
    key = jax.random.fold_in(jax.random.key(SMALL.seed), 0)
    batch = transmission.send(
        key, transmission.noise_of(SMALL.es_n0_db), link=link, count=128, again=transmission.again_of(SMALL)
    )
    for place, sent in enumerate(SMALL.subcodes):
        first = 12 + sent
        llr = np.array(batch.llr)[:20]
        llr[:, first:] = 0
        result = ldpc.decode(link.code, llr, iterations=5, scale=0.75, early_stop=False)
        code = ldpc.subcode(link.code, sent)
        features = rows.features[:20, place]
        np.testing.assert_allclose(features[:, 0], np.abs(llr[:, 12:first]).mean(1), rtol=1e-5)
        np.testing.assert_allclose(features[:, 1], np.abs(llr[:, : code.n]).mean(1), rtol=1e-5)
        expected = np.abs(np.asarray(result.posterior)[:, : code.n]).mean(1)
        np.testing.assert_allclose(features[:, blocks.FEATURES.index("vnr_5")], expected, rtol=1e-4)
        hard = (np.asarray(result.posterior)[:, : code.n] < 0).astype(np.uint8)
        unsatisfied = np.asarray(ldpc.syndrome(code, hard)).mean(1)
        np.testing.assert_allclose(features[:, blocks.FEATURES.index("unsatisfied_5")], unsatisfied, atol=1e-6)


def test_labels_are_those_of_the_sent_words(whole):
    rows, link = blocks.load(whole[0]), transmission.link_of(SMALL)
    key = jax.random.fold_in(jax.random.key(SMALL.seed), 0)
    batch = transmission.send(
        key, transmission.noise_of(SMALL.es_n0_db), link=link, count=128, again=transmission.again_of(SMALL)
    )
    words = np.asarray(batch.words)
    assert 0.4 < words.mean() < 0.6 and not np.asarray(ldpc.syndrome(link.code, words)).any()
    for llr, failed in ((batch.llr, rows.failed), (batch.combined, rows.combined_failed)):
        llr = np.asarray(llr)
        assert ((llr < 0) == (words == 1))[:, 12:].mean() > 0.7, "negative LLRs are ones"
        posterior = np.asarray(ldpc.decode(link.code, llr, iterations=10, scale=0.75).posterior)
        np.testing.assert_array_equal(((posterior < 0) != (words == 1)).any(1), failed[:128])


def test_without_noise_nothing_is_lost():
    """The whole chain, redundancy versions, fillers and the interleaver; with the other sign all would be lost."""
    for order, version in ((2, 2), (8, 3)):
        settings = dataclasses.replace(SMALL, modulation_order=order, sent=312, redundancy_version=version)
        link = dataclasses.replace(transmission.link_of(settings), fillers=7, interleaved=True)
        batch = transmission.send(jax.random.key(order), 1e-7, link=link, count=3, again=transmission.Again(version))
        signs = 1.0 - 2.0 * np.asarray(batch.words)
        assert (np.asarray(batch.words)[:, 53:60] == 0).all()
        for llr in map(np.asarray, (batch.llr, batch.combined)):
            seen = llr != 0
            assert seen.sum() >= 3 * 300 and (np.sign(llr) == signs)[seen].mean() > 0.995


def test_fading_is_correlated_as_the_flags_say():
    """Within 6 standard errors of a correlation of 2,000 blocks."""
    settings = dataclasses.replace(SMALL, retransmission_seconds=0.03)
    again = transmission.again_of(settings)
    assert again.correlation == pytest.approx(0.5009, abs=2e-3)  # J_0(2 pi 8.06 Hz 0.03 s)
    assert transmission.again_of(dataclasses.replace(settings, retransmission="same")).correlation == 1
    assert transmission.again_of(dataclasses.replace(settings, retransmission="independent")).correlation == 0
    for profile in ("C", "D"):
        link = dataclasses.replace(transmission.link_of(settings), profile=profile)
        for other, expected in ((again, again.correlation), (again._replace(fading="independent"), 0.0)):
            first, second = transmission.draw_fading(jax.random.key(1), link, 2000, None, None, other)
            assert np.mean(np.abs(second) ** 2) == pytest.approx(1, abs=0.13)
            if profile == "C":
                assert abs(np.mean(first * np.conj(second)) - expected) < 6 / np.sqrt(2000)


def test_strata_agree_with_plain_monte_carlo(whole, tmp_path):
    """Failures and mean gain, within 5.5 standard errors each: false alarms below 1e-7 twice."""
    settings = dataclasses.replace(SMALL, strata=(0.02, 0.1, 0.3), blocks=512, seed=8)
    result = generate.main(settings, run_directory.open_for_test(tmp_path))
    rows, plain = blocks.load(tmp_path), blocks.load(whole[0])
    assert [row["blocks"] for row in result["strata"]] == pytest.approx([128] * 4, abs=2)
    assert rows.weight.mean() == pytest.approx(1) and rows.weight[rows.stratum == 0][0] == pytest.approx(0.08, rel=0.02)
    gains = [rows.gain[rows.stratum == stratum].mean() for stratum in range(4)]
    assert (np.diff(gains) > 0).all() and gains[0] < 0.2 < 1 < gains[3]
    for values, others in ((rows.failed, plain.failed), (rows.gain, plain.gain)):
        strata = [values[rows.stratum == number].astype(float) for number in range(4)]
        error = np.sum(
            [(p * part.std()) ** 2 / len(part) for p, part in zip((0.02, 0.08, 0.2, 0.7), strata, strict=True)]
        )
        error += others.astype(float).var() / len(others)
        assert abs(np.mean(rows.weight * values) - others.mean()) < 5.5 * np.sqrt(error)
    low = result["bler"]
    assert low["low"] < low["value"] < low["high"]


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"sent": 301}, "whole symbols"),
        ({"subcodes": (250, 150)}, "rising numbers"),
        ({"subcodes": ()}, "rising numbers"),
        ({"subcodes": (400,)}, "at most --sent=300"),
        ({"strata": (0.5, 0.1)}, "rising probabilities"),
        ({"strata": (0.5,), "channel": "D"}, "line of sight"),
        ({"strata": (0.5,), "strata_shares": (1.0,)}, "expected 2"),
    ],
)
def test_flags_that_make_no_sense(flags, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(SMALL, **flags)


@pytest.mark.parametrize(
    ("flags", "message"),
    [({"lifting": 17}, "17"), ({"subcodes": (20,)}, "--subcodes=20"), ({"sent": 40, "subcodes": (40,)}, "--sent=40")],
)
def test_links_that_there_are_not(flags, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        generate.main(dataclasses.replace(SMALL, **flags), run_directory.open_for_test(tmp_path))
    assert not (tmp_path / blocks.FOLDER).exists()


@pytest.mark.slow
def test_block_error_rate_at_four_decibels(tmp_path):
    """0.135 of 2,048 blocks in the reference, whose own 6 standard errors are 0.045; false alarms below 1e-6."""
    settings = GenerateConfig(blocks=8192, seed=11)
    result = generate.main(settings, run_directory.open_for_test(tmp_path))
    assert abs(result["bler"]["value"] - 0.135) < 5.5 * np.sqrt(0.135 * 0.865 * (1 / 2048 + 1 / 8192))


def test_channel_has_unit_power(whole):
    """Mean gain 1 within 6 standard errors."""
    gain = blocks.load(whole[0]).gain
    assert abs(gain.mean() - 1) < 6 * gain.std() / np.sqrt(len(gain))
