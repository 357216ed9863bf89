"""Several devices on a CPU for a process that a test starts, compiled as in this one."""

import os


def xla_flags(count: int) -> str:
    """XLA_FLAGS of this process (conftest.py has shortened compiling there), with a number of devices."""
    return f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={count}".strip()
