"""What the README pages show runs: every Python block, as it stands; every command has the flags and files it names.

Blocks of `havel.kernels` run from the installed wheel, in one process; the others here, with what they take from their
surroundings. Those of Equinox and Haiku run in their own environment (tests/peers/test_public_networks_live.py).
"""

import ast
import importlib
import json
import pathlib
import re
import shlex

import jax
import numpy as np
import pytest
from flax import linen, nnx

from common import app, config
from launch import submit, sweep
from launch import verbs as launch_verbs
from tests import wheel as wheels

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted([ROOT / "README.md", ROOT / "WORKSPACE.md", *ROOT.glob("*/**/README.md")])
    if path.relative_to(ROOT).parts[0]
    in ("README.md", "WORKSPACE.md", "kernels", "common", "projects", "launch", "tests")
}
BLOCKS = {page: re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE) for page, text in PAGES.items()}
ELSEWHERE = (
    "import equinox",
    "import haiku",
    "from equimo",
    "from flaxmodels",
    "from jimm",
)  # run by tests/peers/networks_server.py


def blocks_of(page: str, *, wheel: bool = False) -> list[str]:
    """The blocks of a page that run from the wheel, or those that run here."""
    return [block for block in BLOCKS[page] if ("havel.kernels" in block) == wheel and not block.startswith(ELSEWHERE)]


def run_block(block: str, page: str, **surroundings) -> dict:
    """The names that a block leaves."""
    names = dict(surroundings)
    exec(compile(block, page, "exec"), names)  # noqa: S102 (the page's own code)
    return names


RUN_ALL = """
import json, sys
import numpy as np
for block in json.load(sys.stdin):
    names = {}
    exec(compile(block, "README.md", "exec"), names)
    if "tree" in names:
        assert np.asarray(names["tree"]["fc"]["kernel"]).shape == (784, 300) and len(names["data"]) < 784 * 300
    if "spins" in names:
        assert names["spins"].shape == (100, 8, 8) and np.isfinite(names["log_q"]).all()
    if "relevance" in names:
        assert np.ptp(names["relevance"], axis=1).min() > 0.01 * np.abs(names["relevance"]).max()
print("ran to the end")
"""


def test_blocks_of_the_front_page_run_from_the_wheel(installed, tmp_path):
    blocks = [block for page in BLOCKS for block in blocks_of(page, wheel=True)]
    assert len(blocks) >= 4
    for block in blocks:
        assert len([line for line in block.splitlines() if line.strip()]) <= 7, block
    assert "ran to the end" in wheels.run(installed, "-c", RUN_ALL, cwd=tmp_path, text=json.dumps(blocks))


class Network(nnx.Module):
    """Two dense layers without biases."""

    def __init__(self, params):
        self.first, self.second = nnx.Param(params["first"]), nnx.Param(params["second"])

    def __call__(self, x):
        return jax.nn.relu(x.reshape(len(x), -1) @ self.first[...]) @ self.second[...]


class Module(linen.Module):
    """The same."""

    @linen.compact
    def __call__(self, x):
        x = jax.nn.relu(linen.Dense(8, use_bias=False, name="first")(x.reshape(len(x), -1)))
        return linen.Dense(3, use_bias=False, name="second")(x)


def test_a_function_an_nnx_and_a_linen_module_are_explained_alike():
    page = "projects/attribution/README.md"
    draw = np.random.default_rng(0)
    params = {"first": draw.normal(size=(48, 8)).astype("f"), "second": draw.normal(size=(8, 3)).astype("f")}
    surroundings = {
        "params": params, "network": Network(params), "module": Module(),
        "variables": {"params": {name: {"kernel": kernel} for name, kernel in params.items()}},
        "images": draw.normal(size=(2, 4, 4, 3)).astype("f"),
    }  # fmt: skip
    results = [run_block(block, page, **surroundings) for block in blocks_of(page)]
    assert len(results) == 3 and len(BLOCKS[page]) == 8
    expected = np.asarray(results[0]["relevance"])
    assert results[0]["picture"].shape == (4, 4, 3) and results[0]["picture"].dtype == np.uint8
    assert np.ptp(expected[0]) > 0.1 * np.abs(expected[0]).max() and expected.shape == (2, 4, 4, 3)
    for other in results[1:]:
        np.testing.assert_allclose(other["relevance"], expected, rtol=1e-5, atol=1e-6)


