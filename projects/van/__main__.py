"""`python -m projects.van`: its verbs."""

import pathlib
import sys

from common import verbs

sys.exit(verbs.main("projects.van", pathlib.Path(__file__).parent))
