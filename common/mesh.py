"""Devices: meshes, and how arrays lie on them. The one place through which work is spread over all devices of a run.

sharding = mesh.data_sharding()                       # None where there is one device
params = mesh.on_every_device(params, sharding)
x = mesh.split_rows(x, sharding)                      # outside of jax.jit; or inside: mesh.constrain(x, sharding)
"""

import math
import zlib
from typing import Any

from common.processes import broadcast_bytes, is_single_process


def make_mesh(**axes: int) -> Any:
    """Returns a mesh over all devices, such as `make_mesh(data=-1)` or `make_mesh(data=2, model=2)`.

    Args:
      axes: name -> size; one size may be -1 and takes the devices that are left. No axes: data=-1.

    Raises:
      ValueError: the sizes do not multiply to the number of devices.
    """
    import jax

    axes = axes or {"data": -1}
    count = jax.device_count()
    product = 1
    for size in axes.values():
        product *= 1 if size == -1 else size
    free = [name for name, size in axes.items() if size == -1]
    if len(free) > 1 or product <= 0 or count % product or (not free and product != count):
        raise ValueError(f"mesh {axes} does not fit {count} devices: the sizes multiply to that, one may be -1")
    shape = tuple(count // product if size == -1 else size for size in axes.values())
    automatic = (jax.sharding.AxisType.Auto,) * len(shape)
    return jax.make_mesh(shape, tuple(axes), axis_types=automatic)


def batch_sharding(mesh: Any, axis: str = "data") -> Any:
    """Returns the sharding that splits the first axis of an array over a mesh axis."""
    import jax

    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(axis))


def data_sharding(*, local: bool = False) -> Any:
    """Returns how the first axis of a batch is split over devices; None where there is one.

    Args:
      local: over those of this process alone, for work that each of several processes does by itself.
    """
    import jax

    if not local or is_single_process():
        return batch_sharding(make_mesh()) if jax.device_count() > 1 else None
    devices, automatic = jax.local_devices(), (jax.sharding.AxisType.Auto,)
    return (
        batch_sharding(jax.make_mesh((len(devices),), ("data",), automatic, devices=devices)) if devices[1:] else None
    )


def split_count(sharding: Any) -> int:
    """Returns into how many parts a sharding splits the first axis; 1 for None."""
    if sharding is None:
        return 1
    names = sharding.spec[0] if isinstance(sharding.spec[0], tuple) else (sharding.spec[0],)
    return math.prod(sharding.mesh.shape[name] for name in names)


def constrain(batch: Any, sharding: Any) -> Any:
    """Returns, inside `jax.jit`, the arrays of a batch split over devices; as they are where `sharding` is None.

    The number of examples need not be a multiple of that of the devices: XLA fills up the last part and masks what it
    has added, in sums and means too, so that the numbers are those of one device.
    """
    import jax

    return batch if sharding is None else jax.lax.with_sharding_constraint(batch, sharding)


def holding(state: Any, batch_size: int, sharding: Any, items: str = "examples") -> str:
    """Returns a line for the log: what each device of a data-parallel program holds."""
    import jax

    count = split_count(sharding)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(state)) / 2**20
    part = f" and {-(-batch_size // count)} of {batch_size} {items}" if batch_size > 1 else ""
    return f"{count} devices: each holds the state, {size:,.1f} MiB{part}"


def replicated(mesh: Any) -> Any:
    """Returns the sharding that keeps a whole copy on every device."""
    import jax

    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def on_every_device(tree: Any, sharding: Any) -> Any:
    """Returns a tree of arrays of this process as whole copies on the devices of a sharding (None: on one device)."""
    import jax

    return jax.device_put(tree, None if sharding is None else replicated(sharding.mesh))


def split_rows(batch: Any, sharding: Any) -> Any:
    """Returns host arrays [rows, ...] on the devices of a sharding, a part of the rows on each, for work row by row.

    Args:
      batch: the same on every process. Rows that are missing to a multiple of the devices are copies of the last one:
        cut what comes back to the length of the batch.
      sharding: as of `data_sharding`; None: on one device, as it is.
    """
    import jax
    import numpy as np

    if sharding is None:
        return jax.device_put(batch)
    count = split_count(sharding)

    def placed(array):
        fill = -len(array) % count
        array = np.asarray(array) if not fill else np.concatenate([array, np.repeat(array[-1:], fill, axis=0)])
        return jax.device_put(array, sharding)

    return jax.tree.map(placed, batch)


def place_rows(batch: Any, sharding: Any) -> Any:
    """Returns the rows that each process has read as the arrays of a whole batch, see `split_rows`.

    Raises:
      ValueError: of several processes: the batch does not split evenly over their devices.
    """
    import jax

    if is_single_process():
        return split_rows(batch, sharding)
    rows, count = len(jax.tree.leaves(batch)[0]) * jax.process_count(), split_count(sharding)
    if rows % count:
        raise ValueError(f"a streamed batch of {rows} does not split over {count} devices; take a multiple of {count}")
    return jax.tree.map(lambda leaf: jax.make_array_from_process_local_data(sharding, leaf), batch)


def replicate(tree: Any, mesh: Any) -> Any:
    """Returns the arrays and keys of a tree as whole copies on every device of a mesh.

    Args:
      tree: arrays that every process has with the same values; those that span processes already stay as they are.
      mesh: over the devices of all processes.

    Raises:
      ValueError: this process has other values than process 0.
    """
    import jax
    import numpy as np

    whole, checksum = replicated(mesh), 0

    def placed(leaf):
        if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
            return leaf
        if isinstance(leaf, jax.Array) and jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(placed(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        nonlocal checksum
        array = np.asarray(leaf)
        checksum = zlib.crc32(array.tobytes(), checksum)
        return place(array, whole)

    copies = jax.tree.map(placed, tree)
    if broadcast_bytes(checksum.to_bytes(4, "big")) != checksum.to_bytes(4, "big"):
        raise ValueError("the processes of this run begin with different values: make them from the seed alone")
    return copies


def place(array: Any, sharding: Any) -> Any:
    """Returns a host array that every process has as a global array; nothing is compared, so that NaN may be in it."""
    import jax

    return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])


def to_local(tree: Any) -> Any:
    """Returns a tree whose replicated arrays are one device's own copies; arrays that are split stay as they are."""
    import jax

    def local(leaf):
        if not isinstance(leaf, jax.Array) or len(leaf.sharding.device_set) == 1 or not leaf.is_fully_replicated:
            return leaf
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            data = jax.random.key_data(leaf).addressable_data(0)
            return jax.random.wrap_key_data(data, impl=jax.random.key_impl(leaf))
        return leaf.addressable_data(0)

    return jax.tree.map(local, tree)


def take_rows(arrays: Any, indices: Any, sharding: Any) -> Any:
    """Returns the rows `indices` of host arrays as global arrays; a process reads only the rows of its own devices.

    Args:
      arrays: a tree of NumPy arrays [examples, ...], memory-mapped ones too; the same on every process.
      indices: int [batch], the same on every process. Where they do not split evenly the last is repeated: cut the
        batch to their number inside `jax.jit`.
      sharding: of the batch.
    """
    import jax
    import numpy as np

    indices = np.pad(indices, (0, -len(indices) % split_count(sharding)), mode="edge")

    def rows(array):
        shape = (len(indices), *array.shape[1:])
        return jax.make_array_from_callback(
            shape, sharding, lambda index: array[indices[index[0]]][(slice(None), *index[1:])]
        )

    return jax.tree.map(rows, arrays)
