"""What can be run: `python -m projects` lists the systems, `python -m projects.NAME` the verbs and settings of one.

Nothing is imported for it: a verb is a module that ends in `if __name__ == "__main__"`; its first line says its job.
"""

import ast
import difflib
import pathlib
import sys
import textwrap
from collections.abc import Sequence

WIDTH = 100


def main(package: str, folder: pathlib.Path, arguments: Sequence[str] | None = None) -> int:
    """Prints what a package of projects, or of verbs, has to offer; returns 2 for arguments, which it has no use for.

    Args:
      package: its name, "projects" or "projects.NAME".
      folder: where it lies.
      arguments: of the command line (None: `sys.argv`'s).
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    unknown = [argument for argument in arguments if argument not in ("-h", "--help")]
    names = verbs(folder)
    if unknown:
        print(
            f"error: {package} is no verb and takes no {unknown[0]!r}; {_advice(package, folder, unknown[0])}",
            file=sys.stderr,
        )
        return 2
    print(f"{summary(folder / '__init__.py')}\n")
    for name, line in (names or projects(folder)).items():
        print(f"  python -m {package}.{name}")
        print(textwrap.fill(line, WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6))
    settings = sorted(path.name for path in (folder / "flags").glob("*.flags"))
    if settings:
        print(
            f"\nSettings: --flagfile={'/'.join(package.split('.'))}/flags/NAME, each with its cost in its first lines"
        )
        print(textwrap.fill(", ".join(settings), WIDTH, initial_indent="  ", subsequent_indent="  "))
    print(f"\n--help of {'a verb shows its flags' if names else 'each lists its verbs'}.")
    return 0


def check_module(command: Sequence[str], package: str, folder: pathlib.Path) -> None:
    """Ends the process where `python -m` was asked for a module of a package that is no verb; says which there are.

    Python itself says no more than that there is no such module, and runs one that does nothing without a word.

    Args:
      command: `sys.orig_argv`.
      package: its name, "projects"; other modules are not looked at.
      folder: where it lies.
    """
    names = [after for option, after in zip(command, command[1:], strict=False) if option == "-m"]
    top, _, rest = names[0].partition(".") if names else ("", "", "")
    if top != package or not rest:
        return
    *projects_before, name = rest.split(".")
    place = folder.joinpath(*projects_before)
    if (place / name / "__main__.py").is_file() or ((place / f"{name}.py").is_file() and _is_run(place / f"{name}.py")):
        return
    while not place.is_dir():  # of projects.vna.train the project is the mistake
        *projects_before, name = projects_before
        place = folder.joinpath(*projects_before)
    advice = _advice(".".join([package, *projects_before]), place, name)
    print(f"error: {names[0]} is no verb; {advice}", file=sys.stderr)
    sys.exit(2)


def _advice(package: str, folder: pathlib.Path, name: str) -> str:
    """Returns what was probably meant by a name in a package, and what there is."""
    names = list(verbs(folder) or projects(folder))
    near = difflib.get_close_matches(name, names, 1)
    guess = f"did you mean python -m {package}.{near[0]}? " if near else ""
    return f"{guess}{package} has {', '.join(names)}" if names else f"{package} has no verbs"


def verbs(folder: pathlib.Path) -> dict[str, str]:
    """Returns the verbs of a project with the first line of each, by name."""
    paths = sorted(path for path in folder.glob("*.py") if not path.name.startswith("_"))
    return {path.stem: summary(path) for path in paths if _is_run(path)}


def projects(folder: pathlib.Path) -> dict[str, str]:
    """Returns the projects of a folder with the first line of each, by name."""
    return {path.parent.name: summary(path) for path in sorted(folder.glob("*/__init__.py")) if verbs(path.parent)}


def summary(path: pathlib.Path) -> str:
    """Returns the first paragraph of a module's docstring in one line, "" where it has none."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(text.split("\n\n")[0].split())


def _is_run(path: pathlib.Path) -> bool:
    """Whether a module does something when it is run."""
    tests = [node.test for node in ast.parse(path.read_text(encoding="utf-8")).body if isinstance(node, ast.If)]
    return any(ast.unparse(test) == "__name__ == '__main__'" for test in tests)
