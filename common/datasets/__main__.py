"""`python -m common.datasets [NAME...]`: says what data sets are where; `--fetch` downloads those that are missing."""

import argparse
import sys

from . import NAMES, load

DESCRIPTION = "Says what data sets are where, in $DATA_DIR and in the user's cache; downloads nothing unless asked to."


def main(arguments: list[str] | None = None) -> int:
    """Prints a paragraph a data set; returns 0 when all of them are there, else 1."""
    parser = argparse.ArgumentParser(prog="python -m common.datasets", description=DESCRIPTION)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(NAMES)} (default: all)")
    parser.add_argument("--fetch", action="store_true", help="download into the cache, and check, what is missing")
    options = parser.parse_args(arguments)
    absences = 0
    for name in options.names or NAMES:
        places = {} if name == "digits" else {"allow_download": options.fetch}
        if name == "imagenet_samples":
            places["indices"] = range(0, 1000, 100)  # decoding ten is enough to see that it is there
        try:
            dataset = load(name, **places)
        except (OSError, ValueError) as error:
            absences += 1
            print(f"{name}: {error}", file=sys.stderr)
            continue
        print(f"{name}: {dataset.description}\n  source:  {dataset.source}\n  licence: {dataset.licence}")
    return 1 if absences else 0


if __name__ == "__main__":
    sys.exit(main())
