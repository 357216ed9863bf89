"""The published tables against their files."""

import pytest

from projects.deepcabac.page import page


def test_the_readme_shows_what_the_result_files_say():
    text = (page.folder / "README.md").read_text()
    assert page.rendered(text) == text, "run: python -m projects.deepcabac.study --render_readme"


def test_results_name_their_origin_and_are_within_their_own_bounds():
    for name, result in page.read().items():
        assert {"commit", "device", "versions", "date"} <= set(result["provenance"]), name
        assert (page.results / f"{name}.png").is_file()
        for point in result["points"].values():
            for row in point["seeds"]:
                assert row["percent"] == pytest.approx(100 * row["bytes"] / result["float32_bytes"], rel=1e-6)
