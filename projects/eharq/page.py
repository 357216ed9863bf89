"""What README.md and the front page show of the published results."""

import pathlib

from common.publishing import Page

page = Page(pathlib.Path(__file__).parent, "arXiv:1807.10495", {})
