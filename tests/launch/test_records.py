"""Exit codes and what they mean together; attempts and their bounds; command lines that survive a shell."""

import json
import subprocess
import sys

import pytest

from common import files
from common.runs import run_directory
from launch import local, processes, records, slurm
from launch.sweep import Job, LaunchError

AWKWARD = [
    "plain",
    "two words",
    "a,b;c",
    "it's",
    'say "x"',
    "two\nlines",
    "$HOME $(touch pwned) `id`",
    "*?[a]",
    "\\n",
    "",
    "ü",
    "%j",
    "-x",
    "#no",
]


@pytest.mark.parametrize(
    ("codes", "meaning"),
    [
        ([0], "finished"),
        ([0, 0], "finished"),
        ([1], "failed"),
        ([2, None], "failed"),  # its peers are killed for it
        ([0, 1], "failed"),
        ([76, 1], "failed"),
        ([75], "preempted"),
        ([75, 75], "preempted"),
        ([-15], "preempted"),  # a verb that does not know SIGTERM
        ([143, 75], "preempted"),
        ([None], "lost"),
        ([-9], "lost"),
        ([76, None], "lost"),
        ([76, -9], "lost"),
        ([137], "lost"),
        ([-6, -9], "lost"),  # JAX ends a process whose coordinator is gone by SIGABRT
        ([0, None], "lost"),
        ([75, -9], "lost"),  # the grace was too short for one of them
        ([130], "cancelled"),
        ([77], "locked"),
        ([77, 76], "locked"),  # process 0 opens the run directory for all
        ([1, 77], "failed"),
    ],
)
def test_what_exit_codes_mean(codes, meaning):
    assert records.outcome(codes) == meaning


@pytest.fixture
def job(tmp_path):
    return Job("a=1", str(tmp_path / "a=1"), ("tests.launch.show_argv", *AWKWARD), {"a": "1"}, "i")


def test_losses_are_bounded_and_counted_anew_by_a_new_submission(job):
    for count in range(3):
        assert records.goes_on(job, "lost", 1, 3), count
        records.note_start(job, 1, "here")
        records.note_end(job, 1, "lost", [None], True)
    assert not records.goes_on(job, "lost", 1, 3)
    assert records.goes_on(job, "lost", 2, 3)
    assert records.goes_on(job, "preempted", 1, 3)
    for result in ("finished", "failed", "cancelled"):
        assert not records.goes_on(job, result, 2, 3)


def test_a_lost_machine_leaves_no_end_and_counts_as_a_loss(job):
    for count in range(3):
        assert records.losses(job, 1) == max(0, count - 1) and records.losses(job, 1, is_over=True) == count
        records.note_start(job, 1, "Slurm 7 on n0")
    assert records.losses(job, 1, is_over=True) == 3 and records.losses(job, 2, is_over=True) == 0
    assert not records.goes_on(job, "lost", 1, 2) and records.goes_on(job, "lost", 1, 3)
    records.note_end(job, 1, "preempted", [75], True)
    assert records.losses(job, 1, is_over=True) == 2


def test_an_attempt_is_judged_by_what_the_run_wrote(job):
    assert records.judge(job, [0]) == ("failed", records.NO_RESULT)
    assert records.judge(job, [None]) == ("lost", "") and records.judge(job, [75]) == ("preempted", "")
    (job.folder.parent).mkdir()
    (job.folder.parent / "result.json").write_text("{}")
    for codes in ([0], [None], [-9], [75], [0, None]):
        assert records.judge(job, codes) == ("finished", ""), codes
    assert records.judge(job, [1]) == ("failed", "") and records.judge(job, [3, 1]) == ("failed", "")
    level, note = records.judge(job, [0, 3])
    assert level == "finished" and "could not be reached" in note


def test_a_job_that_is_stopped_again_and_again_before_it_wrote_anything_ends(job):
    """As under a time limit of the queue that is too short, where every stop looks like a preemption."""
    job.folder.mkdir(parents=True)
    answers = []
    for count in (0, 1, 2, records.MOST_IDLE - 1, records.MOST_IDLE):
        files.write_json(job.folder.parent / "meta.json", {run_directory.IDLE: count})
        answers.append((records.goes_on(job, *records.judge(job, [75])[:1], 1, 3), records.judge(job, [75])[1]))
    words = "calls in a row were stopped before they wrote anything to go on from"
    assert answers == [(True, ""), (True, ""), (True, f"2 {words}"), (True, f"9 {words}"), (False, f"10 {words}")]


def test_a_newer_submission_of_a_job_takes_over(job, tmp_path):
    other = Job("a=2", "/x", (), {}, "i")
    made = [records.Submission(tmp_path / f"{n:04d}.json", n, "slurm", {}, "/", jobs) for n, jobs in
            ((1, (job, other)), (2, (other,)))]  # fmt: skip
    for submission in made:
        records.write_submission(submission)
    assert not records.is_superseded(made[0], job) and records.is_superseded(made[0], other)
    assert not records.is_superseded(made[1], other)


def test_attempts_survive_a_half_written_line(job):
    assert records.attempts(job) == []
    records.note_start(job, 1, "here")
    with (job.folder / "attempts.jsonl").open("a") as file:
        file.write('{"event": "end", "subm')
    assert [entry["event"] for entry in records.attempts(job)] == ["start"]


def test_command_and_script_bring_every_argument_whole(job, tmp_path, monkeypatch):
    """What lies in the run directory can be pasted into a shell, whatever the flags hold."""
    script = local.script(job, "/")
    records.prepare(job, script)
    environment = {"PYTHONPATH": str(processes.__file__).rsplit("/", 2)[0], "PATH": "/usr/bin:/bin"}
    options = {"env": environment, "capture_output": True, "text": True, "timeout": 60, "cwd": tmp_path}
    done = subprocess.run(["bash", str(job.folder / "script.sh")], **options)
    assert json.loads(done.stdout) == AWKWARD, done.stderr
    line = (job.folder / "command.txt").read_text().replace("python", sys.executable, 1)
    assert json.loads(subprocess.run(["bash", "-c", line], **options).stdout) == AWKWARD
    assert not (tmp_path / "pwned").exists()


def test_submission_is_read_back(job, tmp_path):
    made = records.Submission(tmp_path / "0001.json", 1, "slurm", {"gpus": None}, "/x", (job,), {"id": "7"})
    records.write_submission(made)
    assert records.read_submission(made.path) == made
    (tmp_path / "0002.json").write_text("{")
    with pytest.raises(ValueError, match="0002.json is not a submission"):
        records.read_submission(tmp_path / "0002.json")


@pytest.mark.parametrize(
    ("limit", "seconds"),
    [("90", 5400), ("1:30", 90), ("2:00:00", 7200), ("1-0", 86400), ("1-12:30", 131400), ("2-1:2:3", 176523)],
)
def test_time_limits_in_all_forms_of_slurm(limit, seconds):
    assert slurm.seconds_of(limit) == seconds
    with pytest.raises(LaunchError, match="expected minutes, or as in 1:30:00"):
        slurm.seconds_of(limit + "h")
