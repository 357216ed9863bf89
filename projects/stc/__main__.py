"""`python -m projects.stc`: its verbs."""

import pathlib
import sys

from common import verbs

sys.exit(verbs.main("projects.stc", pathlib.Path(__file__).parent))
