"""Batches come from the client's own samples, uniformly; participants without repetition, by the round's number."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from common.federated import clients, splits

SIZES = np.array([1, 3, 4, 8], np.int32)


@pytest.fixture(scope="module")
def population():
    """Sample i of client c has x = 100 c + i and y = c."""
    own = [np.arange(size) for size in SIZES]
    parts = [{"x": (100 * c + i).astype(np.float32), "y": np.full(len(i), c, np.int8)} for c, i in enumerate(own)]
    return clients.from_parts(parts)


@pytest.fixture(scope="module")
def draw():
    return jax.jit(jax.vmap(clients.draw_batch, (0, None, 0, None)), static_argnums=3)


def keys(count, seed=0):
    return jax.random.split(jax.random.key(seed), count)


def test_layout(population):
    assert population.offsets.tolist() == [0, 1, 4, 8] and population.sizes.tolist() == SIZES.tolist()
    assert population.samples["y"].dtype == jnp.int8 and population.number == 4


def test_batches_are_subsets_of_the_own_samples(population, draw):
    client = jnp.tile(jnp.arange(4), 25)
    batch = draw(keys(100), population, client, 4)
    assert (batch["y"] == client[:, None]).all()
    for number, rows in zip(client.tolist(), np.asarray(batch["x"]) - 100 * np.asarray(client)[:, None], strict=True):
        assert 0 <= rows.min() and rows.max() < SIZES[number]
        assert SIZES[number] < 4 or len(set(rows)) == 4
        assert SIZES[number] != 4 or set(rows) == {0, 1, 2, 3}


def test_all_subsets_are_equally_frequent(population, draw):
    """70 subsets of 4 of 8, 7,000 draws: chi-squared of 69 degrees is above 150 with probability 8e-8."""
    rows = np.sort(np.asarray(draw(keys(7000, 1), population, jnp.full(7000, 3), 4)["x"]) - 300, axis=1)
    subsets = list(itertools.combinations(range(8), 4))
    counts = np.array([(rows == subset).all(axis=1).sum() for subset in subsets])
    assert counts.sum() == 7000 and ((counts - 100) ** 2 / 100).sum() < 150


def test_small_clients_draw_with_repetition_uniformly(population, draw):
    """7,000 draws of 4 from 3: each of 28,000 is uniform; chi-squared of 2 degrees is above 30 with 3e-7."""
    rows = np.asarray(draw(keys(7000, 2), population, jnp.full(7000, 1), 4)["x"]) - 100
    counts = np.array([(rows == row).sum() for row in range(3)])
    assert ((counts - 28_000 / 3) ** 2 / (28_000 / 3)).sum() < 30


def test_participants_are_drawn_without_repetition():
    draw = jax.jit(jax.vmap(clients.draw_participants, (0, None, None)), static_argnums=(1, 2))
    draws = draw(keys(3000), 12, 4)
    ids = np.sort(np.asarray(draws), axis=1)
    assert (np.diff(ids, axis=1) > 0).all() and ids.min() == 0 and ids.max() == 11
    # A client takes part in 1,000 of 3,000 rounds, deviation 25.8; 5.6 deviations, 12 clients: p = 2.6e-7
    assert abs(np.bincount(ids.ravel(), minlength=12) - 1000).max() < 145
    again = clients.draw_participants(keys(3000)[17], 12, 4)
    assert draws[17].tolist() == again.tolist() != draws[18].tolist()
    assert clients.draw_participants(jax.random.key(0), 5, 5).tolist() == [0, 1, 2, 3, 4]


def test_clients_of_a_split():
    labels = np.repeat(np.arange(3), 10)
    split = splits.split_by_class(labels, 4, 1)
    population = clients.from_split((np.arange(30), labels), split)
    for client, (offset, size) in enumerate(zip(population.offsets.tolist(), population.sizes.tolist(), strict=True)):
        assert population.samples[0][offset : offset + size].tolist() == split.indices(client).tolist()


def test_clients_of_a_folder(tmp_path):
    for name, size in (("b", 2), ("a", 3)):
        np.savez(tmp_path / f"{name}.npz", x=np.ones((size, 2), np.float32), y=np.zeros(size, np.int32))
    population, names = clients.from_folder(tmp_path)
    assert names == ["a", "b"] and population.sizes.tolist() == [3, 2] and population.samples["x"].shape == (5, 2)


ONE = {"x": np.zeros((2, 3))}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: clients.from_parts([]), r"parts=\[\]"),
        (lambda: clients.from_parts([ONE, {"x": np.zeros((0, 3))}]), r"client 1 has arrays of shapes .*1 or more"),
        (
            lambda: clients.from_parts([ONE, {"x": np.zeros((2, 4))}]),
            r"client 1 has samples .*\(4,\).*expected .*\(3,\)",
        ),
        (lambda: clients.from_parts([{"x": np.zeros(2), "y": np.zeros(3)}]), r"client 0 has arrays of shapes"),
        (
            lambda: clients.from_split(np.zeros(9), splits.split_by_owner([1, 2])[0]),
            r"samples has shape \(9,\): expected 2",
        ),
        (lambda: clients.from_split({}, splits.split_by_owner([1, 2])[0]), r"samples has no arrays"),
        (
            lambda: clients.from_split(np.zeros(2), splits.Split(np.arange(2), np.array([2, 0]), np.zeros(0, int))),
            r"client 1 is empty",
        ),
        (lambda: clients.from_folder("no/such"), r"folder='no/such' has no .npz files"),
        (
            lambda: clients.draw_participants(jax.random.key(0), 4, 5),
            r"per_round=5: expected an integer from 1 to 4",
        ),
        (lambda: clients.draw_batch(jax.random.key(0), clients.from_parts([ONE]), 0, 0), r"batch_size=0"),
    ],
)
def test_bad_clients_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_numbers_that_jax_would_cut_are_refused(tmp_path):
    part = {"x": np.ones((2, 3)), "y": np.array([2**40 + 7, 1])}
    with pytest.raises(ValueError, match=r"client 1: samples\['y'\] holds 1099511627783: expected -2147483648 to"):
        clients.from_parts([part | {"y": np.array([1, 2])}, part])
    assert clients.from_parts([part | {"y": np.array([1, 2**31 - 1])}]).samples["y"].tolist() == [1, 2**31 - 1]
    with pytest.raises(ValueError, match=r"client 0: samples\['y'\] is <U1: expected numbers; labels are integers"):
        clients.from_parts([part | {"y": np.array(["a", "b"])}])
    with pytest.raises(ValueError, match="parts is dict of 2: expected a list, one pytree of arrays a client"):
        clients.from_parts(part)
    split = splits.Split(np.arange(2, dtype=np.int32), np.array([2], np.int32), np.zeros(0, np.int32))
    with pytest.raises(ValueError, match=r"all clients: samples\['y'\] holds 1099511627783"):
        clients.from_split(part, split)


def test_a_folder_names_the_file_that_will_not_do(tmp_path):
    np.savez(tmp_path / "ann.npz", x=np.ones((2, 3)), y=np.array([1, 2]))
    (tmp_path / "bob.npz").write_bytes((tmp_path / "ann.npz").read_bytes()[:100])
    with pytest.raises(ValueError, match=r"bob.npz is no .npz file of arrays of numbers: File is not a zip"):
        clients.from_folder(tmp_path)
    np.savez(tmp_path / "bob.npz", x=np.ones((2, 3)), y=np.array([object(), None]))
    with pytest.raises(ValueError, match=r"bob.npz is no .npz file of arrays of numbers: Object arrays"):
        clients.from_folder(tmp_path)
    np.savez(tmp_path / "bob.npz", x=np.ones((2, 3)), y=np.array(["1", "2"]))
    with pytest.raises(ValueError, match=r"bob.npz has samples .*: expected .*, as ann.npz has"):
        clients.from_folder(tmp_path)
