"""The box itself: who belongs to it, and what it says where it cannot be."""

import os
import subprocess
import sys

import pytest

from tests.launch import slurm_box
from tests.launch.conftest import until


def test_a_machine_without_slurm_is_told_what_to_install(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(slurm_box.shutil, "which", lambda name, path: None)
    assert (
        slurm_box.missing()
        == "needs a Slurm to try on: apt-get install slurm-wlm munge (slurmctld, slurmd, munged not found)"
    )
    assert slurm_box.main(["slurm_box.py", "up", str(tmp_path / "box")]) == 1
    assert "apt-get install slurm-wlm munge" in capsys.readouterr().err and not (tmp_path / "box").exists()


def test_usage_and_nothing_to_end(tmp_path, capsys):
    assert slurm_box.main(["slurm_box.py", "sideways"]) == 2 and "by hand" in capsys.readouterr().out.lower()
    assert slurm_box.main(["slurm_box.py", "down", str(tmp_path / "never")]) == 0


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_jobs_belong_to_the_box_and_shells_that_use_it_do_not(tmp_path):
    box = slurm_box.Box(tmp_path)
    mine = os.environ | {"SLURM_CONF": str(tmp_path / "slurm.conf")}
    environments = {"shell": mine, "job": mine | {"SLURM_JOB_ID": "7"}, "other": os.environ | {"SLURM_JOB_ID": "7"}}
    started = {name: subprocess.Popen(["sleep", "60"], env=environment) for name, environment in environments.items()}
    try:
        until(lambda: slurm_box.processes(box), 5, "its start")
        assert slurm_box.processes(box) == [started["job"].pid]
        slurm_box.down(tmp_path)
        assert started["job"].wait(5) == -15
        assert started["shell"].poll() is None and started["other"].poll() is None
    finally:
        for process in started.values():
            process.kill()
            process.wait()
