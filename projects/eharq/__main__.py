"""`python -m projects.eharq`: its verbs."""

import pathlib
import sys

from common import verbs

sys.exit(verbs.main("projects.eharq", pathlib.Path(__file__).parent))
