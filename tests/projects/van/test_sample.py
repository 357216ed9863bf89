"""Sampling from a checkpoint: killed and resumed to the same estimates; sums in pieces; mixtures."""

import dataclasses

import jax
import numpy as np
import pytest

from common import config, files
from common.runs import run_directory
from common.training import checkpoint
from kernels import ising
from kernels.autoregressive import nmcmc
from kernels.autoregressive.thermodynamics import spin_numbers
from projects.van import estimates, model, sample, sums, systems
from projects.van.config import TrainConfig, network_of
from projects.van.proposal import Proposal, images_of
from projects.van.sample import SampleConfig

TRAINED = TrainConfig(rows=3, depth=1, channels=1, half_width=2, beta=0.15)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A run directory of train with weights that nobody trained: they need much correction."""
    path = tmp_path_factory.mktemp("trained")
    network = model.tree(model.create(network_of(TRAINED), 5))
    checkpoint.save_tree(path / "model.safetensors", jax.device_get(network))
    (path / "flags.txt").write_text(config.flags_text(TRAINED))
    return path


def run_in(path, settings):
    run = run_directory.open_for_test(path)
    return sample.main(settings, run), run


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory):
    settings = SampleConfig(checkpoint=str(folder), samples=5300, chunk=500, window=(0.1, 0.2))
    return settings, *run_in(tmp_path_factory.mktemp("whole"), settings)


def test_estimates_are_corrected(whole):
    _, result, run = whole
    assert result["samples"] == 5300
    for beta, row in ((0.15, None), (0.1, result["window"][0]), (0.2, result["window"][1])):
        exact = ising.kaufman_torus(3, 3, beta)
        found = (
            (row["ln_z"], row["ln_z_error"]) if row else [result["estimates"]["ln_z"][k] for k in ("nis", "nis_error")]
        )
        assert abs(found[0] - exact.ln_z) < 6 * found[1], beta
        if row:
            assert row["exact_ln_z"] == pytest.approx(exact.ln_z) and abs(row["u"] - exact.u) < 6 * row["u_error"]
    assert result["window"][0]["ess"] > result["ess"] > result["window"][1]["ess"]
    assert {path.stem for path in (run.path / "plots").glob("*.png")} == {"weights", "chain", "correction", "samples"}


@pytest.mark.parametrize("interrupted_after", [1, 7])
def test_a_killed_run_ends_with_the_same_estimates(whole, tmp_path, monkeypatch, interrupted_after):
    settings, wanted, finished = whole
    settings = dataclasses.replace(settings, checkpoint_seconds=0.0)
    original, calls = estimates.add, []

    def failing(*args):
        calls.append(1)
        if len(calls) == interrupted_after + 2:  # the pilot's is the first
            raise KeyboardInterrupt
        return original(*args)

    monkeypatch.setattr(estimates, "add", failing)
    with pytest.raises(KeyboardInterrupt):
        run_in(tmp_path, settings)
    monkeypatch.setattr(estimates, "add", original)
    result, run = run_in(tmp_path, settings)
    assert files.clean(result) == files.clean(wanted)
    finished.finish(wanted)
    found = sample.compare(result, str(finished.path), run)
    assert found["unequal"] == 0 and found["resumed_after"] == [500 * interrupted_after] and found["numbers"] > 50
    assert sample.compare(result | {"ess": np.nextafter(result["ess"], 0)}, str(finished.path), run)["unequal"] == 1
    with pytest.raises(ValueError, match="--same_as"):
        sample.compare(result, str(tmp_path), run)


def test_a_mean_over_images_stands_beside_the_network_alone(folder, whole, tmp_path):
    _, alone, _ = whole
    found, _ = run_in(tmp_path, dataclasses.replace(whole[0], images=6, window=()))
    assert found["network_ess"] == alone["ess"] != found["ess"]
    ln_z, plain = found["estimates"]["ln_z"], alone["estimates"]["ln_z"]
    assert found["network_raw_ln_z"] == pytest.approx(plain["raw"], rel=1e-12) and plain["raw"] < ln_z["raw"]
    assert found["network_nis_ln_z"] == plain["nis"] != ln_z["nis"]
    assert abs(ln_z["nis"] - ln_z["exact"]) < 6 * ln_z["nis_error"]


def in_order(gathered):
    """All that is not the chain's; of the largest weights their order does not count."""
    streams = [state._replace(tail=np.sort(state.tail)) for state in (gathered.weighted, gathered.raw)]
    return *streams, gathered.kept


