"""The house rules that a machine can hold: who imports whom, names that stay out, sizes, paths, pins and reasons."""

import ast
import importlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tokenize
import tomllib

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
ROOMS = ("kernels", "common", "projects", "launch")
SHIPPED = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())
LARGEST_FILE = 500

# Removed and legacy JAX names, with what to write instead.
LEGACY_NAMES = {
    r"\bjax\.tree_(map|leaves|flatten|unflatten|structure|util\.tree_map)\b": "jax.tree.map and its family",
    r"\bPRNGKey\b": "jax.random.key",
    r"\b(jax|api)\.pmap\b|\bpmap\(": "jax.shard_map over jax.make_mesh",
    r"\bjax\.experimental\.(maps|pjit|host_callback|shard_map)\b|\bhost_callback\b": "jax.shard_map, jax.jit",
    r"from jax\.experimental import [^\n]*\b(maps|pjit|host_callback|shard_map)\b": "jax.shard_map, jax.jit",
    r"^\s*with (\w+\.)?mesh:": "shardings passed to jax.jit, or jax.set_mesh",
    r"\bjax\.linear_util\b|\bjax\.abstract_arrays\b|\bjax\.xla_computation\b|\bxmap\(": "nothing: removed from JAX",
}

# Whatever runs code from a file that somebody may have sent.
UNPICKLING = (
    r"allow_pickle\s*=\s*True|torch\.load\b|"
    r"\b(c?pickle|dill|cloudpickle|joblib|marshal|shelve)\.(load|loads|Unpickler|open)\b"
)

# Paths of one machine, and the folder that only .ci/run may name.
MACHINE_PATHS = r"""(?<![\w.])/(home|Users|root|work|tmp|mnt|media|opt|usr|var)/|\.\./shared\b"""


def code_of(path: pathlib.Path) -> str:
    """The file's text without comments, line numbers kept: prose may name what code may not."""
    lines = path.read_text().splitlines(keepends=True)
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                row, column = token.start
                lines[row - 1] = lines[row - 1][:column] + "\n"
    return "".join(lines)


def findings(pattern: str, text: str, path: pathlib.Path) -> list[str]:
    """Places of a pattern as 'file:line: text'."""
    return [
        f"{path.relative_to(ROOT) if path.is_relative_to(ROOT) else path}:{text.count(chr(10), 0, match.start()) + 1}: "
        f"{match.group().strip()}"
        for match in re.finditer(pattern, text, re.MULTILINE)
    ]


