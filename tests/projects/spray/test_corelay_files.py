"""CoRelAy's cache files, written by h5py alone in its two layouts, are read; what is incomplete is named."""

import json

import h5py
import numpy as np
import pytest

from projects.spray.pipelines import cache, corelay_files


def write_entry(group, key, data, name="KMeans", **parameters):
    """An entry as HashedHDF5 lays it out: arrays, or tuples of them as groups."""
    entry = group.create_group(key)

    def put(place, value):
        if isinstance(value, tuple):
            for number, item in enumerate(value):
                put(f"{place}/{number:03d}", item)
        else:
            entry[place] = value

    put("data", data)
    entry["meta"] = json.dumps({"name": name} | parameters)
    entry["input"], entry["output"] = json.dumps("ab"), json.dumps(["cd", "ef"])


def test_entries_with_their_processors(tmp_path):
    with h5py.File(tmp_path / "c.h5", "w") as file:
        write_entry(file, "0" * 32, np.arange(3), n_clusters=4)
        write_entry(file, "1" * 32, (np.zeros(2), (np.ones((2, 2)), np.arange(2))), "EigenDecomposition", n_eigval=2)
    entries = corelay_files.read_hashed(tmp_path / "c.h5")
    assert [entry.processor for entry in entries] == ["KMeans", "EigenDecomposition"]
    assert entries[0].parameters == {"n_clusters": 4} and entries[0].inputs == "ab" and entries[0].key == "0" * 32
    (eigen,) = corelay_files.read_hashed(tmp_path / "c.h5", processor="EigenDecomposition")
    np.testing.assert_array_equal(eigen.data[1][0], np.ones((2, 2)))
    np.testing.assert_array_equal(eigen.data[1][1], np.arange(2))


def test_a_thousand_parts_stay_in_order(tmp_path):
    with h5py.File(tmp_path / "c.h5", "w") as file:
        write_entry(file, "a", tuple(np.array([i]) for i in range(1002)))
    (entry,) = corelay_files.read_hashed(tmp_path / "c.h5")
    assert [int(part[0]) for part in entry.data] == list(range(1002))


@pytest.mark.parametrize("part", ["meta", "data", "output"])
def test_an_unfinished_entry_is_named(tmp_path, part):
    with h5py.File(tmp_path / "c.h5", "w") as file:
        write_entry(file.create_group("cache"), "abc", np.arange(3))
        del file[f"cache/abc/{part}"]
    with pytest.raises(ValueError, match=f"c.h5: entry abc (has no|lacks) {part}"):
        corelay_files.read_hashed(tmp_path / "c.h5", "cache")


def test_unreadable_meta_empty_files_and_other_groups_are_named(tmp_path):
    with h5py.File(tmp_path / "c.h5", "w") as file:
        write_entry(file.create_group("cache"), "abc", np.arange(3))
        file["cache/abc/meta"][()] = b"{no JSON"
        file.create_group("empty")
    with pytest.raises(ValueError, match="entry abc has no readable meta"):
        corelay_files.read_hashed(tmp_path / "c.h5", "cache")
    with pytest.raises(ValueError, match="no entries in 'empty'"):
        corelay_files.read_hashed(tmp_path / "c.h5", "empty")
    with pytest.raises(KeyError, match="no group 'other': it has cache, empty"):
        corelay_files.read_hashed(tmp_path / "c.h5", "other")


def test_a_storage(tmp_path):
    with h5py.File(tmp_path / "s.h5", "w") as file:
        file["array"], file["text"], file["number"] = np.arange(3), "abc", 2.5
        for number in range(11):
            file[f"tuple/{number}"] = np.array([number])
        file["mapping/a"], file["mapping/b"] = np.zeros(2), "x"
    read = corelay_files.read_storage(tmp_path / "s.h5")
    assert read["text"] == "abc" and read["number"] == 2.5 and read["mapping"]["b"] == "x"
    assert [int(part[0]) for part in read["tuple"]] == list(range(11))
    np.testing.assert_array_equal(read["array"], [0, 1, 2])


def test_our_own_entries_have_their_layout(tmp_path):
    about = cache.describe("affinity.graph", "1", {"k": 3}, [np.arange(3)])
    path = cache.write(tmp_path, about, (np.arange(2), (np.zeros(1), np.ones(2))))
    with h5py.File(path, "a") as file:
        (group,) = file.values()
        meta = json.loads(group["meta"][()])
        del group["meta"]
        group["meta"] = json.dumps(meta | {"name": meta["function"]})
    (entry,) = corelay_files.read_hashed(path)
    assert entry.processor == "affinity.graph" and len(entry.data[1]) == 2
