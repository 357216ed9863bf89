"""How jobs stand, told from their records and from what an engine says; waiting."""

import pytest

from launch import local, records, status, sweep
from launch.sweep import Job, LaunchError, Sweep

FULL_DISK = """device: cpu
Traceback (most recent call last):
  File "train.py", line 3, in main
    write(row)
OSError: [Errno 28] No space left on device: '/x/metrics.csv'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "run_directory.py", line 9, in stop
    note()
RuntimeError: could not note it:
  two lines

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "app.py", line 7, in run
common.Error: it failed
"""


@pytest.fixture
def made(tmp_path):
    """A sweep of one job, submitted once to an engine whose runner is not there."""
    job = Job("a=1", str(tmp_path / "a=1"), ("m",), {"a": "1"}, "i")
    whole = Sweep(tmp_path, "m", (), "/", {"engine": "local"}, (job,))
    sweep.save(whole)
    number, path = records.new_path(whole)
    records.write_submission(records.Submission(path, number, "local", {"grace": 1.0}, "/", (job,), {"host": "here"}))
    return whole, job


def standing(made, says=None, monkeypatch=None):
    if says is not None:
        monkeypatch.setattr(local, "states", lambda submission: {"a=1": says})
    (item,) = status.survey(made[0])
    return item.state, item.detail


def test_states_that_no_record_tells(made, monkeypatch):
    whole, job = made
    assert standing(made) == ("lost", "it never began and is no longer in the queue")
    assert standing(made, ("queued", "Slurm 7, Priority"), monkeypatch) == ("queued", "Slurm 7, Priority")
    assert standing(made, ("ended", "Slurm 7: failed"), monkeypatch) == ("failed", "Slurm 7: failed; it never began")
    (records.submissions(whole)[0].beside(".0.log")).write_text("bash: /x/python: No such file or directory\n")
    assert standing(made, ("ended", "Slurm 7: failed"), monkeypatch)[1].endswith("/x/python: No such file or directory")


def test_states_from_attempts(made, monkeypatch):
    whole, job = made
    records.note_start(job, 1, "Slurm 7 on n0")
    assert standing(made)[0] == "lost" and "it began on Slurm 7 on n0 and ended without a word" in standing(made)[1]
    assert standing(made, ("running", "there"), monkeypatch) == ("running", "there")
    records.note_end(job, 1, "preempted", [75], True)
    assert standing(made, ("queued", "Slurm 7, BeginTime"), monkeypatch) == ("queued", "Slurm 7, BeginTime")
    assert standing(made, ("ended", "Slurm 7: completed"), monkeypatch)[0] == "lost"
    records.note_start(job, 1, "Slurm 7 on n1")
    records.note_end(job, 1, "preempted", [75], records.BY_SLURM)
    assert standing(made, ("ended", "Slurm 7: cancelled"), monkeypatch) == ("cancelled", "Slurm 7: cancelled")
    assert standing(made, ("queued", "again"), monkeypatch) == ("queued", "again")
    records.note_start(job, 1, "Slurm 7 on n1")
    records.note_end(job, 1, "finished", [0], False)
    assert standing(made) == ("queued", "again")  # whatever was written down: Slurm has it in its queue
    assert standing(made, ("ended", "Slurm 7: completed"), monkeypatch) == (
        "failed", "it ended well, but left no result.json: is it a verb of common.app?",
    )  # fmt: skip
    (job.folder.parent / "result.json").write_text("{}")
    assert standing(made) == ("finished", "")


def test_scancel_of_a_queued_job_and_of_one_at_work_is_a_cancellation(made, monkeypatch):
    whole, job = made
    says = ("cancelled", "Slurm 7: cancelled")
    assert standing(made, says, monkeypatch) == says
    records.note_start(job, 1, "Slurm 7 on n0")  # it was killed before it could say more
    assert standing(made, says, monkeypatch) == says
    records.note_end(job, 1, "failed", [1], False)
    assert standing(made, says, monkeypatch)[0] == "failed"


