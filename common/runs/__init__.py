"""What a run leaves: its directory with flags, metrics and result, its provenance, and the lock that guards it."""
