"""What the page shows of `results/bench.json`: the simulator beside FedJAX and Flower, rounds a second, memory."""

from collections.abc import Mapping

from common.publishing.markdown import Table

MOST_SPREAD = 0.25  # of the quartiles over the median, beyond which a ratio of medians says little
MOST_LOAD = 0.5  # mean number of other tasks in the minute before, beyond which times say little


def bench_text(bench: Mapping) -> list[str | Table]:
    """Returns paragraphs and tables of a result of `projects.stc.bench`, of the parts that it has."""
    content: list[str | Table] = []
    if "peers" in bench:
        content += peers_text(bench["peers"])
    if "rate" in bench:
        content.append(rate_text(bench["rate"]))
    if "memory" in bench:
        content += memory_text(bench["memory"])
    return [*content, f"Measured on {bench['provenance']['device']}, {bench['provenance']['date'][:10]}."]


def peers_text(peers: Mapping) -> list[str | Table]:
    """Returns seconds a round beside the peers, and that all of them have computed the same."""
    rows = [
        [
            who, f"{1000 * seconds:,.1f}", f"{100 * float(peers['spread'][who]):.0f} %",
            f"{peers['times_faster'][who]:.3g}",
            f"{peers['start_s'][who]:.1f}" if who in peers["start_s"] else "",
            f"{100 * peers['accuracy'][who]:.2f} %" if who in peers["accuracy"] else "",
        ]
        for who, seconds in sorted(peers["seconds_a_round"].items(), key=lambda item: item[1])
    ]  # fmt: skip
    versions = ", ".join(f"{name} {version}" for name, version in peers["versions"].items())
    return [
        f"Federated averaging of logistic regression ({peers['dataset']}): {peers['clients']} clients of "
        f"{peers['samples']} samples of {peers['features']} numbers, an epoch of {peers['steps']} steps a round in "
        f"batches of {peers['batch_size']}; medians of {peers['repeats']} runs of {peers['rounds']} rounds in turn, "
        "starts left out:",
        (
            [
                "simulator", "milliseconds a round", "spread of quartiles", "ours is times as fast", "start, s",
                f"accuracy after {peers['rounds']} rounds",
            ],
            rows,
        ),
        "Flower's clients compute with NumPy, a process of Ray's for each core. Its server looks for replies ten times "
        f"a second unless told otherwise, and every few milliseconds where it polls often. With {versions}.",
        doubts_text(peers),
    ]  # fmt: skip


def doubts_text(peers: Mapping) -> str:
    """Returns why the times are not to be trusted; nothing where they are."""
    spreads = {who: float(spread) for who, spread in peers["spread"].items()}
    wide = [f"{who} by {100 * spread:.0f} %" for who, spread in spreads.items() if spread > MOST_SPREAD]
    reasons = [f"{peers['load']:.1f} other tasks ran or waited for the cores before"] * (peers["load"] > MOST_LOAD)
    reasons += [f"repeats differ too much ({', '.join(wide)})"] * bool(wide)
    return f"Not to be trusted: {'; '.join(reasons)}. Measure again." if reasons else ""


def rate_text(rate: Mapping) -> str:
    """Returns rounds a second of the base environment."""
    speeds = ", ".join(f"{value:,.0f} with {method}" for method, value in rate["rounds_per_s"].items())
    return (
        f"Rounds a second of {rate['per_round']} of {rate['clients']} clients, batches of {rate['batch_size']}, every "
        f"bit counted: {speeds}."
    )


def memory_text(memory: Mapping) -> list[str | Table]:
    """Returns the most memory that simulations of few and of many clients have needed."""
    rows = [
        [
            who, *(f"{row[name]:,.0f}" for name in ("peak", "samples", "residuals")),
            f"{row['peak'] - row['samples'] - row['residuals']:,.0f}",
        ]
        for who, row in memory["rows"].items()
    ]  # fmt: skip
    return [
        f"Peak memory of a process in mebibytes, samples of {memory['features']} numbers, all clients in each round:",
        (["clients and method", "peak", "of it samples", "of it residuals", "the rest"], rows),
    ]
