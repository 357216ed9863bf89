"""Grids and lists become jobs: their names, their flags, and what is refused at the door."""

import itertools
import json
import pathlib

import pytest

from launch import sweep
from launch.sweep import LaunchError


def test_grid_is_every_combination_in_order():
    points = sweep.parse_grid("a=1,2; b = x,y,z")
    assert points == [{"a": a, "b": b} for a, b in itertools.product("12", "xyz")]
    assert sweep.parse_grid("path=/x=y") == [{"path": "/x=y"}]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"'' is no flag=value,value; expected --sweep=\"a=1,2;b=x,y\""),
        ("a", "'a' is no flag"),
        ("a=", "'a=' is no flag"),
        ("a=1,,2", "'a=1,,2' is no flag"),
        ("a=1;", "'' is no flag"),
        ("--a=1", "'--a' is no flag's name; write it without dashes"),
        ("a b=1", "'a b' is no flag's name"),
        ("a=1;a=2", "a is there twice; write its values in one list"),
        ("a=1,1", "a has the same value twice"),
        ("run_dir=x,y", "run_dir cannot be swept; --sweep_dir names the folder"),
        ("overwrite=true", "overwrite cannot be swept"),
    ],
)
def test_grids_that_are_refused(text, message):
    with pytest.raises(LaunchError, match=message):
        sweep.parse_grid(text)


def written(tmp_path, *lines):
    path = tmp_path / "list.jsonl"
    path.write_text("\n".join(lines))
    return path


def test_list_keeps_texts_as_they_are_written(tmp_path):
    path = written(
        tmp_path, "# a comment", "", '{"rates": [1e-3, 0.10], "name": "a, b;c", "on": true}', '{"rates": null}',
        '{"seed": 12345678901234567890}',
    )  # fmt: skip
    assert sweep.read_list(path) == [
        {"rates": "1e-3,0.10", "name": "a, b;c", "on": "true"}, {"rates": "none"}, {"seed": "12345678901234567890"}
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("seed=1", r"line 2: not JSON .* such as \{'seed': 1\}"),
        ("[1, 2]", "line 2: expected an object of flags"),
        ("{}", "line 2: expected an object of flags"),
        ('{"a": {"b": 1}}', "line 2: a: expected a text, a number"),
        ('{"a": [[1]]}', "line 2: a: expected a text, a number"),
        ('{"--a": 1}', "'--a' is no flag's name"),
        ('{"a": 1}', "is there twice"),
        ("[" * 100000, "line 2: not JSON"),
    ],
)
def test_lists_that_are_refused(tmp_path, line, message):
    with pytest.raises(LaunchError, match=message):
        sweep.read_list(written(tmp_path, '{"a": 1}', line))


def test_a_long_list_is_read_and_the_same_flags_in_another_order_are_the_same(tmp_path):
    """Looking each line up among all before it took minutes for as many as a sweep may have."""
    lines = [json.dumps({"a": number, "b": "x"}) for number in range(20_000)]
    assert len(sweep.read_list(written(tmp_path, *lines))) == 20_000
    with pytest.raises(LaunchError, match='{"b": "x", "a": "7"} is there twice'):
        sweep.read_list(written(tmp_path, *lines, '{"b": "x", "a": 7}'))


def test_lists_that_are_not_there(tmp_path):
    with pytest.raises(LaunchError, match="No such file"):
        sweep.read_list(tmp_path / "absent")
    with pytest.raises(LaunchError, match="holds no line with flags"):
        sweep.read_list(written(tmp_path, "# nothing"))
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    with pytest.raises(LaunchError, match="not a text in UTF-8"):
        sweep.read_list(tmp_path / "bytes")


AWKWARD = [
    "a b",
    "a,b",
    "it's",
    '"q"',
    "two\nlines",
    "$(touch x)",
    "`id`",
    "../..",
    ".",
    "..",
    "a/b",
    "ü",
    "x" * 300,
    "*",
    "",
]


