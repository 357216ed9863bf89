"""Prints its arguments as JSON: what became of a command line on its way."""

import json
import sys

if __name__ == "__main__":
    print(json.dumps(sys.argv[1:]))
