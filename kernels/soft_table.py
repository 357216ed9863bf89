"""The older name of `soft_entropy.table`."""

from .soft_entropy.table import (
    POINTS,
    Place,
    SoftTable,
    expected_counts,
    locate,
    lookup,
    lookup_moments,
    tabulate,
)

__all__ = ["POINTS", "Place", "SoftTable", "expected_counts", "locate", "lookup", "lookup_moments", "tabulate"]
