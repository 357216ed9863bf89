"""`python -m projects.levy_attack`: its verbs."""

import pathlib
import sys

from common import verbs

sys.exit(verbs.main("projects.levy_attack", pathlib.Path(__file__).parent))
