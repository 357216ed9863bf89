"""A result's commit is that of the code that computed it."""

import subprocess

import pytest

from common.runs import provenance


@pytest.fixture
def checkout(tmp_path, monkeypatch):
    """A checkout of its own; returns what runs git there."""

    def git(*arguments):
        identity = ("-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false")
        command = ["git", "-C", tmp_path, *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    git("commit", "-q", "--allow-empty", "-m", "first")
    monkeypatch.setattr(provenance, "ROOT", tmp_path.resolve())
    provenance._commit_at_first.cache_clear()
    yield git
    provenance._commit_at_first.cache_clear()


def test_a_checkout_that_moves_while_a_process_runs_is_a_changed_one(checkout):
    first = checkout("rev-parse", "HEAD")
    assert provenance.commit() == (first, False)
    checkout("commit", "-q", "--allow-empty", "-m", "second")
    assert provenance.commit() == (first, True)
    checkout("checkout", "-q", first)
    assert provenance.commit() == (first, False)


def test_files_that_differed_at_first_or_now_are_changed(checkout, tmp_path):
    (tmp_path / "new").write_text("")
    first = checkout("rev-parse", "HEAD")
    assert provenance.commit() == (first, True)
    (tmp_path / "new").unlink()
    assert provenance.commit() == (first, True)  # what runs was read before
    provenance._commit_at_first.cache_clear()
    assert provenance.commit() == (first, False)
    (tmp_path / "new").write_text("")
    assert provenance.commit() == (first, True)


def test_published_results_are_no_change_of_the_code(checkout, tmp_path):
    """A study that publishes one part goes on with the next."""
    first = checkout("rev-parse", "HEAD")
    folder = tmp_path / "projects" / "van" / "results"
    folder.mkdir(parents=True)
    (folder / "table.json").write_text("{}")
    assert provenance.commit() == (first, False)
    (folder.parent / "method.py").write_text("")
    assert provenance.commit() == (first, True)


def test_outside_of_a_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    provenance._commit_at_first.cache_clear()
    assert provenance.commit() == (None, None)
    provenance._commit_at_first.cache_clear()
