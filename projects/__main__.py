"""`python -m projects`: what there is to run."""

import pathlib
import sys

from common import verbs

sys.exit(verbs.main("projects", pathlib.Path(__file__).parent))
