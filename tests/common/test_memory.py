"""The allocator keeps freed memory: the second large array costs no page faults."""

import pathlib
import platform
import subprocess
import sys

import numpy as np
import pytest

from common import memory

PROGRAM = """
import resource, sys
import numpy as np
from common import memory
if sys.argv[1] == "keep":
    assert memory.keep_freed_memory()
for _ in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    np.empty(64 << 20, np.uint8)[::4096] = 1
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's allocator only")
def test_large_arrays_are_reused():
    kept, given_back = faults("keep"), faults("leave")
    assert kept < 100
    if given_back < 100:
        pytest.skip("this system keeps freed memory anyway")


def test_the_peak_counts_what_was_freed():
    before = memory.peak_mebibytes()
    data = b"x" * (200 << 20)
    del data
    assert 1 < before <= memory.peak_mebibytes() < before + 10_000 and memory.peak_mebibytes() >= 200


def test_the_peak_is_that_of_the_program_and_not_of_the_one_that_started_it():
    held = np.ones(300 << 20, np.uint8)
    assert memory.peak_mebibytes() > held.nbytes / 2**20
    program = "import sys; sys.path.insert(0, '.'); from common import memory; print(memory.peak_mebibytes())"
    root = pathlib.Path(memory.__file__).parents[1]
    answer = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=True)
    assert 1 < float(answer.stdout) < 300