def run_tool(*command: str) -> subprocess.CompletedProcess:
    """Runs a tool of this environment from the repository root."""
    return subprocess.run(
        [str(part) for part in command], cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.parametrize("pattern", LEGACY_NAMES)
def test_no_legacy_jax_names(pattern):
    actual = [place for path in SHIPPED for place in findings(pattern, code_of(path), path)]
    assert not actual, f"use {LEGACY_NAMES[pattern]}:\n" + "\n".join(actual)


@pytest.mark.parametrize(
    ("line", "caught"),
    [
        ("x = jax.tree_map(f, y)", True),
        ("x = jax.tree.map(f, y)", False),
        ("key = jax.random.PRNGKey(0)", True),
        ("key = jax.random.key(0)", False),
        ("f = jax.pmap(g)", True),
        ("from jax.experimental import host_callback", True),
        ("from jax.experimental import multihost_utils", False),
        ("from jax.experimental.shard_map import shard_map", True),
        ("    with self.mesh:", True),
        ("    with mesh:", True),
        ("with open_mesh(x) as y:", False),
    ],
)
def test_the_legacy_patterns_catch_what_they_should(line, caught):
    assert any(re.search(pattern, line, re.MULTILINE) for pattern in LEGACY_NAMES) == caught


def test_nothing_unpickles():
    actual = [place for path in SHIPPED for place in findings(UNPICKLING, code_of(path), path)]
    assert not actual, "read .npz with allow_pickle=False, or safetensors:\n" + "\n".join(actual)
    for line in ("np.load(p, allow_pickle=True)", "pickle.load(f)", "torch.load(p)", "joblib.load(p)"):
        assert re.search(UNPICKLING, line)


def test_every_numpy_load_forbids_pickle():
    """NumPy's default forbids it today; stating it keeps that true whatever the default becomes."""
    actual = []
    for path in SHIPPED:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in ("np.load", "numpy.load"):
                stated = [k for k in node.keywords if k.arg == "allow_pickle" and ast.unparse(k.value) == "False"]
                if not stated:
                    actual.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not actual, "np.load without allow_pickle=False:\n" + "\n".join(actual)


def test_no_machine_paths():
    settings = [path for room in ROOMS for path in (ROOT / room).rglob("*.flags")]
    texts = [(path, code_of(path)) for path in SHIPPED] + [(path, path.read_text()) for path in settings]
    texts += [(ROOT / name, (ROOT / name).read_text()) for name in ("Makefile", "pyproject.toml")]
    actual = [place for path, text in texts for place in findings(MACHINE_PATHS, text, path)]
    assert not actual, "data is found through $DATA_DIR, results through --run_dir:\n" + "\n".join(actual)
    for line in ('open("/home/ann/data")', 'p = "../shared/data"', "'/work/x'"):
        assert re.search(MACHINE_PATHS, line)
    for line in ("https://example.org/home/x", "a / work / b", 'p = "runs/tmp/x"'):
        assert not re.search(MACHINE_PATHS, line)


def test_only_ci_knows_the_folder_beside_the_checkout():
    kinds = {".py", ".md", ".toml", ".txt", ".in", ".flags", ".json", ".cff", ".yml", ".yaml", ".sh"}
    hidden = {".git", ".venv", ".venv-peers", "runs", "build", "dist"}
    checked = [
        path
        for path in ROOT.rglob("*")
        if not hidden & set(path.relative_to(ROOT).parts)
        and (path.suffix in kinds or path.name == "Makefile")
        and path != pathlib.Path(__file__).resolve()
    ]
    beside = re.compile(r"\.\./shared\b|/shared/data")
    actual = [str(path.relative_to(ROOT)) for path in checked if beside.search(path.read_text())]
    assert len(checked) > 20 and not actual, f"only .ci/run may name that folder, everything else $DATA_DIR: {actual}"
    assert "../shared/data" in (ROOT / ".ci" / "run").read_text() and os.access(ROOT / ".ci" / "run", os.X_OK)


def test_pages_name_no_document_that_is_not_here():
    """A reader has this repository only."""
    elsewhere = re.compile(
        r"\b(the|shared) (specification|design)\b|\b(HOUSE|STYLE|MEASURED|PEERS)\.md|paper sheet", re.IGNORECASE
    )
    pages = [path for room in (*ROOMS, "tests") for kind in ("*.py", "*.md") for path in (ROOT / room).rglob(kind)]
    texts = [
        (path, path.read_text()) for path in (*pages, *ROOT.glob("*.md")) if path != pathlib.Path(__file__).resolve()
    ]
    places = [place for path, text in texts for place in findings(elsewhere.pattern, text, path)]
    assert len(pages) > 100 and not places, "say it here, or name the paper:\n" + "\n".join(places)


def test_no_file_is_two_files():
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for path in SHIPPED}
    long = {str(path): length for path, length in lengths.items() if length > LARGEST_FILE}
    assert lengths and not long, f"more than {LARGEST_FILE} lines is two files: {long}"


def test_the_front_page_counts_the_systems():
    words = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen".split()
    count = len([path for path in (ROOT / "projects").glob("*/README.md")])
    first = next(line for line in (ROOT / "README.md").read_text().splitlines() if "published systems" in line)
    assert first.startswith(f"{words[count].capitalize()} published systems")
    assert f"{words[count]} run, {words[15 - count]} more are planned" in (ROOT / "WORKSPACE.md").read_text()


def test_every_setting_says_what_it_costs():
    actual = [
        str(path.relative_to(ROOT))
        for path in sorted(ROOT.glob("projects/*/flags/*.flags"))
        if not path.read_text().lstrip().startswith("#")
    ]
    assert not actual, f"a .flags file opens with a comment, its cost and what to expect: {actual}"