def test_a_machine_that_was_lost_is_told_by_slurms_queue(made, monkeypatch):
    whole, job = made
    records.note_start(job, 1, "Slurm 7 on n0")
    records.note_end(job, 1, "lost", [None], records.BY_SLURM)
    assert standing(made, ("queued", "Slurm 7, BeginTime"), monkeypatch) == ("queued", "Slurm 7, BeginTime; killed")
    assert standing(made, ("ended", "Slurm 7: node_fail"), monkeypatch) == (
        "lost", "it was to start again and is no longer in the queue (Slurm 7: node_fail)",
    )  # fmt: skip


def test_a_taken_run_directory_is_neither_failed_nor_finished(made):
    whole, job = made
    records.note_start(job, 1, "here")
    records.log_path(job).write_text("error: /x is being written by process 7 on n0; wait for it\n")
    records.note_end(job, 1, "locked", [77], False)
    (item,) = status.survey(whole)
    assert (item.state, item.detail) == ("locked", "error: /x is being written by process 7 on n0; wait for it")
    assert status.exit_code([item]) == 75 and status.summary([item]) == "1 job: 1 locked"


@pytest.mark.parametrize(
    ("log", "outcome", "codes", "told"),
    [
        ("device: cpu\nerror: x.npz does not exist (--debug shows where)\nlast words\n", "failed", [1], "error: x.npz"),
        (
            "Traceback ...\nTypeError: no\nsrun: error: n0: task 0: Exited with exit code 1\n",
            "failed",
            [1],
            "TypeError: no",
        ),
        ("1: error: deep inside\n0: srun: error: nothing\n", "failed", [1, 76], "1: error: deep inside"),
        (FULL_DISK, "failed", [1], "OSError: [Errno 28] No space left on device: '/x/metrics.csv'"),
        (
            "".join(f"{rank}: {line}\n" for line in FULL_DISK.splitlines() for rank in (0, 1)),
            "failed",
            [1, 1],
            "1: OSError: [Errno 28] No space left on device: '/x/metrics.csv'",
        ),
        (
            FULL_DISK.partition("RuntimeError")[0] + "KeyboardInterrupt\n",
            "failed",
            [1],
            "OSError: [Errno 28] No space left on device: '/x/metrics.csv'",
        ),
        ("ValueError: before\n" + FULL_DISK + "KeyError: 'after, alone'\n", "failed", [1], "KeyError: 'after, alone'"),
        ("step 5\n", "lost", [None, 76], "exit code 76, killed"),
        ("step 5\n", "lost", [-9], "killed by signal 9"),
        ("", "failed", [3], "exit code 3"),
    ],
)
def test_the_line_that_says_why(made, log, outcome, codes, told):
    _, job = made
    job.folder.mkdir(parents=True)
    records.log_path(job).write_text("error: of an earlier attempt\n")
    records.note_start(job, 1, "here")
    with records.log_path(job).open("a") as file:
        file.write(log)
    records.note_end(job, 1, outcome, codes, False)
    assert standing(made)[1].startswith(told)


def test_waiting_outlives_a_controller_that_restarts(made, monkeypatch):
    answers = iter([("running", ""), LaunchError("squeue: down"), LaunchError("squeue: down"), ("ended", "x")])

    def states(submission):
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return {"a=1": answer}

    monkeypatch.setattr(local, "states", states)
    said = []
    (item,) = status.wait(made[0], 60, 0.01, said.append)
    assert said == ["1 job: 1 running", "squeue: down; asking again", "1 job: 1 failed"] and item.state == "failed"
    monkeypatch.setattr(local, "states", lambda submission: (_ for _ in ()).throw(LaunchError("squeue: absent")))
    with pytest.raises(LaunchError, match="absent"):
        status.wait(made[0], 60, 0.01, said.append)


def test_exit_codes_of_waiting(made, monkeypatch):
    (item,) = status.survey(made[0])
    for states, code in (
        (("finished",), 0),
        (("finished", "queued"), 75),
        (("queued", "failed"), 1),
        (("cancelled",), 75),
    ):
        actual = [status.JobState(item.job, state, "", 1, None) for state in states]
        assert status.exit_code(actual) == code, states
