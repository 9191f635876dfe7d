"""How much memory does a device need to train a model that is sharded over eight?

An MLP of 200 MB of float32 parameters is trained with Adam on one CPU device, and on eight of which each
holds a part of every layer (`fn.mesh.shard`). The table shows bytes on one device in MB:

- program: arguments, outputs and temporaries of the compiled run, less what outputs share with arguments;
- state: the parts of parameters and optimizer state that one device holds when the run has ended.

Run: `python experiments/benchmarks/sharded_memory.py`, which takes a minute; `--rows 1024` for a
batch so large that XLA gathers more on each device.
"""

import argparse
from typing import Any

import jax
import numpy as np
import optax

import funcnet as fn

DEVICES, WIDTH, LAYERS, INPUTS = 8, 2048, 12, 64

fn.mesh.cpu_devices(DEVICES)


def program_bytes(train: Any, *args: Any) -> int:
    """Bytes on one device of the compiled program of a run."""
    memory: Any = jax.jit(train).lower(*args).compile().memory_analysis()
    sizes = memory.argument_size_in_bytes, memory.output_size_in_bytes, memory.temp_size_in_bytes
    return sum(sizes) - memory.alias_size_in_bytes


def bytes_on_a_device(tree: Any) -> int:
    """Bytes of the parts of all arrays that the first device holds."""
    shards = [leaf.addressable_shards for leaf in jax.tree.leaves(tree)]
    return sum(own[0].data.nbytes for own in shards)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=16, help="rows in a batch")
    rows = parser.parse_args().rows
    net = fn.MLP((INPUTS, *[WIDTH] * (LAYERS + 1), "scalar"))
    rng = np.random.default_rng(0)
    x = rng.standard_normal((rows, INPUTS), np.float32)
    data = fn.data.Dataset((x, np.sin(x[:, 0])))
    key = jax.random.key(1)
    train = fn.fit(
        fn.losses.supervised(fn.losses.squared_error), optax.adam(1e-6), epochs=2, batch_size=rows
    )
    model = net.init(jax.random.key(0))
    print(f"parameters: {bytes_on_a_device(model) / 1e6:.0f} MB; batches of {rows} rows")
    print(f"{'':24}{'program':>9}{'state':>9}")

    whole: tuple[int, int] | None = None
    for name, use in {
        "one device": fn.mesh.use(1),
        "8, rows and model": fn.mesh.use(DEVICES),
        "8, model alone": fn.mesh.use({"model": DEVICES}, data_axis=None),
    }.items():
        with use as mesh:
            sharded = fn.mesh.shard(model, "full", axis=mesh.axis_names[0])
            program = program_bytes(train, sharded, data, key)
            run = train(sharded, data, key)
            state = bytes_on_a_device((run.state.model, run.state.opt_state))
        whole = whole or (program, state)
        print(f"{name:24}{program / 1e6:9.0f}{state / 1e6:9.0f}")
        print(f"{'  / one device':24}{program / whole[0]:9.3f}{state / whole[1]:9.3f}", flush=True)
        print(f"  losses {np.asarray(run.history['loss'])}")


if __name__ == "__main__":
    main()
