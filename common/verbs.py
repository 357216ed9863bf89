"""What can be run: `python -m projects` lists the systems, `python -m projects.NAME` the verbs and settings of one.

Nothing is imported for it: a verb is a module that ends in `if __name__ == "__main__"`; its first line says its job.
"""

import ast
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
    if unknown:
        verb = f"{package}.train" if "." in package else f"{package}.NAME.VERB"
        print(
            f"error: {package} is no verb and takes no {unknown[0]!r}; name one, as in python -m {verb}",
            file=sys.stderr,
        )
        return 2
    names = verbs(folder)
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
