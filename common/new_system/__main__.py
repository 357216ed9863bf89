"""Writes `projects/NAME` and `tests/projects/NAME` from the template beside this file; their tests pass at once.

What stands there is small and real: it trains networks on the digits of scikit-learn with a penalty on weights, studies
its strength over seeds, and shows a table. Replace the method first, then the settings, then the words.
"""

import argparse
import keyword
import pathlib
import re
import string

from common.runs import provenance

TEMPLATE = pathlib.Path(__file__).parent / "template"
RESERVED = ("results", "template", "kernels", "common", "projects", "launch", "tests")
SUFFIX = ".txt"  # so that no tool takes a template for a program


def target_of(path: pathlib.PurePath, name: str) -> pathlib.PurePath:
    """Returns where a file of the template goes, relative to the repository: tests mirror the tree."""
    path = path.with_name(path.name.removesuffix(SUFFIX))
    return pathlib.PurePath("tests" if path.name.startswith("test_") else "", "projects", name, path)


def write(name: str, paper: str, root: pathlib.Path = provenance.ROOT) -> list[pathlib.Path]:
    """Returns the files written.

    Args:
      name: of the system, as a Python module.
      paper: what it reproduces, such as "arXiv:1905.08318".
      root: of the repository.

    Raises:
      ValueError: the name is no module's, or there is a system of that name; nothing is written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name) or name in RESERVED:
        raise ValueError(f"NAME={name!r}: expected a module's name, such as sparse_training")
    words = {"name": name, "title": name.replace("_", " ").capitalize(), "paper": paper}
    contents = {
        root / target_of(path.relative_to(TEMPLATE), name): string.Template(path.read_text("utf-8")).substitute(words)
        for path in sorted(TEMPLATE.rglob(f"*{SUFFIX}"))
    }
    for folder in {root / "projects" / name, root / "tests" / "projects" / name}:
        if folder.exists():
            raise ValueError(f"{folder} is there already: choose another name, or remove it")
    for path, text in contents.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return list(contents)


def main() -> None:
    """Writes the files and says what to run next."""
    parser = argparse.ArgumentParser(prog="python -m common.new_system", description=__doc__.splitlines()[0])
    parser.add_argument("name", help="of the system, as a Python module: sparse_training")
    parser.add_argument("--paper", default="no paper yet", help="what it reproduces: arXiv:1905.08318")
    arguments = parser.parse_args()
    try:
        paths = write(arguments.name, arguments.paper)
    except ValueError as error:
        parser.error(str(error))
    for path in paths:
        print(path.relative_to(provenance.ROOT))
    print(f"\npython -m pytest tests/projects/{arguments.name}\npython -m projects.{arguments.name}.study")


if __name__ == "__main__":
    main()
