"""Does a change of the code change a number? A digest of all results, for each kind of run.

    python experiments/faults/same_bits.py                        # prints one line for each workload
    python experiments/faults/same_bits.py --save before.json     # at one commit
    python experiments/faults/same_bits.py --against before.json  # at another: names what differs

Weights, optimizer state, counters and history are hashed as bytes, so "the same" means the same bits. Run
both commits on one machine with the same versions of JAX and jaxlib.
"""

import argparse
import hashlib
import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import funcnet as fn

LOSS = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
NET = fn.MLP((4, 16, 3))
KEY = jax.random.key(2)


def rows() -> tuple[fn.data.Dataset, fn.data.Dataset]:
    """Training rows, of which 90 make a short last batch, and validation rows of iris."""
    iris = fn.data.load("iris").data
    train, valid = fn.data.split(iris, (0.6, 0.4), jax.random.key(0), stratify=iris.arrays[1])
    return train, valid


DATA, VALID = rows()
WEIGHT = jnp.where(jnp.arange(len(DATA)) % 7 == 0, 0.0, 1.0 + jnp.arange(len(DATA)) % 3)


def start() -> Any:
    return NET.init(jax.random.key(1))


def training(**settings: Any) -> Any:
    settings = {"epochs": 12, "batch_size": 16} | settings
    return fn.fit(LOSS, optax.adam(1e-2), **settings)


def batch_norm() -> Any:
    net = fn.Sequential(fn.Linear(4, 16), fn.layers.BatchNorm(16), jax.nn.relu, fn.Linear(16, 3))
    return training()(net.init(jax.random.key(1)), DATA, KEY, VALID)


def grad_of_rate() -> Any:
    def value(rate: Any) -> Any:
        train = fn.fit(LOSS, optax.sgd(rate), epochs=3, batch_size=16)
        return train(start(), DATA, KEY, VALID).history["val_loss"][-1]

    return jax.value_and_grad(value)(0.1)


def many(train: Any) -> Any:
    keys = jax.random.split(jax.random.key(3), 5)
    return jax.vmap(train, in_axes=(0, None, 0, None))(jax.vmap(NET.init)(keys), DATA, keys, VALID)


def early_stopping(**settings: Any) -> Any:
    stopping = fn.EarlyStopping(patience=3, min_delta=1e-2)
    return training(epochs=60, stopping=stopping, **settings)


def resumed() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        trainer = fn.Trainer(training(), folder, progress=False, max_time=1e-9)
        assert int(trainer(start(), DATA, KEY, VALID).state.epoch) < 12
        return fn.Trainer(training(), folder, progress=False)(start(), DATA, KEY, VALID)


def streamed() -> Any:
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for number, array in enumerate(DATA.arrays):
            files.append(Path(folder) / f"{number}.npy")
            np.save(files[-1], np.asarray(array[np.asarray(DATA.rows)] if DATA.rows is not None else array))
        stream = fn.data.Stream.npy(tuple(files))
        return fn.Trainer(training(), progress=False)(start(), stream, KEY, VALID)


def broken(on_nan: Any) -> Any:
    """One row is infinitely far away, so that the first batch with it breaks a step."""
    x, y = DATA[:]
    weight = jnp.ones(len(DATA)).at[17].set(1e38)
    loss = fn.losses.supervised(lambda z, t: 1e3 * fn.losses.cross_entropy(z, t))
    train = fn.fit(loss, optax.adam(1e-2), epochs=4, batch_size=16, on_nan=on_nan)
    return train(start(), fn.data.Dataset((x, y), weight=weight), KEY, VALID)


WORKLOADS: dict[str, Callable[[], Any]] = {
    "fit": lambda: training()(start(), DATA, KEY, VALID),
    "fit without validation rows": lambda: training()(start(), DATA, KEY),
    "fit, evaluated every 5 epochs": lambda: training(eval_every=5)(start(), DATA, KEY, VALID),
    "fit under jit": lambda: jax.jit(training())(start(), DATA, KEY, VALID),
    "fit under vmap": lambda: many(training()),
    "fit under grad": grad_of_rate,
    "early stopping": lambda: early_stopping()(start(), DATA, KEY, VALID),
    "early stopping under vmap": lambda: many(early_stopping()),
    "weights": lambda: training()(start(), fn.data.Dataset(DATA[:], weight=WEIGHT), KEY, VALID),
    "accumulation": lambda: training(accumulate=4)(start(), DATA, KEY, VALID),
    "ema": lambda: training(ema=0.9)(start(), DATA, KEY, VALID),
    "BatchNorm": batch_norm,
    "a step that breaks, stop": lambda: broken("stop"),
    "a step that breaks, skip": lambda: broken("skip"),
    "ensemble of 40": lambda: fn.study.ensemble(training(), 40)(NET, DATA, KEY, VALID).runs,
    "ensemble of 5": lambda: fn.study.ensemble(training(), 5)(NET, DATA, KEY, VALID).runs,
    "Trainer": lambda: fn.Trainer(training(), progress=False)(start(), DATA, KEY, VALID),
    "resumed Trainer": resumed,
    "stream": streamed,
}


def parts(result: Any) -> dict[str, Any]:
    """Everything a result holds, under names of its own."""
    if not isinstance(result, fn.Run):
        return {"value": result}
    state = result.state
    counters = {"step": state.step, "epoch": state.epoch, "outcome": state.stopping.outcome}
    return {"model": result.model, "last model": state.model, "optimizer": state.opt_state, **counters} | {
        f"history {name}": state.history[name] for name in state.history
    }


def digest(tree: Any) -> str:
    """The first digits of a SHA-256 over the bytes of all arrays."""
    total = hashlib.sha256()
    for leaf in jax.tree.leaves(tree):
        array = np.ascontiguousarray(leaf)
        total.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return total.hexdigest()[:12]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--save", type=Path, help="write the digests to this JSON file")
    parser.add_argument("--against", type=Path, help="compare with the digests in this JSON file")
    settings = parser.parse_args()
    now = {}
    for name, run in WORKLOADS.items():
        now[name] = {part: digest(tree) for part, tree in parts(run()).items()}
        whole = hashlib.sha256(json.dumps(now[name], sort_keys=True).encode()).hexdigest()
        print(f"{whole[:12]}  {name}", flush=True)
    if settings.save:
        settings.save.write_text(json.dumps(now, indent=1))
    if not settings.against:
        return 0
    before = json.loads(settings.against.read_text())
    wrong = {
        name: [part for part in before[name] if before[name][part] != found.get(part)]
        for name, found in now.items()
        if name in before and before[name] != found
    }
    for name, differing in wrong.items():
        print(f"differs: {name}: {', '.join(differing)}")
    print(f"{len(now) - len(wrong)} of {len(now)} workloads have the same bits.")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
