"""Federated learning with few bits both ways: Sparse Ternary Compression and its rivals, arXiv:1903.02891."""
