"""Splits against values worked out by hand, and what holds for any: no sample twice, sizes, seeds, doors."""

import numpy as np
import pytest

from common.federated import splits

LABELS = np.random.default_rng(5).permutation(np.repeat(np.arange(10), 60))  # 600 samples of 10 classes


def is_a_split(split, samples):
    """Every sample is dealt once or is in the remainder."""
    together = np.sort(np.concatenate([split.order, split.remainder]))
    assert split.sizes.min() >= 1 and split.sizes.sum() == len(split.order)
    return np.array_equal(together, np.arange(samples))


def by_class(**settings):
    return splits.split_by_class(LABELS, **({"clients": 30, "classes_per_client": 2} | settings))


def by_law(**settings):
    return splits.split_dirichlet(LABELS, **({"clients": 30, "alpha": 0.5} | settings))


@pytest.mark.parametrize("split", [by_class(), by_class(gamma=0.9), by_law(), by_law(gamma=0.8), by_law(alpha=1e-6)])
def test_every_sample_is_dealt_once_at_most(split):
    assert is_a_split(split, 600)


@pytest.mark.parametrize("make", [by_class, by_law])
def test_a_split_is_a_function_of_its_seed(make):
    first, again, other = make(seed=3), make(seed=3), make(seed=4)
    assert np.array_equal(first.order, again.order) and not np.array_equal(first.order, other.order)


def test_sizes_follow_the_formula():
    assert splits.client_sizes(600, 30).tolist() == [20] * 30
    assert splits.client_sizes(300, 100).tolist() == [3] * 100  # 300 * 0.01 is 2.9999999999999996 as some sum it
    # 4 clients, gamma 1/2: shares 0.025 + 0.9 * (8, 4, 2, 1) / 15
    assert splits.client_sizes(1000, 4, 0.5).tolist() == [505, 265, 145, 85]
    assert splits.client_sizes(10, 10, 0.5).tolist() == [1] * 10
    assert splits.client_sizes(607, 30).sum() == 600


def test_the_remainder_is_reported():
    split = splits.split_by_class(LABELS[:-1], 100, 10)
    assert split.sizes.tolist() == [5] * 100 and len(split.remainder) == 99


@pytest.mark.parametrize("classes_per_client", [1, 2, 3, 10])
def test_clients_hold_as_many_classes_as_asked_while_there_are_any(classes_per_client):
    split = splits.split_by_class(LABELS, 20, classes_per_client, seed=1)
    held = (splits.class_counts(split, LABELS) > 0).sum(axis=1)
    above = int((held > classes_per_client).sum())
    assert held[0] == classes_per_client  # the first finds every class full
    assert (f"{above} of 20 clients" in split.shortfall) if above else not split.shortfall


@pytest.mark.parametrize("seed", range(5))
def test_a_class_that_a_client_comes_back_to_counts_once(seed):
    """Seen: clients that hold more than all classes."""
    labels = np.repeat([0, 1, 2], [41, 11, 8])
    for classes_per_client in (2, 3):
        split = splits.split_by_class(labels, 6, classes_per_client, seed=seed)
        above = int(((splits.class_counts(split, labels) > 0).sum(axis=1) > classes_per_client).sum())
        assert split.shortfall.startswith(f"{above} of 6 clients") if above else not split.shortfall


def test_parts_of_a_client_are_equal():
    counts = splits.class_counts(splits.split_by_class(LABELS, 30, 3), LABELS)
    assert sorted(counts[0][counts[0] > 0]) == [6, 7, 7]  # 20 samples of three classes, no fourth class for the rest


def test_one_client_a_class_has_it_all():
    labels = np.repeat([0, 1], 5)
    counts = splits.class_counts(splits.split_by_class(labels, 2, 1, seed=0), labels)
    assert sorted(counts.tolist()) == [[0, 5], [5, 0]]


def test_a_large_alpha_makes_clients_alike_and_a_small_one_apart():
    large = splits.class_counts(by_law(clients=3, alpha=1e6), LABELS)
    # 200 draws of 10 classes: a count is 20 with deviation 4.3 at most; 45 is 5.8 deviations away, 30 counts: p < 1e-6
    assert large.max() < 45
    small = splits.class_counts(by_law(clients=5, alpha=1e-3), LABELS)
    assert np.sort(small[0])[-1] == 60  # a class is used up before the second begins


def test_a_law_that_cannot_be_met_says_so():
    assert "had run out" in by_law(clients=5, alpha=1e-3).shortfall
    assert not splits.split_dirichlet(np.zeros(20, int), 4, 1.0).shortfall


def test_owners_are_clients():
    split, names = splits.split_by_owner(["theo", "anna", "theo", "lena", "anna", "theo"], least=2)
    assert names.tolist() == ["anna", "theo"] and split.sizes.tolist() == [2, 3]
    assert [split.indices(client).tolist() for client in (0, 1)] == [[1, 4], [0, 2, 5]]
    assert split.remainder.tolist() == [3] and split.offsets.tolist() == [0, 2]


def test_counts_add_up():
    split = by_class(gamma=0.9)
    counts = splits.class_counts(split, LABELS, classes=12)
    assert counts.shape == (30, 12) and np.array_equal(counts.sum(axis=1), split.sizes)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: by_class(classes_per_client=0), r"classes_per_client=0: expected an integer from 1 to 10"),
        (lambda: by_class(classes_per_client=11), r"classes_per_client=11: "),
        (lambda: by_class(clients=601), r"clients=601: .*from 1 to 600.*no client is empty"),
        (lambda: by_class(clients=0), r"clients=0: "),
        (lambda: by_class(clients=2.5), r"clients=2.5: "),
        (lambda: by_class(gamma=0.0), r"gamma=0.0: expected above 0, at most 1"),
        (lambda: by_class(gamma=1.01), r"gamma=1.01: "),
        (lambda: by_class(seed=-1), r"seed=-1: "),
        (lambda: by_class(classes=9), r"classes=9: expected an integer of at least 10"),
        (lambda: by_law(alpha=0), r"alpha=0: expected a finite number above 0"),
        (lambda: by_law(alpha=float("nan")), r"alpha=nan: "),
        (lambda: splits.split_by_class(LABELS[None], 3, 1), r"labels are int64 \(1, 600\)"),
        (lambda: splits.split_by_class([0.5, 1.0], 1, 1), r"labels are float64"),
        (lambda: splits.split_by_class([-1, 1], 1, 1), r"labels have the value -1"),
        (lambda: splits.split_by_class(np.zeros(0, int), 1, 1), r"labels are int64 \(0,\)"),
        (lambda: splits.split_by_owner([1, 1, 2], least=3), r"least=3: expected at most 2"),
        (lambda: splits.split_by_owner([0.5]), r"owners are float64"),
        (lambda: splits.class_counts(by_class(), LABELS[:5]), r"5 labels of a split of 600 samples"),
    ],
)
def test_settings_that_make_no_sense_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