def imported_modules(path: pathlib.Path) -> set[str]:
    """Absolute modules that a file imports anywhere, inside functions too."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", [p for p in SHIPPED if p.is_relative_to(ROOT / "kernels")], ids=lambda p: p.stem)
def test_kernels_import_relatively(path):
    """The wheel ships this folder as havel.kernels: an absolute `kernels.x` would not be there."""
    absent = {*ROOMS, "tests", "havel"}
    ours = sorted(name for name in imported_modules(path) if name.split(".")[0] in absent)
    assert not ours, f"write `from . import x` in {path.relative_to(ROOT)} instead of {ours}"


def test_import_contracts_hold():
    result = run_tool(pathlib.Path(sys.executable).parent / "lint-imports", "--no-cache")
    assert result.returncode == 0, result.stdout + result.stderr
    assert re.search(r"Contracts: [1-9]\d* kept, 0 broken", result.stdout), result.stdout


def test_import_contracts_name_every_room():
    rooms = [room for room in ROOMS if any((ROOT / room).glob("*.py"))]
    assert sorted(CONFIG["tool"]["importlinter"]["root_packages"]) == sorted(rooms)
    for room in rooms:
        assert (ROOT / room / "__init__.py").exists(), f"{room}/__init__.py is missing: the contracts would not see it"


def folders_that_contracts_miss(root: pathlib.Path) -> list[str]:
    """Folders with modules and without `__init__.py`: import-linter does not look into these."""
    folders = {path.parent for room in ROOMS for path in (root / room).rglob("*.py")}
    return sorted(str(folder.relative_to(root)) for folder in folders if not (folder / "__init__.py").exists())


def test_import_contracts_see_every_folder(tmp_path):
    missed = folders_that_contracts_miss(ROOT)
    assert not missed, f"the import contracts pass over folders without __init__.py: {missed}"
    (tmp_path / "projects" / "three").mkdir(parents=True)
    (tmp_path / "projects" / "__init__.py").write_text("")
    (tmp_path / "projects" / "three" / "wrong.py").write_text("import projects.one\n")
    assert folders_that_contracts_miss(tmp_path) == ["projects/three"]


def test_import_contracts_can_break(tmp_path):
    """The same contracts over a copy in which a kernel imports Flax, a project another one, and launch the tests."""
    for room in CONFIG["tool"]["importlinter"]["root_packages"]:
        (tmp_path / room).mkdir()
        (tmp_path / room / "__init__.py").write_text("")
    (tmp_path / "common" / "runs").mkdir()
    (tmp_path / "common" / "runs" / "__init__.py").write_text("")
    (tmp_path / "common" / "app.py").write_text("")
    (tmp_path / "common" / "runs" / "wrong.py").write_text("import common.app\n")
    for name in ("one", "two"):
        (tmp_path / "projects" / name).mkdir()
        (tmp_path / "projects" / name / "__init__.py").write_text("")
    (tmp_path / "kernels" / "wrong.py").write_text("def late():\n    import flax.nnx\n")
    (tmp_path / "common" / "wrong.py").write_text("import projects.one\n")
    (tmp_path / "projects" / "one" / "wrong.py").write_text("import projects.two\n")
    (tmp_path / "launch" / "wrong.py").write_text("def late():\n    from tests.peers import x\n")
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    result = subprocess.run(
        [str(pathlib.Path(sys.executable).parent / "lint-imports"), "--no-cache"],
        cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False,
        env={key: value for key, value in os.environ.items() if key != "PYTHONPATH"},
    )  # fmt: skip
    assert result.returncode != 0
    assert "Contracts: 0 kept, 5 broken" in result.stdout, result.stdout


def test_ruff_is_clean():
    result = run_tool(sys.executable, "-m", "ruff", "check", "--no-cache", ".")
    assert result.returncode == 0, result.stdout + result.stderr


def test_importing_the_kernels_stays_light():
    """`import kernels` and its rooms bring neither the compiler nor JAX's heavy parts before they are used."""
    program = "import sys; from kernels import entropy_coding; print('numba' in sys.modules, 'flax' in sys.modules)"
    result = run_tool(sys.executable, "-c", program)
    assert result.stdout.split() == ["False", "False"], result.stdout + result.stderr


