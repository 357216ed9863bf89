"""`python -m projects.attribution`: its verbs."""

import pathlib
import sys

from common import verbs

sys.exit(verbs.main("projects.attribution", pathlib.Path(__file__).parent))
