"""Where a job runs: this machine or a Slurm cluster. Sweeps, restarts, and tables over what was launched.

`python -m launch.run --help` is the way in. Verbs are run by name, as `python -m projects.NAME.VERB`, never imported.
"""
