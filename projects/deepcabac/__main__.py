"""`python -m projects.deepcabac`: its verbs."""

import pathlib
import sys

from common import verbs

sys.exit(verbs.main("projects.deepcabac", pathlib.Path(__file__).parent))
