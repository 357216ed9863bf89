"""A script: simulates on all devices of the process and writes what comes out, for test_devices.py.

python tests/common/federated/on_devices.py OUTPUT CHECKPOINTS ROUNDS

Of fewer than 6 rounds only the checkpoint counts.
"""

import dataclasses
import sys

import jax
import numpy as np

from common.federated import methods, rounds, simulate
from tests.common.federated import digits

SETTINGS = dataclasses.replace(digits.SETTINGS, momentum=0.5, per_round=6, chunk=1)


def main(output: str, folder: str, count: int) -> None:
    held = set()
    advance = rounds.advance

    def watched(*arguments):
        state = arguments[4]
        held.update((array.shape[0], len(array.sharding.device_set)) for array in state[1:3])
        held.update(tuple(shard.data.shape[0] for shard in array.addressable_shards) for array in state[1:3])
        return advance(*arguments)

    rounds.advance = watched
    result = simulate.simulate(
        digits.MODEL, digits.population(), methods.stc(1 / 10), count, digits.KEY, SETTINGS,
        test=digits.load()[1], checkpoints=folder, per_client=count == 6,
    )  # fmt: skip
    if count < 6:
        return
    average = simulate.simulate(
        digits.MODEL, digits.unequal_population(), methods.fed_avg(2), 2, digits.KEY,
        dataclasses.replace(digits.SETTINGS, per_round=5),
    )  # fmt: skip
    np.savez(
        output, devices=jax.device_count(), held=repr(sorted(held, key=repr)), curve=repr(result.curve),
        average=average.state.weights, accuracy=[point.accuracy for point in result.curve],
        of_clients=np.stack(result.per_client), **result.state._asdict(),
    )  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
