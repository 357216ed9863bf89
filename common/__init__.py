"""What several projects need: configs and runs, data sets, models, training, checkpoints, metrics, meshes, reports.

Nothing is imported here, so that a verb's `--help` answers without waiting for JAX.
"""
