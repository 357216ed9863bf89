"""One folder a published system; projects never import each other, what two of them need moves to common or kernels."""

import pathlib
import sys

if sys.argv[:1] == [
    "-m"
]:  # `python -m projects.NAME.VERB` looks for its module: where it is none, this says which there are
    from common import verbs

    verbs.check_module(sys.orig_argv, "projects", pathlib.Path(__file__).parent)