def test_sums_do_not_know_chunks():
    """The same samples in one piece and in many: all that is not the chain's randomness is the same."""
    rng = np.random.default_rng(0)
    log_q, energy, m = rng.normal(-3, 1, 3000), rng.normal(0, 2, 3000), rng.integers(-4, 5, 3000)
    origin = spin_numbers(energy, m).mean(axis=1)
    key = jax.random.key(0)
    one = sums.add(sums.empty(origin), key, log_q, energy, m, 0.5)
    many = sums.empty(origin)
    for k, part in enumerate(np.split(np.arange(3000), [10, 11, 1500])):
        many = sums.add(many, jax.random.fold_in(key, k), log_q[part], energy[part], m[part], 0.5)
    for a, b in zip(*(jax.tree.leaves(in_order(each)) for each in (one, many)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-9)
    assert many.chain.steps == 3000


@pytest.mark.filterwarnings("ignore:max r / n")  # of two samples one holds the chain
def test_the_chain_goes_on_from_chunk_to_chunk():
    """Chunks of one: the first sample of each is offered to the state before, by the same rule as in one piece."""
    rng = np.random.default_rng(1)
    log_w = rng.normal(0, 1, 60)
    state = sums.empty(np.zeros(5))
    position, states = 0, []
    for t in range(60):
        key = jax.random.key(t)
        state = sums.add(state, key, -log_w[t : t + 1], np.zeros(1), np.array([t]), 1.0)
        if t:
            index, _ = nmcmc(key, np.array([log_w[position], log_w[t]]))
            position = t if int(index[1]) else position
        states.append(position)
    np.testing.assert_array_equal(state.chain.kept[1, :60], states)
    assert state.chain.accepted == len(set(states))


def test_bins_double_when_they_are_full(monkeypatch):
    monkeypatch.setattr(sums, "BINS", 8)
    chain = sums.empty(np.zeros(5)).chain._replace(bins=np.zeros((3, 8)))
    series = np.arange(3 * 50.0).reshape(3, 50)
    for part in np.split(np.arange(50), [3, 4, 33]):
        chain = sums._fill_bins(chain, series[:, part])
    assert chain.bin_size == 8 and chain.steps == 50
    np.testing.assert_allclose(chain.bins[0, :7], [series[0, k : k + 8].sum() for k in range(0, 50, 8)])


def test_a_mixture_finds_what_a_network_lost():
    """A network frozen near all up and all down, and the uniform one: alone it misses most of Z with small errors."""
    settings = TrainConfig(rows=1, columns=8, system="sk", network="made", depth=1, channels=1, bias=False)
    system, network = systems.create(settings), network_of(settings)
    uniform = jax.tree.map(np.zeros_like, model.tree(model.create(network, 0)))
    stuck = jax.tree.map(lambda leaf: leaf + 6, uniform)
    exact = system.exact(1.0)
    found = estimates.from_network(stuck, network, system, 1.0, 20_000, seed=0, chunk=2000, defence=[uniform])
    assert abs(found.corrected.ln_z - exact.ln_z) < 6 * found.corrected.ln_z_err < 0.4
    assert found.single.ln_z < exact.ln_z - 1, "alone it does not know"
    assert found.raw["ln_z"][0] < found.single.ln_z
    spins, log_q = Proposal(network, [stuck, uniform]).draw(jax.random.key(1), 0, 1000)
    counts, wanted = np.unique(np.asarray(spins).reshape(1000, 8), axis=0, return_counts=True)[1], np.exp(log_q)
    assert wanted.max() < 0.5 and counts.max() == pytest.approx(1000 * wanted.max(), abs=6 * np.sqrt(250))


@pytest.mark.parametrize("kind", ["square", "triangular"])
@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (3, 5)])
@pytest.mark.parametrize("fold", [False, True])
def test_images_leave_the_energy(kind, rows, columns, fold):
    settings = TrainConfig(system=kind, rows=rows, columns=columns, fold=fold)
    system = systems.create(settings)
    images = images_of(settings, system, 12)
    assert len({(tuple(place), int(sign)) for place, sign in zip(images.place, images.sign, strict=True)}) == 12
    spins = np.random.default_rng(0).choice([-1, 1], (1, rows * columns)).astype(np.int8)
    mapped = images.sign[:, None] * spins[0][images.place]
    found = np.asarray(system.energy(jax.numpy.asarray(mapped.reshape(-1, rows, columns))))
    np.testing.assert_array_equal(found, found[0])
    np.testing.assert_array_equal(
        np.take_along_axis(images.place, images.back, 1), np.arange(rows * columns) + 0 * images.place
    )


def test_averages_over_images_are_laws():
    """All 2^9 states sum to 1, images have equal probability where the maps are a group, and samples have that law."""
    settings = TrainConfig(rows=3, depth=1, channels=1, half_width=2, z2=False)
    system, network = systems.create(settings), network_of(settings)
    proposal = Proposal(network, [model.tree(model.create(network, 5))], images_of(settings, system, 2))
    states = np.concatenate(list(ising.states(9))).reshape(-1, 3, 3)
    log_q = proposal.log_q(jax.numpy.asarray(states), 100)
    assert np.exp(log_q).sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(log_q, log_q[::-1], rtol=1e-5)  # state k and 511 - k are mirror images
    many = dataclasses.replace(proposal, images=images_of(settings, system, 6))
    spins, found = many.draw(jax.random.key(0), 0, 20_000)
    np.testing.assert_allclose(found, many.log_q(spins, 20_000), rtol=1e-5)
    number = ((1 - np.asarray(spins).reshape(-1, 9)) // 2) @ (1 << np.arange(8, -1, -1))
    law = np.exp(many.log_q(jax.numpy.asarray(states), 100))
    counts = np.bincount(number, minlength=512)
    assert np.all(np.abs(counts - 20_000 * law) < 6 * np.sqrt(20_000 * law) + 8)


def test_there_are_only_so_many_images():
    settings = TrainConfig(system="sk", rows=1, columns=5, network="made")
    assert images_of(settings, systems.create(settings), 1) is None
    with pytest.raises(ValueError, match="--images=3"):
        images_of(settings, systems.create(settings), 3)


def test_what_is_no_training_is_refused(tmp_path):
    with pytest.raises(ValueError, match="model.safetensors"):
        sample.load(str(tmp_path))
