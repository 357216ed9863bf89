"""Runs a verb here or on a cluster, once or as a sweep: `python -m launch.run [--flag=value ...] -- VERB --flag...`

  python -m launch.run -- projects.deepcabac.train --flagfile=projects/deepcabac/flags/lenet_300_100.flags
  python -m launch.run --engine=slurm --time=2:00:00 --gpus=1 --sweep="seed=0,1,2" -- projects.deepcabac.train ...
  python -m launch.run status|wait|cancel|results|resubmit|log SWEEP_DIR

The same command again submits only what has neither finished nor is under way. {run_dir} in a flag of the verb stands
for the run directory of the job, as in --output={run_dir}/model.dcb. Exit codes: 0 done, 1 a job failed, 2 the command
line cannot be used, 75 there is more to do, or another launch is at it (the same command, or resubmit, goes on).
"""

import difflib
import sys
from collections.abc import Sequence

from common import config as config_lib
from launch import records, slurm, status, verbs
from launch import sweep as sweep_lib
from launch.submit import LaunchConfig, alone, forget, make_sweep, say, submit
from launch.sweep import BusyError, LaunchError, Sweep


def main(argv: Sequence[str]) -> int:
    """Returns the exit code of a command line."""
    own = list(argv[1 : argv.index("--")]) if "--" in argv else list(argv[1:])
    if not own and "--" not in argv or any(item in ("--help", "-h", "-help", "--helpfull") for item in own):
        return _print_help()
    try:
        if own and own[0] in verbs.VERBS:
            return verbs.call(own[0], own[1:])
        if "--" not in argv:
            raise LaunchError(_no_command(own))
        (options,) = config_lib.parse(["launch.run", *own], LaunchConfig)
        return launch(options, list(argv[argv.index("--") + 1 :]))
    except BusyError as error:
        return _fail(str(error), records.PREEMPTED)
    except (LaunchError, config_lib.FlagError) as error:
        return _fail(str(error), 2)
    except OSError as error:
        return _fail(f"{error.filename}: {error.strerror}" if error.filename else str(error), 1)
    except KeyboardInterrupt:
        return _fail("interrupted", records.INTERRUPTED)


def _no_command(own: Sequence[str]) -> str:
    words = [item for item in own if not item.startswith("-")]
    if words and "." not in words[0]:
        near = difflib.get_close_matches(words[0], verbs.VERBS, 1)
        guess = f"did you mean {near[0]}? " if near else ""
        return (
            f"unknown verb {words[0]!r}; {guess}expected any of {', '.join(verbs.VERBS)}, or flags, --, and a command"
        )
    return "what should run? Write it after two dashes: python -m launch.run [flags] -- projects.NAME.VERB --flag=value"


def launch(options: LaunchConfig, command: Sequence[str]) -> int:
    """Launches a verb; returns the exit code: with the local engine that of its jobs."""
    if not command:
        raise LaunchError("nothing stands after --; expected a verb and its flags, as in -- projects.deepcabac.train")
    engine = status.ENGINES[options.engine]
    engine.check(options)
    sweep = make_sweep(options, command)
    if options.dry_run:
        return _dry_run(sweep, options)
    with alone(sweep):
        if options.overwrite:
            forget(sweep)
        return submit(sweep_lib.merge(sweep), options, [job.name for job in sweep.jobs])


def _dry_run(sweep: Sweep, options: LaunchConfig) -> int:
    """Prints the scripts and the command lines that a submission would hand over."""
    if options.engine == "slurm":
        print(slurm.script(slurm.plan(sweep, sweep.jobs, options)))
        print("# Its jobs:")
    else:
        parallel = options.parallel or 1
        print(f"# In {sweep.directory}, {parallel} at a time, {options.processes_per_node} process(es) each:")
    for job in sweep.jobs:
        print(("# " if options.engine == "slurm" else "") + records.command_text(job.argv))
    return 0


def _print_help() -> int:
    own, verbs_own = config_lib.help_text(LaunchConfig), config_lib.help_text(verbs.VerbConfig)
    parts = [__doc__.strip(), "Flags:", own, f"Flags of {', '.join(verbs.VERBS)}:", verbs_own]
    config_lib.print_help("\n\n".join(parts))
    return 0


def _fail(text: str, code: int) -> int:
    say(f"error: {text}")
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv))
