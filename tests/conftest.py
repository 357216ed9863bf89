"""What every test has: a compilation cache, the folder of real data, and slow tests that wait to be asked for."""

import errno
import importlib.metadata
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
if str(ROOT) not in sys.path:  # when pytest runs without our pyproject.toml
    sys.path.insert(0, str(ROOT))


# What shortens compiling for a CPU, by more than a half with JAX_DISABLE_MOST_OPTIMIZATIONS: one LLVM module a program,
# narrow vectors, no remarks on aliases, and the older emitter of fused loops, which jaxlib has up to 0.10.
QUICK_TO_COMPILE = (
    "--xla_cpu_parallel_codegen_split_count=1 --xla_cpu_prefer_vector_width=128 "
    "--xla_llvm_enable_alias_scope_metadata=false --xla_llvm_enable_noalias_metadata=false "
    "--xla_llvm_enable_invariant_load_metadata=false"
)
OLDER_EMITTER = "--xla_cpu_use_fusion_emitters=false"


def pytest_addoption(parser):
    parser.addoption("--run-slow", action="store_true", default=False, help="run the tests marked slow too")


def pytest_configure(config):
    # Compiling is most of the time of the quick tests, and a third of it optimises what runs once. The whole suite,
    # with the slow ones, runs what users run.
    if not _runs_slow(config):
        os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "1")
        os.environ["XLA_FLAGS"] = f"{_xla_flags()} {os.environ.get('XLA_FLAGS', '')}".strip()
    from tests.kernels import shape_checks

    shape_checks.install()
    config.addinivalue_line("markers", "slow: longer than a few seconds; run with --run-slow, -m slow or RUN_SLOW=1")
    try:
        import hypothesis
    except ImportError:
        return
    # No deadline: the first example compiles. A fixed seed: a failure seen once is seen again.
    quiet = [hypothesis.HealthCheck.too_slow, hypothesis.HealthCheck.data_too_large]
    hypothesis.settings.register_profile("house", deadline=None, derandomize=True, suppress_health_check=quiet)
    hypothesis.settings.register_profile("explore", deadline=None, suppress_health_check=quiet)
    hypothesis.settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "house"))


def _xla_flags() -> str:
    """XLA ends the process at a flag that it does not have, so only versions that were tried with them get any."""
    version = tuple(int(part) for part in importlib.metadata.version("jaxlib").split(".")[:2])
    if not (0, 10) <= version <= (0, 12):
        return ""
    return f"{QUICK_TO_COMPILE} {OLDER_EMITTER}" if version == (0, 10) else QUICK_TO_COMPILE


def _runs_slow(config) -> bool:
    is_set = config.getoption("--run-slow") or os.environ.get("RUN_SLOW", "") not in ("", "0")
    return is_set or "slow" in (config.getoption("-m") or "")


def pytest_collection_modifyitems(config, items):
    if _runs_slow(config):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="slow: run with --run-slow"))


@pytest.fixture
def unchecked():
    """What has the wrong type on purpose gets past the annotations, to the door behind them."""
    try:
        import jaxtyping
    except ImportError:
        yield
        return
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session", autouse=True)
def compilation_cache():
    """Compiled programs are kept between test runs, in this process and in those that tests start."""
    from common import app

    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(app.cache_directory()))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")
    if "jax" in sys.modules:  # it has read the environment already
        import jax

        jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    app.use_compilation_cache()


@pytest.fixture(scope="session", autouse=True)
def coarse_pictures(request):
    """In quick tests a place in the code draws its picture once a process, with few dots; then it is that file again.

    Rendering is half of what small verbs do. Pictures are composed as ever, and the slow tests render all of them.
    """
    if _runs_slow(request.config):
        yield
        return
    from common.runs import run_directory

    save, pictures = run_directory.save_figure, {}

    def save_once(figure, path):
        frame = sys._getframe()
        while frame.f_back is not None and ROOT / "projects" not in pathlib.Path(frame.f_code.co_filename).parents:
            frame = frame.f_back
        place = (frame.f_code.co_filename, frame.f_lineno)
        if place not in pictures:
            save(figure, path)
            pictures[place] = path.read_bytes()
        path.write_bytes(pictures[place])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_directory, "save_figure", save_once)
        patch.setattr(run_directory, "DOTS_PER_INCH", 40)
        yield


@pytest.fixture
def optimised():
    """Programs are optimised as users' are, also in the quick tests; XLA_FLAGS stay, as a process reads them once."""
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    if before:
        jax.clear_caches()
        jax.config.update("jax_disable_most_optimizations", False)
    yield
    if before:
        jax.config.update("jax_disable_most_optimizations", True)
        jax.clear_caches()


@pytest.fixture(scope="session")
def data_dir() -> pathlib.Path:
    """The folder of real data; the test is skipped where there is none."""
    folder = os.environ.get("DATA_DIR")
    if not folder:
        pytest.skip("needs real data: set DATA_DIR to the folder that holds mnist/, cifar10/, ...")
    if not pathlib.Path(folder).is_dir():
        pytest.skip(f"needs real data: DATA_DIR={folder} is not a folder")
    return pathlib.Path(folder)


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> pathlib.Path:
    """The built wheel; one for all processes of a test run."""
    from common import locking
    from tests import wheel as wheels

    folder = tmp_path_factory.getbasetemp()
    folder = (folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder) / "wheel"
    lock = locking.acquire(folder.with_suffix(".lock"), timeout=600)
    try:
        if not (folder / "built").exists():
            built = wheels.build(folder)
            wheels.install(built, folder / "environment")
            (folder / "built").write_text(str(built))
    finally:
        lock.release()
    return pathlib.Path((folder / "built").read_text())


@pytest.fixture(scope="session")
def installed(wheel) -> pathlib.Path:
    """The interpreter of an environment with the wheel installed."""
    return wheel.parents[2] / "environment" / "bin" / "python"


NO_FLOCK = """
#include <errno.h>
#include <stdlib.h>
int flock(int descriptor, int operation) { errno = atoi(getenv("FLOCK_ERRNO")); return -1; }
"""


@pytest.fixture(scope="session")
def without_flock(tmp_path_factory):
    """Returns a function: an error's name -> variables of a process whose flock answers so, as on some file systems."""
    compiler = shutil.which("cc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler and Linux")
    folder = tmp_path_factory.mktemp("flock")
    (folder / "flock.c").write_text(NO_FLOCK)
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "flock.so", folder / "flock.c"], check=True)
    return lambda name: {"LD_PRELOAD": str(folder / "flock.so"), "FLOCK_ERRNO": str(getattr(errno, name))}
