"""`python -m projects.spray`: its verbs."""

import pathlib
import sys

from common import verbs

sys.exit(verbs.main("projects.spray", pathlib.Path(__file__).parent))
