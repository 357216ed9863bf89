"""Are these command lines any good? Asked of the verb itself, in one process, before anything is queued.

`python -m VERB --check_flags=FILE` (see `common.app`) parses each command line of a file and says what is wrong with
it, so that a mistake in the hundredth job is found at the prompt and not a day later on the cluster.
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from launch import processes
from launch.sweep import LaunchError

CHECK_SECONDS = 300.0  # the first import on a cold file system of a cluster is slow


def check(commands: Sequence[Sequence[str]], directory: str) -> list[tuple[str, str]]:
    """Returns for each command line the run directory that it names or would take, and a hash of what it computes.

    Args:
      commands: what follows `python -m`, the module first; all of one module.
      directory: where they will run.

    Raises:
      LaunchError: the verb does not import, is no verb of this house, or refuses a command line.
    """
    module = commands[0][0]
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", module):
        raise LaunchError(
            f"{module!r} is no verb: after -- comes a module such as projects.deepcabac.train, then flags"
        )
    with tempfile.TemporaryDirectory(prefix="havel-") as folder:
        path = pathlib.Path(folder) / "commands.json"
        path.write_text(json.dumps([list(command[1:]) for command in commands]))
        try:
            process = subprocess.run(
                [sys.executable, "-m", module, f"--check_flags={path}"], cwd=directory, stdin=subprocess.DEVNULL,
                capture_output=True, text=True, timeout=CHECK_SECONDS, env=processes.own_environment(),
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise LaunchError(
                f"{module} did not import within {CHECK_SECONDS:.0f} s; run it by hand to see why"
            ) from None
    try:
        answers = json.loads(process.stdout.splitlines()[-1])
        problems = [(command, answer["error"]) for command, answer in zip(commands, answers, strict=True)]
    except (ValueError, IndexError, TypeError, KeyError):
        raise LaunchError(_why_not(module, process, directory)) from None
    bad = [(command, error) for command, error in problems if error]
    if bad:
        more = f" (and {len(bad) - 1} of the other {len(commands) - 1} jobs)" if len(bad) > 1 else ""
        raise LaunchError(f"{module} refuses a command line: {bad[0][1]}{more}; nothing was launched")
    return [(answer["run_dir"], answer["identity"]) for answer in answers]


def _why_not(module: str, process: subprocess.CompletedProcess, directory: str) -> str:
    lines = [line for line in process.stderr.splitlines() if line.strip()] or [f"exit code {process.returncode}"]
    last = lines[-1].strip()
    if last.startswith(f"error: {module} is no verb; "):  # by the package's own word, which knows its verbs
        return f"{last.removeprefix('error: ')}; nothing was launched"
    absent = re.search(r"No module named '?([\w.]+)", last)
    if absent and f"{module}.".startswith(f"{absent.group(1)}."):
        return (
            f"there is no verb {module} in {directory} (no module {absent.group(1)}): launch from the root of the "
            "checkout; a verb is a module such as projects.deepcabac.train"
        )
    if process.returncode == 0:
        return f"{module} is no verb: it does not end in common.app.run(main, Config)"
    return f"{module} does not import: {last} (python -m {module} --help shows where)"
