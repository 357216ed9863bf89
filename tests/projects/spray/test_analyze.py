"""From maps to strategies: planted clusters come out, bad maps are named, a killed run goes on."""

import dataclasses

import numpy as np
import pytest
from sklearn import metrics

from common import config, explorer_files
from common.runs import run_directory
from kernels import spectral
from projects.spray import analyze, maps_files, rank, report
from projects.spray.analyze import AnalyzeConfig
from projects.spray.rank import RankConfig
from projects.spray.report import ReportConfig

SMALL = {"grid": 7, "neighbors": 6, "eigenvectors": 9, "most_clusters": 4, "clusters": (2, 3)}
MAPS = 40  # of a class


def blobs(generator, strategies):
    """Maps 8 x 8 that have their relevance in one of so many corners, and which."""
    which = generator.integers(0, strategies, MAPS)
    maps = 0.05 * generator.normal(size=(MAPS, 8, 8, 1))
    for row, corner in enumerate(which):
        top, left = (corner // 2) * 4, (corner % 2) * 4
        maps[row, top : top + 4, left : left + 4] += 1 + 0.1 * generator.normal(size=(4, 4, 1))
    return maps.astype(np.float32), which


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """Maps of five classes with one to three strategies, as the explorer's files, and the truth."""
    folder = tmp_path_factory.mktemp("maps")
    generator = np.random.default_rng(0)
    parts = [blobs(generator, strategies) for strategies in (2, 1, 3, 1, 2)]
    relevance = np.concatenate([maps for maps, _ in parts])
    labels = np.repeat(np.arange(5), MAPS)
    images = generator.integers(0, 256, (len(labels), 8, 8, 1), np.uint8)
    explorer_files.write_dataset(folder / "dataset.h5", images, labels)
    explorer_files.write_attribution(folder / "attribution.h5", relevance, labels, np.eye(5, dtype=np.float32)[labels])
    return folder, relevance, labels, [which for _, which in parts]


@pytest.fixture(scope="module")
def analysed(written, tmp_path_factory):
    settings = AnalyzeConfig(attribution=str(written[0] / "attribution.h5"), **SMALL)
    folder = tmp_path_factory.mktemp("analysed")
    run = run_directory.open_run(folder / "run", settings, verb="spray.analyze", argv=[])
    result = run.finish(analyze.main(settings, run))
    run.close()
    return settings, folder / "run", result


def test_the_strategies_of_every_class_come_out(written, analysed):
    _, folder, result = analysed
    for number, strategies in enumerate((2, 1, 3, 1, 2)):
        row = result["classes"][str(number)]
        assert row["maps"] == MAPS and row["components"] == (strategies if strategies > 1 else row["components"])
        if strategies > 1:
            assert row["strategies"] == strategies and sum(row["sizes"]) == MAPS
            one = analyze.load(folder / "checkpoints" / f"class_{number:08d}.npz")
            assert metrics.adjusted_rand_score(written[3][number], one.strategies.labels[strategies]) == 1
            assert row["separability"] > 0.95  # the ridge and few maps leave it below 1
    assert "doubtful" in result["status"]["level"] and "only 40 maps" in result["status"]["reasons"][0]


def test_the_files_open_as_a_project(written, analysed):
    _, folder, _ = analysed
    assert explorer_files.validate(folder / "project.yaml") == []
    analysis = explorer_files.read_analysis(folder / "analysis.h5", "00000002")
    assert {"spectral", "tsne"} == set(analysis.embeddings) and set(analysis.clusterings) == {
        "eigengap", "kmeans2", "kmeans3",
    }  # fmt: skip
    np.testing.assert_array_equal(analysis.index, np.arange(2 * MAPS, 3 * MAPS))
    assert len(np.unique(analysis.clusterings["eigengap"].labels)) == 3


def test_a_killed_run_goes_on_with_the_next_class(analysed, tmp_path, monkeypatch):
    settings, folder, result = analysed
    (tmp_path / "checkpoints").mkdir()
    for number in (0, 1, 3):
        name = f"class_{number:08d}.npz"
        (tmp_path / "checkpoints" / name).write_bytes((folder / "checkpoints" / name).read_bytes())
    made = []
    strategies_of = analyze.strategies.strategies_of
    monkeypatch.setattr(analyze.strategies, "strategies_of", lambda *rest: (made.append(1), strategies_of(*rest))[1])
    again = analyze.main(settings, run_directory.open_for_test(tmp_path))
    assert len(made) == 2 and again["classes"] == result["classes"]


def test_ranking_and_report(analysed, written, tmp_path):
    _, folder, result = analysed
    settings = RankConfig(analysis=str(folder))
    run = run_directory.open_run(tmp_path / "rank", settings, verb="spray.rank", argv=[])
    ranked = run.finish(rank.main(settings, run))
    run.close()
    rows = ranked["ranking"]
    assert set(rows) == set("01234") and ranked["first"] in (0, 2, 4)
    taus = [row["tau"] for row in rows.values()]
    assert taus == sorted(taus, reverse=True) and rows["2"]["tau"] == result["classes"]["2"]["separability"]
    assert all(len(row["draws"]) == 20 and 1 / 21 <= row["p_null"] <= 1 for row in rows.values())
    assert rows["2"]["p_null"] == pytest.approx(1 / 21)
    options = ReportConfig(analysis=str(folder), ranking=str(tmp_path / "rank"))
    shown = report.main(options, run_directory.open_for_test(tmp_path / "page"))
    assert sum(row["maps"] for row in shown["classes"]["0"]) == MAPS
    assert all(row["predicted otherwise"] == 0 for row in shown["classes"]["2"])
    for name in ("class_002", "clusters_002", "ranking"):
        assert (tmp_path / "page" / "plots" / f"{name}.png").stat().st_size > 3000


def test_maps_as_numpy_arrays_give_the_same(written, analysed, tmp_path):
    folder, relevance, labels, _ = written
    np.save(tmp_path / "maps.npy", relevance[..., 0])
    np.save(tmp_path / "labels.npy", labels)
    settings = AnalyzeConfig(
        attribution=str(tmp_path / "maps.npy"), labels=str(tmp_path / "labels.npy"), classes=(2,), **SMALL
    )
    result = analyze.main(settings, run_directory.open_for_test(tmp_path / "run"))
    assert result["classes"]["2"]["sizes"] == analysed[2]["classes"]["2"]["sizes"]
    assert not (tmp_path / "run" / "project.yaml").exists()  # no images


def test_bad_maps_are_named_and_nothing_is_dropped_silently(written, tmp_path):
    folder, relevance, labels, _ = written

    def settings_of(maps, **changes):
        np.save(tmp_path / "maps.npy", maps)
        return AnalyzeConfig(attribution=str(tmp_path / "maps.npy"), **SMALL | changes)

    def run_of(name):
        return run_directory.open_for_test(tmp_path / name)

    bad = relevance[:MAPS].copy()
    bad[7, 0, 0] = np.nan
    with pytest.raises(ValueError, match=r"1 of 40 maps .* samples 7;"):
        analyze.main(settings_of(bad), run_of("nan"))
    zero = relevance[:MAPS].copy()
    zero[[3, 9]] = 0
    with pytest.raises(ValueError, match=r"2 maps of class 0 .*samples 3, 9.*zero_maps=leave_out"):
        analyze.main(settings_of(zero), run_of("zero"))
    result = analyze.main(settings_of(zero, zero_maps="leave_out"), run_of("left_out"))
    assert result["classes"]["0"]["maps"] == MAPS - 2 and "samples 3, 9" in result["status"]["reasons"][0]
    with pytest.raises(ValueError, match="no class has 12 maps.*5 maps"):
        analyze.main(settings_of(relevance[:5]), run_of("few"))
    with pytest.raises(ValueError, match="--classes: no map is of class 4"):
        analyze.main(settings_of(relevance[:MAPS], classes=(4,)), run_of("absent"))


def test_copies_and_gaps_that_decide_by_a_hair_are_doubts(written):
    relevance = written[1][:MAPS].copy()
    relevance[30:] = relevance[0]
    settings = AnalyzeConfig(attribution="x.npy", **SMALL)
    result = analyze.strategies.strategies_of(relevance, settings)
    assert any("10 of 40 maps are copies" in text for text in result.doubts)
    gap = spectral.eigengap(np.array([0.0, 0.1, 0.3, 0.49, 0.5]))
    embedding = spectral.Embedding(np.zeros(5), np.zeros((60, 5)), np.zeros(5), np.ones(5, bool), 1)
    texts = analyze.strategies.doubts_of(np.arange(60.0)[:, None], embedding, gap, settings)
    assert texts == ("2 strategies by a hair: the gap is 0.200, and 3 have 0.190",)


def test_the_class_of_a_map_is_the_one_that_was_explained(written, tmp_path):
    """`attribution.explain` explains predictions: maps of samples taken for others count there, and it is said."""
    relevance, labels = written[1][: 2 * MAPS], written[2][: 2 * MAPS]
    outputs = np.eye(3, dtype=np.float32)[np.where(np.arange(2 * MAPS) < 3, 1, labels)]
    for target, first in (("prediction", MAPS - 3), ("label", MAPS), ("1", 0)):
        path = tmp_path / f"{target}.h5"
        explorer_files.write_attribution(path, relevance, labels, outputs, target=target)
        maps = maps_files.read(str(path), None)
        assert (maps.labels == 0).sum() == first and maps.is_wrong.sum() == 3
    settings = AnalyzeConfig(attribution=str(tmp_path / "prediction.h5"), **SMALL)
    maps = maps_files.read(settings.attribution, None)
    assert maps.strategy == "predicted_label" and analyze.members_of(maps, 0, settings)[1] == []
    assert "3 of 43 maps are of samples that the network takes" in analyze.members_of(maps, 1, settings)[1][0]


def test_a_null_of_another_pipeline_is_said():
    assert rank.other_pipeline({"variant": "spectral", "metric": None, "neighbors": 5}) == []
    assert "--metric=cosine, --weights=gaussian" in rank.other_pipeline({"metric": "cosine", "weights": "gaussian"})[0]


def test_maps_with_channels_first_are_told(tmp_path):
    np.save(tmp_path / "maps.npy", np.ones((20, 3, 28, 28)))
    settings = AnalyzeConfig(attribution=str(tmp_path / "maps.npy"))
    with pytest.raises(ValueError, match="--grid=14: the maps have 3 x 28 pixels.*put channels last"):
        analyze.main(settings, run_directory.open_for_test(tmp_path / "run"))
    np.save(tmp_path / "maps.npy", np.ones((0, 28, 28)))
    with pytest.raises(ValueError, match="there are no maps"):
        analyze.main(settings, run_directory.open_for_test(tmp_path / "none"))


def test_files_that_are_no_maps_are_refused(tmp_path):
    np.save(tmp_path / "counts.npy", np.ones((4, 4, 4), int))
    np.save(tmp_path / "maps.npy", np.ones((4, 4, 4)))
    np.save(tmp_path / "labels.npy", np.zeros(3, int))
    (tmp_path / "text.npy").write_text("no array")
    cases = {
        ("counts.npy", None): "int64", ("text.npy", None): "cannot be read", ("none.npy", None): "no such file",
        ("maps.npy", "labels.npy"): "expected 4 class numbers", ("maps.csv", None): "no such file",
    }  # fmt: skip
    for (name, labels), text in cases.items():
        with pytest.raises(ValueError, match=text):
            maps_files.read(str(tmp_path / name), labels and str(tmp_path / labels))


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"clusters": (5,), "most_clusters": 4}, "clusters=5"), ({"most_clusters": 32}, "most_clusters=32")],
)
def test_settings_that_make_no_sense_are_refused(changes, text):
    with pytest.raises((ValueError, config.FlagError), match=text):
        dataclasses.replace(AnalyzeConfig(attribution="x.npy"), **changes)
