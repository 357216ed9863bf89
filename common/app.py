"""The way in of every verb: `python -m projects.NAME.VERB --flags`.

`run(main, Config)` parses the flags, opens the run directory, starts JAX with a compilation cache, prints the device,
calls `main(config, run) -> dict | None`, writes the dict as `result.json` and makes the report.
Exit codes: 0 done, 1 the run failed, or --max_seconds were over twice in a row before it had written anything to go
on from, 2 the command line or the run directory cannot be used, 3 done, but what was asked for could not be reached
(the result's `unmet` says what), 75 stopped by SIGTERM or --max_seconds (the same command goes on), 76 another process
of the run went away, 77 another process writes into the run directory (the same command may do later), 130 Ctrl-C.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from common import config as config_lib
from common import files, memory
from common.runs import metrics, provenance, run_directory
from common.runs.run_directory import Preempted, Run

__all__ = ["Preempted", "Run", "run", "use_compilation_cache"]

EXIT_UNMET = 3
EXIT_PREEMPTED = 75  # EX_TEMPFAIL: "try again"
EXIT_LOST_PEER = 76
EXIT_TAKEN = 77
CHECK = "--check_flags="  # asked by the launcher: FILE holds command lines; are they any good?
EXIT_CODES = "HAVEL_EXIT_CODES"  # a folder where each process of a launched run says that it began, and how it ended


@dataclasses.dataclass(frozen=True, kw_only=True)
class AppConfig:
    """The flags that every verb has."""

    run_dir: str | None = config_lib.field(
        None, "directory of the run; by default runs/<project>.<verb>/<hash of the flags>"
    )
    overwrite: bool = config_lib.field(False, "start afresh where an earlier run of the same kind lies")
    trackers: tuple[str, ...] = config_lib.field((), "where metrics go as well", choices=tuple(metrics.TRACKERS))
    report: bool = config_lib.field(True, "write report.html at the end")
    distributed: str = config_lib.field(
        "auto",
        "start jax.distributed: auto does in a Slurm step of several tasks, under launch.run with several processes, "
        "or where JAX_COORDINATOR_ADDRESS is set",
        choices=("auto", "always", "never"),
    )
    max_seconds: float | None = config_lib.field(
        None,
        "after so long stop at the next checkpoint, with exit code 75: the same command goes on; a second call in a "
        "row that comes to none fails",
        exclusive_minimum=0.0,
    )
    debug: bool = config_lib.field(False, "show a traceback for every error")


def run(
    main: Callable[[Any, Run], dict | None],
    config_class: type,
    argv: Sequence[str] | None = None,
    *,
    transient: bool | Callable[[Any], bool] = False,
) -> NoReturn:
    """Runs a verb and exits the process.

    Args:
      main: the verb; errors that it raises as ValueError or OSError become one line for the user.
      config_class: its flags, a frozen dataclass of `config.field`s.
      argv: the command line, `sys.argv` by default.
      transient: for a verb that only looks, or writes what it is asked for elsewhere: it runs every time, and leaves
        nothing unless `--run_dir` is given. A function of the flags may say so.
    """
    from common import processes

    reports = os.environ.pop(EXIT_CODES, None)  # what this process starts does not speak for it
    _tell_launcher(reports, ".began", "")
    code: int | str | None
    try:
        code = _run(main, config_class, list(sys.argv if argv is None else argv), transient)
    except SystemExit as stop:
        code = stop.code
    except KeyboardInterrupt:
        _tell_launcher(reports, "", "130\n")
        raise
    except Exception as error:
        if processes.is_single_process():
            _tell_launcher(reports, "", "1\n")
            raise
        traceback.print_exc()
        code = EXIT_LOST_PEER if processes.is_loss_of_peer(error) else 1
    _leave(code, reports)


def _leave(code: int | str | None, reports: str | None) -> NoReturn:
    """Ends the process. One of several that fails does not wait for the others, which may wait for it."""
    from common import processes

    number = 0 if code is None else code if isinstance(code, int) else 1
    _tell_launcher(reports, "", f"{number}\n")
    if number not in (0, EXIT_PREEMPTED) and not processes.is_single_process():
        if isinstance(code, str):
            print(code, file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(number)
    sys.exit(code)


def _tell_launcher(folder: str | None, suffix: str, text: str) -> None:
    if folder:
        rank = os.environ.get("SLURM_PROCID") or os.environ.get("JAX_PROCESS_ID") or "0"
        with contextlib.suppress(OSError):
            (pathlib.Path(folder) / f"{rank}{suffix}").write_text(text)


def _run(main: Callable[[Any, Run], dict | None], config_class: type, argv: list[str], transient) -> int:
    memory.keep_freed_memory()  # before JAX starts its threads
    module = sys.modules[main.__module__]
    spec = getattr(module, "__spec__", None)
    name = spec.name if spec else pathlib.Path(argv[0]).stem
    if any(argument in ("--help", "-h", "-help", "--helpshort", "--helpfull") for argument in argv[1:]):
        config_lib.print_help(_help(name, module.__doc__, config_class))
        return 0
    verb = name.removeprefix("projects.")
    if len(argv) == 2 and argv[1].startswith(CHECK):
        print(json.dumps(_check_all(pathlib.Path(argv[1].removeprefix(CHECK)), config_class, verb)))
        return 0
    try:
        config, app_config = config_lib.parse(argv, config_class, AppConfig)
        config = config_lib.validate(config)
    except config_lib.FlagError as error:
        _fail(str(error), 2)
    argv = ["python", "-m", name, *argv[1:]]
    transient = transient(config) if callable(transient) else transient
    if transient and app_config.run_dir is None:
        with tempfile.TemporaryDirectory(prefix="havel-") as folder:
            app_config = dataclasses.replace(app_config, run_dir=folder, report=False)
            return _open_and_call(main, config, app_config, verb, argv, transient, is_temporary=True)
    app_config = dataclasses.replace(app_config, overwrite=app_config.overwrite or transient)
    return _open_and_call(main, config, app_config, verb, argv, transient)


def _check_all(path: pathlib.Path, config_class: type, verb: str) -> list[dict]:
    """Returns for each command line in a JSON file its run directory and identity, or what is wrong with it."""
    answers = []
    for flags in json.loads(path.read_text()):
        try:
            config, app_config = config_lib.parse([verb, *flags], config_class, AppConfig)
            config = config_lib.validate(config)
            default = run_directory.default_path(config, verb)
            identity = config_lib.config_hash(config)
            answers.append({"run_dir": str(app_config.run_dir or default), "identity": identity, "error": None})
        except config_lib.FlagError as error:
            answers.append({"run_dir": None, "identity": None, "error": str(error)})
    return answers


def _open_and_call(
    main, config, app_config: AppConfig, verb: str, argv: Sequence[str], transient: bool, is_temporary: bool = False
) -> int:
    from common import processes

    try:
        processes.start_distributed(app_config.distributed)
    except (ValueError, RuntimeError) as error:
        _fail(f"--distributed={app_config.distributed}: {error}", 1)
    path = pathlib.Path(app_config.run_dir) if app_config.run_dir else run_directory.default_path(config, verb)

    def open_run() -> Run:
        overwrite, trackers = app_config.overwrite, app_config.trackers
        return run_directory.open_run(path, config, verb=verb, argv=argv, overwrite=overwrite, trackers=trackers)

    try:
        current = processes.open_on_every_process(open_run, path)
    except processes.PeerError as error:
        _fail(str(error), EXIT_LOST_PEER)
    except run_directory.RunTakenError as error:
        _fail(str(error), EXIT_TAKEN)
    except (ValueError, OSError) as error:
        _fail(_one_line(error), 2)
    try:
        if current.result is not None:
            _print_result(current, "finished before; --overwrite runs it again")
            return _exit_code(current.result)
        for line in current.news:
            current.log(line)
        if not transient:  # what a transient verb leaves here is no help to the next call
            current.watch(path)
        return _call(main, config, app_config, current, transient, is_temporary)
    finally:
        current.close()


def _call(main, config, app_config: AppConfig, current: Run, quiet: bool, is_temporary: bool) -> int:
    from common import processes

    use_compilation_cache()
    is_over = threading.Event()
    try:
        device = provenance.device()
        current.note(device=device)
        if not quiet:
            current.log(f"device: {device}\nrun directory: {current.path}")
        with _stopping(app_config.max_seconds, current, is_over):
            result = main(config, current)
        result = current.finish(result)
    except Preempted as stop:
        current.stop("interrupted")
        code = _stopped(str(stop), app_config, current, is_over.is_set(), is_temporary)
        with contextlib.suppress(Exception):  # one that is lost meanwhile changes nothing: the checkpoint is whole
            processes.wait_for_all("stopped")  # whoever leaves first may take the others with it
        return code
    except KeyboardInterrupt:
        current.stop("interrupted")
        current.log(f"interrupted; {_how_it_goes_on(current, app_config)}")
        return 130
    except Exception as error:
        if processes.is_loss_of_peer(error):
            current.stop("interrupted")
            _print_error(f"another process of this run went away ({_one_line(error)[:300]})")
            return EXIT_LOST_PEER
        current.stop("failed")
        return _report_error(error, app_config, current)
    if current.is_main:
        _print_result(dataclasses.replace(current, result=result), "")
        if app_config.report:
            _write_report(current)
        for line in (result or {}).get("unmet", ()):
            _print_error(f"not met: {line}")
    return _exit_code(result)


def _stopped(text: str, app_config: AppConfig, current: Run, is_over: bool, is_temporary: bool) -> int:
    """Says why a run was stopped and how it goes on; returns its exit code.

    The first call that comes to nothing may have compiled its programs for the next one. A second in a row would be
    followed by a third: it is a failure, as is the first where nothing remembers it.
    """
    if is_over:
        text = text.replace("SIGTERM", f"--max_seconds={app_config.max_seconds:g} are over", 1)
    current.log(f"{text}; {_how_it_goes_on(current, app_config)}")
    idle = 0 if current.has_progressed() else 1 + current.meta().get(run_directory.IDLE, 0)
    current.note(**{run_directory.IDLE: idle})
    if not is_over or not current.is_main or idle < (1 if is_temporary else 2):
        return EXIT_PREEMPTED
    _print_error(
        f"--max_seconds={app_config.max_seconds:g}: {'this call' if idle == 1 else f'{idle} calls in a row'} came to "
        "nothing that another could go on from; give more seconds than it takes to the first checkpoint"
    )
    return 1


def _how_it_goes_on(current: Run, app_config: AppConfig) -> str:
    if not current.has_progressed():
        return "this call has written nothing to go on from: the same command begins where it began"
    return f"the same command{', without --overwrite,' if app_config.overwrite else ''} goes on from here"


@contextlib.contextmanager
def _stopping(seconds: float | None, current: Run, is_over: threading.Event) -> Iterator[None]:
    """Makes SIGTERM end a verb that does not look out for it, and sends it after so many seconds, which sets `is_over`.

    A loop with checkpoints takes the signal while it runs, and stops behind its next one. Of several processes JAX
    takes it; they agree on a step.
    """
    from common import processes

    def stop(number, frame):
        raise Preempted("SIGTERM: stopped at once")

    def send():
        os.kill(os.getpid(), signal.SIGTERM)

    def send_again(unraisable, show=sys.unraisablehook):
        """What is raised while Python collects garbage, say, is dropped, and the verb would go on."""
        if isinstance(unraisable.exc_value, Preempted):
            timers.append(_timer(0.1, send))
            timers[-1].start()
        else:
            show(unraisable)

    def end():
        is_over.set()
        send()

    timers = [_timer(seconds or 0.0, end)]
    takes_signals = processes.is_single_process() and threading.current_thread() is threading.main_thread()
    if takes_signals:
        previous, hook = signal.signal(signal.SIGTERM, stop), sys.unraisablehook
        sys.unraisablehook = send_again
    try:
        if seconds is not None and current.is_main:
            timers[0].start()
        yield
    finally:
        for timer in timers:
            timer.cancel()
        if takes_signals:
            signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)
            sys.unraisablehook = hook


def _timer(seconds: float, function: Callable[[], None]) -> threading.Timer:
    timer = threading.Timer(seconds, function)
    timer.daemon = True
    return timer


def _exit_code(result: dict | None) -> int:
    return EXIT_UNMET if (result or {}).get("unmet") else 0


def _report_error(error: Exception, app_config: AppConfig, current: Run) -> int:
    """Expected errors in one line, their traceback beside the run; a defect with its traceback."""
    if isinstance(error, run_directory.RunTakenError):  # a part of this run is another process's: later, not never
        _print_error(_one_line(error))
        return EXIT_TAKEN
    text = "".join(traceback.format_exception(error))
    if app_config.debug or not isinstance(error, (ValueError, OSError)):
        print(text, file=sys.stderr, end="", flush=True)
        return 1
    try:
        (current.path / "error.txt").write_text(text)
    except OSError:
        pass
    _print_error(_one_line(error) + " (--debug shows where)")
    return 1


def _write_report(current: Run) -> None:
    try:
        from common.publishing import report

        path = report.write([current.path])
    except Exception as error:  # a report that fails must not make a finished run look failed
        current.log(f"no report: {_one_line(error)}; python -m common.publishing.report {current.path} tries again")
    else:
        current.log(f"report: {path}")


def _print_result(current: Run, note: str) -> None:
    for name, value in files.flatten(current.result or {}).items():
        text = f"{value:.6g}" if isinstance(value, float) else str(value)
        print(f"{name} = {text if len(text) <= 200 else text[:197] + '...'}")
    sys.stdout.flush()
    if note:
        metrics.log(f"run directory: {current.path} ({note})")


def _help(name: str, docstring: str | None, config_class: type) -> str:
    parts = [f"python -m {name} [--flag=value ...]", (docstring or "").strip(), "Flags:"]
    parts += [config_lib.help_text(config_class), "Flags of every verb:", config_lib.help_text(AppConfig)]
    parts += ["  --flagfile\n      reads flags from a file, one a line; a flag given later wins"]
    return "\n\n".join(part for part in parts if part)


def _one_line(error: BaseException) -> str:
    if isinstance(error, FileNotFoundError) and error.filename and error.strerror:
        return f"{error.filename}: no such file or directory"
    if isinstance(error, OSError) and error.filename and error.strerror:
        return f"{error.filename}: {error.strerror}"
    return " ".join(str(error).split()) or type(error).__name__


def _print_error(text: str) -> None:
    print(f"error: {text}", file=sys.stderr, flush=True)


def _fail(text: str, code: int) -> NoReturn:
    _print_error(text)
    sys.exit(code)


def cache_directory() -> pathlib.Path:
    """Returns where compiled programs are kept between runs."""
    base = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    return pathlib.Path(base) / "havel" / "jax"


def use_compilation_cache() -> None:
    """Lets JAX keep every compiled program on disk, however quickly it compiled; call it before the first one.

    `JAX_COMPILATION_CACHE_DIR` in the environment decides when it is set.
    """
    import jax

    if not os.environ.get("JAX_COMPILATION_CACHE_DIR"):
        jax.config.update("jax_compilation_cache_dir", str(cache_directory()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