def test_names_are_safe_and_tell_points_apart(tmp_path):
    points = [{"v": value} for value in AWKWARD] + [{"v": value, "w": "1"} for value in AWKWARD]
    names = [sweep.job_name(point) for point in points]
    assert len(set(names)) == len(names)
    for name in names:
        assert len(name) <= sweep.LONGEST_NAME and not set(name) & set("/ \n'\"$`*\\") and name not in (".", "..")
        assert not name.startswith((".", "-")) and name.isascii()
        (tmp_path / name).mkdir()
    assert sweep.job_name({"step": "0.01", "seed": "1"}) == "step=0.01,seed=1"
    assert sweep.job_name({"a": "b c"}) == sweep.job_name({"a": "b c"}) != sweep.job_name({"a": "b_c"})


def test_jobs_get_their_flags_and_their_run_directory(tmp_path):
    shared = ["--output={run_dir}/m.dcb", "--text=it's, $HOME\n"]
    jobs = sweep.make_jobs("projects.x.y", shared, [{"a": "1"}, {"a": "{run_dir}"}], tmp_path)
    assert jobs[0].run_dir == str(tmp_path / "a=1")
    assert jobs[0].argv == (
        "projects.x.y", f"--output={tmp_path}/a=1/m.dcb", "--text=it's, $HOME\n", "--a=1", f"--run_dir={tmp_path}/a=1"
    )  # fmt: skip
    assert jobs[1].argv[3] == f"--a={jobs[1].run_dir}"


@pytest.mark.parametrize("given", ["--a=3", "-a=3", "--a", "--noa"])
def test_a_swept_flag_is_given_once(tmp_path, given):
    with pytest.raises(LaunchError, match="is swept and given after the verb too"):
        sweep.make_jobs("m", [given], [{"a": "1"}], tmp_path)
    assert sweep.make_jobs("m", ["--ab=3"], [{"a": "1"}], tmp_path)


def test_a_sweep_that_grows_finds_its_folder():
    grid = sweep.parse_grid
    folder = sweep.default_folder("projects.x.y", ["--n=1"], grid("a=1,2"))
    assert folder.parent == pathlib.Path("runs/x.y")
    assert folder == sweep.default_folder("projects.x.y", ["--n=1"], grid("a=1,2,3"))
    assert folder != sweep.default_folder("projects.x.y", ["--n=1"], grid("a=1;b=1"))
    assert folder != sweep.default_folder("projects.x.y", ["--n=2"], grid("a=1"))


def make(folder, points, identity="i", module="m"):
    jobs = sweep.make_jobs(module, [], points, folder)
    jobs = [sweep.Job(job.name, job.run_dir, job.argv, job.flags, identity + job.name) for job in jobs]
    return sweep.Sweep(folder, module, (), "/", {"engine": "local"}, tuple(jobs))


def test_record_is_read_back_also_from_another_place(tmp_path):
    first = make(tmp_path / "one", [{"a": "1"}, {"a": "two\nlines"}])
    sweep.save(first)
    assert sweep.load(tmp_path / "one") == first
    (tmp_path / "one").rename(tmp_path / "two")
    moved = sweep.load(tmp_path / "two")
    assert moved.jobs[0].run_dir == str(tmp_path / "two" / "a=1")
    with pytest.raises(LaunchError, match="is not what launch.run made"):
        sweep.load(tmp_path / "one")
    (tmp_path / "two" / "launch" / "sweep.json").write_text(json.dumps({"format": "other"}))
    with pytest.raises(LaunchError, match="is not what launch.run made"):
        sweep.load(tmp_path / "two")


def test_merging_keeps_what_was_there_and_refuses_what_changed(tmp_path):
    sweep.save(make(tmp_path, [{"a": "1"}, {"a": "2"}]))
    merged = sweep.merge(make(tmp_path, [{"a": "2"}, {"a": "3"}]))
    assert [job.name for job in merged.jobs] == ["a=1", "a=2", "a=3"]
    with pytest.raises(LaunchError, match="a=2 was launched into .* by another command"):
        sweep.merge(make(tmp_path, [{"a": "2"}], identity="other"))
    with pytest.raises(LaunchError, match="jobs were launched into .* by another command"):
        sweep.merge(make(tmp_path, [{"a": "5"}], module="n"))