def test_an_energy_of_ones_own_is_solved():
    """Against enumeration, within 6 sigma."""
    from kernels import ising

    (block,) = blocks_of("projects/van/README.md")
    names = run_block(block, "projects/van/README.md")
    (solution,) = [value for value in names.values() if hasattr(value, "corrected")]
    exact = ising.brute_force(lambda s: np.asarray(names["energy"](s.reshape(-1, 3, 4).astype(np.float32))), 12, 0.5)
    corrected = solution.corrected
    assert abs(corrected.ln_z - exact.ln_z) < 6 * corrected.ln_z_err
    assert abs(corrected.mean["u"] - exact.u) < 6 * corrected.err["u"] and corrected.ess > 0.3


def test_a_classifier_of_scikit_learn_is_attacked():
    (block,) = blocks_of("projects/levy_attack/README.md")
    names = run_block(block.replace("budget=2000", "budget=300"), "projects/levy_attack/README.md")
    result = names["result"]
    assert np.all(names["classifier"].predict(result.x_adv) != names["labels"])
    assert np.all(result.queries == 300) and set(result.status) == {"budget"}
    assert np.all(result.x_adv >= 0) and np.all(result.x_adv <= 1)


def test_a_stream_gives_the_numbers_of_arrays():
    names: dict = {}
    for block in blocks_of("common/datasets/README.md"):
        names |= run_block(block, "common/datasets/README.md", **names)
    assert np.abs(np.asarray(names["weights"]) - [1, -2, 3, 0.5]).max() < 0.05


def test_clients_learn_and_a_compressor_of_ones_own_is_taken():
    page = "common/federated/README.md"
    simulation, compressor = (run_block(block, page) for block in blocks_of(page))
    assert [point.rounds for point in simulation["result"].curve] == [50, 100, 150, 200]
    assert simulation["result"].curve[-1].accuracy > 0.8
    values = np.random.default_rng(0).normal(size=100).astype(np.float32)
    message = compressor["method"].up.encode(values, jax.random.key(0))
    assert compressor["method"].up.count(message) == 832
    assert np.abs(compressor["method"].up.decode(message) - values).max() < np.abs(values).max() / 250


def test_every_python_block_is_run_somewhere():
    server = (ROOT / "tests" / "peers" / "networks_server.py").read_text()
    run_here = {
        "README.md",
        "projects/attribution/README.md",
        "projects/van/README.md",
        "projects/levy_attack/README.md",
        "common/datasets/README.md",
        "common/federated/README.md",
        "projects/eharq/README.md",  # by tests/projects/eharq/test_pages.py
        "projects/spray/README.md",  # and the next: by tests/projects/spray/test_pages.py
        "projects/spray/pipelines/README.md",
    }
    assert {page for page, blocks in BLOCKS.items() if blocks} == run_here
    for page, blocks in BLOCKS.items():
        for block in blocks:
            compile(block, page, "exec")
            if block.startswith(ELSEWHERE):
                assert "projects" in page and re.match(r"(?:import|from) (\w+)", block)[1] in server


