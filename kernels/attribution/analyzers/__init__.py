"""Every analyzer of iNNvestigate, and Zennit's ways, behind one switch: `analyzer(name, semantics)`."""

from . import innvestigate
from .api import SEMANTICS, Analyzer, analyzer
from .softmax_head import strip_softmax

__all__ = ["SEMANTICS", "Analyzer", "analyzer", "innvestigate", "strip_softmax"]
