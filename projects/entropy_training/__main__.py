"""`python -m projects.entropy_training`: its verbs."""

import pathlib
import sys

from common import verbs

sys.exit(verbs.main("projects.entropy_training", pathlib.Path(__file__).parent))
