"""Federated learning on one machine: hundreds of clients as one array program, and every bit that they would send.

    split = splits.split_by_class(labels, clients=100, classes_per_client=2, seed=0)
    population = clients.from_split({"x": images, "y": labels}, split)
    result = simulate.simulate(model, population, methods.fed_sgd(), rounds=500, key=jax.random.key(0))

`splits` deals samples to clients, `clients` draws batches of them, `methods` says what is sent, `simulate` runs the
rounds, `catch_up` counts what a client downloads that was away.
"""