@pytest.fixture
def bare_checkout(tmp_path):
    """A folder with what make needs to know and nothing set up."""
    (tmp_path / "tests" / "peers").mkdir(parents=True)
    for name in ("Makefile", "requirements.txt"):
        shutil.copy(ROOT / name, tmp_path)
    for path in (ROOT / "tests" / "peers").glob("requirements-*.txt"):
        shutil.copy(path, tmp_path / "tests" / "peers")
    return tmp_path


def make(folder, *arguments) -> subprocess.CompletedProcess:
    """Runs make as a user would, outside of any make that runs this test."""
    clean = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MAKELEVEL", "PYTHON", "CUDA")}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=clean, capture_output=True, text=True, timeout=60, check=False
    )


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="no make on this machine")


@needs_make
@pytest.mark.parametrize("target", ["setup", "demo", "test", "test-all", "bench", "peers", "lint"])
def test_each_target_sets_up_what_it_needs(bare_checkout, target):
    planned = make(bare_checkout, "--dry-run", target)
    assert planned.returncode == 0, planned.stderr
    assert "-r requirements.txt" in planned.stdout
    checksum = subprocess.run("cksum < requirements.txt", cwd=bare_checkout, shell=True, capture_output=True, text=True)
    (bare_checkout / ".venv").mkdir()
    (bare_checkout / ".venv" / (".ready-" + "-".join(checksum.stdout.split()))).touch()
    assert "-r requirements.txt" not in make(bare_checkout, "--dry-run", target).stdout
    with (bare_checkout / "requirements.txt").open("a") as file:
        file.write("another==1.0\n")
    assert "-r requirements.txt" in make(bare_checkout, "--dry-run", target).stdout, "changed pins install again"


@needs_make
def test_setup_names_the_python_it_needs(bare_checkout):
    old = bare_checkout / "python-of-old"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    result = make(bare_checkout, "setup", f"PYTHON={old}")
    assert result.returncode != 0 and "needs Python 3.11 or newer" in result.stderr
    assert not (bare_checkout / ".venv").exists()


def pinned() -> dict[str, list[str]]:
    """Lines of requirements.txt by package."""
    lines = [line.strip() for line in (ROOT / "requirements.txt").read_text().splitlines()]
    lines = [line for line in lines if line and not line.startswith("#")]
    return {
        name: [line for line in lines if re.match(re.escape(name) + r"\b", line)]
        for name in {re.match(r"[\w.-]+", line).group() for line in lines}
    }


def test_requirements_are_exact_pins():
    for lines in pinned().values():
        for line in lines:
            assert re.fullmatch(r"[\w.-]+==[\w.]+( ; [^;]+)?", line), f"not an exact pin: {line!r}"


def test_direct_dependencies_are_pinned_and_explained():
    """WORKSPACE.md gives a reason for each package of requirements.in."""
    workspace = (ROOT / "WORKSPACE.md").read_text()
    for line in (ROOT / "requirements.in").read_text().splitlines():
        name = re.match(r"[\w-]*", line).group()
        if name:
            assert name in pinned(), f"{name} is not pinned: make lock"
            assert f"`{name}`" in workspace, f"WORKSPACE.md gives no reason for `{name}`"


def test_this_environment_has_the_pins():
    """What the tests run on is what requirements.txt promises."""
    from importlib.metadata import version

    for name in ("jax", "flax", "numba", "numpy"):
        old_python = sys.version_info < (3, 12)
        lines = [line for line in pinned()[name] if ";" not in line or ("< '3.12'" in line) == old_python]
        assert [line.split("==")[1].split(" ")[0] for line in lines] == [version(name)]


def test_peers_are_no_dependency():
    peers = ("nncodec", "constriction", "torch", "tensorflow", "sionna")
    assert not [name for name in pinned() if name in peers]
    actual = [f"{path.relative_to(ROOT)}: {name}" for path in SHIPPED for name in imported_modules(path)
             if name.split(".")[0] in peers]  # fmt: skip
    assert not actual, f"peers are reached through kernels/peers.py only: {actual}"


def test_every_shipped_module_imports():
    """Each module can be imported on a machine that has the pins only."""
    for path in SHIPPED:
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] not in ("__init__", "__main__"):
            importlib.import_module(".".join(parts))
