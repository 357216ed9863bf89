"""Networks that several projects use, as Flax NNX modules, and their weights as plain trees."""
