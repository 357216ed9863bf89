"""The allocator keeps freed memory: the second large array costs no page faults."""

import platform
import subprocess
import sys

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