def commands_of(text: str) -> list[list[str]]:
    """Command lines of Python modules in the blocks and in the inline code of a page, as words after `python -m`."""
    lines = [
        line.strip()
        for block in re.findall(r"^```(?:bash)?\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
        for line in block.replace("\\\n", " ").splitlines()
    ]
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    lines += [f"{code} ..." for code in re.findall(r"`(python -m [^`]+)`", text)]  # in running text: not all of it
    return [shlex.split(line, comments=True)[2:] for line in lines if line.startswith("python -m ")]


COMMANDS = sorted(
    {(page, tuple(words)) for page, text in PAGES.items() for words in commands_of(text) if "<" not in " ".join(words)}
)
PLACEHOLDERS = re.compile(r"^\.\.\.$|=\.\.\.$|^\[|\]$|^[A-Z_]+(\.\.\.)?$")


def config_of(module: str) -> type:
    """The flags of a verb: the second argument of its `app.run`."""
    source = (ROOT / pathlib.Path(*module.split(".")).with_suffix(".py")).read_text(encoding="utf-8")
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    (call,) = [node for node in calls if ast.unparse(node.func) == "app.run"]
    return eval(ast.unparse(call.args[1]), vars(importlib.import_module(module)))  # noqa: S307 (our own source)


def check(words) -> None:
    """Raises where a command line names a module, a flag, a value or a flag file that is not there."""
    module, *arguments = [word for word in words if not PLACEHOLDERS.search(word) and word != "--help"]
    if module == "launch.run" and arguments and arguments[0] in launch_verbs.VERBS:
        config.parse([module, *(word for word in arguments[1:] if word.startswith("-"))], launch_verbs.VerbConfig)
    elif module == "launch.run":
        own = arguments[: arguments.index("--")] if "--" in arguments else arguments
        (options,) = config.parse([module, *own], submit.LaunchConfig)
        verb = arguments[len(own) + 1 :]
        if verb and "NAME" not in verb[0]:
            names = list(sweep.parse_grid(options.sweep)[0]) if options.sweep else []
            check([*verb, *(f"--{name}={sweep.parse_grid(options.sweep)[0][name]}" for name in names)])
    elif "NAME" in module:
        return
    elif module.startswith("projects") and (ROOT.joinpath(*module.split(".")).with_suffix(".py")).exists():
        try:
            config.parse([module, *arguments], config_of(module), app.AppConfig)
        except config.FlagError as error:
            if "..." not in " ".join(words) or "is required" not in str(error):
                raise
    else:
        folder = ROOT.joinpath(*module.split("."))
        path = folder.with_suffix(".py") if folder.with_suffix(".py").exists() else folder / "__main__.py"
        source = path.read_text(encoding="utf-8")
        for word in arguments:
            if word.startswith("--"):
                assert f'"{word.split("=")[0]}"' in source, f"{module} has no {word}"


@pytest.mark.parametrize(
    ("page", "words"), COMMANDS, ids=[f"{page}:{' '.join(words)[:60]}" for page, words in COMMANDS]
)
def test_a_command_has_the_flags_and_files_it_names(page, words, monkeypatch):
    monkeypatch.chdir(ROOT)
    check(words)


@pytest.mark.parametrize(
    "words",
    [
        "projects.van.train --no_such_flag=1", "projects.van.train --flagfile=projects/van/flags/absent.flags",
        "projects.van.no_such_verb --seed=1", "projects.van.train --system=square --beta=hot",
        "launch.run --sweep=no_such_flag=1,2 -- projects.van.train",
        "launch.run --no_such_flag=1 -- projects.van.train",
        "common.datasets --no_such_flag", "projects.deepcabac.compress --step=0.1",
    ],
)  # fmt: skip
def test_a_command_that_cannot_work_is_noticed(words, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises((config.FlagError, OSError, AssertionError)):
        check(words.split())


def test_every_flag_in_the_text_of_a_project_is_one():
    """Inline code such as `--tolerance` on the page of a project is a flag of one of its verbs, or of every verb."""
    for page, text in PAGES.items():
        if not page.startswith("projects/"):
            continue
        names = set(config.fields(app.AppConfig)) | {"flagfile", "help"}
        for path in sorted((ROOT / page).parent.glob("*.py")):
            if "app.run(" in path.read_text(encoding="utf-8"):
                names |= set(config.fields(config_of(".".join(path.relative_to(ROOT).with_suffix("").parts))))
        text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
        code = [code for code in re.findall(r"`([^`]+)`", text) if not code.startswith(("make ", "python -m "))]
        flags = {flag for part in code for flag in re.findall(r"(?<![\w-])--(\w+)", part)}
        unknown = sorted(flag for flag in flags if flag not in names and flag.removeprefix("no") not in names)
        assert not unknown, f"{page} names flags that none of its verbs has: {unknown}"


def test_every_make_target_in_a_page_exists():
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for page, text in PAGES.items():
        unknown = sorted(set(re.findall(r"[`\n]make ([a-z][a-z-]*)", text)) - targets)
        assert not unknown, f"{page} names targets that the Makefile does not have: {unknown}"
