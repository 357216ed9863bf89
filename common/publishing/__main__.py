"""`python -m common.publishing [--check]`: writes the measured tables of every page from the committed result files."""

import argparse
import sys
from collections.abc import Sequence

from common.publishing import front_page, markdown
from common.runs import provenance


def main(argv: Sequence[str] | None = None) -> int:
    """Renders the pages in place; returns 1 where `--check` met one that is out of date."""
    parser = argparse.ArgumentParser(
        prog="python -m common.publishing",
        description="Writes the tables of README.md, kernels/README.md and projects/*/README.md anew, from the "
        "committed result files.",
    )
    parser.add_argument("--check", action="store_true", help="write nothing; exit code 1 where a page is out of date")
    is_check = parser.parse_args(argv).check
    stale = 0
    for name, rendered in front_page.all_pages().items():
        path = provenance.ROOT / name
        text = path.read_text(encoding="utf-8")
        fresh = rendered(text)
        stale += fresh != text
        if not is_check:
            markdown.rewrite(path, fresh)
        print(f"{name} " + ("is up to date" if fresh == text else "is out of date" if is_check else "written"))
    return 1 if is_check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
