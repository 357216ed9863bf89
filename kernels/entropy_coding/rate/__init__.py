"""Rate estimates: `estimates.py` chooses, `scan.py` and `counts.py` are JAX functions, core/rate.py is compiled."""
