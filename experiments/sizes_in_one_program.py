"""Can networks of 48 sizes be one program, and are the numbers those of each network alone?

python experiments/sizes_in_one_program.py                    # float32: the times, and 48 sizes
JAX_ENABLE_X64=1 python experiments/sizes_in_one_program.py   # float64: whole runs of 12 sizes

Yes. 480 runs (12 widths, 4 depths, 10 starts, 20 epochs) take 25 s as one program and 214 s as one program
for each size, compilation included, on two idle cores: 8.5 times as long.

In float64, after the 800 steps of whole runs, the parameters of 120 members of 12 sizes differ from those
of their networks trained alone by at most 9e-13. In float32, the losses of the first epoch differ by at
most 2e-5; after 20 epochs parameters differ by 5e-7 to 7e-6 with one hidden layer and by up to 0.4 with
four, and validation losses of the 480 members by up to 0.012. That is the growth of rounding, not of
padding: it is largest for 64 x 4, the network that has no padding at all.
"""

import itertools
import time
import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax

import funcnet as fn

IS_DOUBLE = jax.config.jax_enable_x64
WIDTHS = (4, 16, 64) if IS_DOUBLE else (4, 6, 8, 12, 16, 20, 24, 32, 40, 48, 56, 64)
DEPTHS, STARTS = (1, 2, 3, 4), 10
SIZES = list(itertools.product(WIDTHS, DEPTHS))
SOME = SIZES if IS_DOUBLE else [(4, 1), (4, 4), (16, 2), (64, 1), (64, 4)]  # whose parameters are compared

fn.mesh.cpu_devices()  # one device for each core, before the first array
digits = fn.data.load("digits").data
rows = fn.data.split(digits, (0.7, 0.3), jax.random.key(0), stratify=digits.arrays[1])
scaler = fn.data.Scaler.fit(rows[0])
data, valid = map(scaler.transform, rows)
loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
train = fn.fit(loss, optax.adam(3e-3), epochs=20, batch_size=32, eval_every=20)


def make_net(width, depth):
    return fn.MLP((64, *(width,) * depth, 10))


# 1. All runs as one program; compilation is part of the time.
key = jax.random.key(1)
study = fn.study.sweep_sizes(make_net, train, SIZES, STARTS)
with fn.mesh.use():
    before = time.perf_counter()
    result = study(data, key, valid)
    seconds = time.perf_counter() - before
print(f"{len(SIZES) * STARTS} runs of {len(SIZES)} sizes in one program: {seconds:.0f} s", flush=True)

# 2. The same runs from the same keys, with a program for each size: times and scores.
if not IS_DOUBLE:
    each = fn.study.capacity_curve(lambda size: (train, make_net(*size)), SIZES, STARTS)
    with fn.mesh.use():
        before = time.perf_counter()
        curve = each(data, key, valid)
        others = time.perf_counter() - before
    print(f"one program for each size: {others:.0f} s, {others / seconds:.1f} times as long")
    for name, scores in curve.scores.items():
        difference = np.abs(result.curve.scores[name] - scores)
        print(f"{name}: greatest difference of {difference.size} members {difference.max():.1e}")


# 3. Parameters, and losses by epoch, of all members of some sizes beside their networks trained alone.
def fold_in(key, name):  # how the studies derive a key by name
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


own = jax.vmap(lambda i: jax.random.fold_in(fold_in(key, "repeat"), i))(jnp.arange(STARTS))
init_keys, train_keys = (jax.vmap(lambda key, n=name: fold_in(key, n))(own) for name in ("init", "train"))
print("greatest difference from the network alone\nwidth depth  parameters  loss of epoch 1, 2, 5, 20")
for size in SOME:
    models = jax.vmap(make_net(*size).init)(init_keys)
    alone = jax.vmap(train, in_axes=(0, None, 0))(models, data, train_keys)
    runs = [result.run(SIZES.index(size), repeat) for repeat in range(STARTS)]
    models = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(run.model for run in runs))
    pairs = zip(jax.tree.leaves(alone.model), jax.tree.leaves(models), strict=True)
    parameters = max(float(jnp.abs(a - b).max()) for a, b in pairs)
    losses = np.abs(alone.history["loss"] - np.stack([run.history["loss"] for run in runs])).max(axis=0)
    by_epoch = ", ".join(f"{losses[epoch - 1]:.1e}" for epoch in (1, 2, 5, 20))
    print(f"{size[0]:5d} {size[1]:5d}  {parameters:10.1e}  {by_epoch}", flush=True)

# 4. The answer to the question that such a sweep is made for.
for depth in DEPTHS:
    means = [result.curve.mean["val_accuracy"][SIZES.index((width, depth))] for width in WIDTHS]
    print(f"depth {depth}: validation accuracy {', '.join(f'{mean:.3f}' for mean in means)}")
print("best mean validation loss:", result.best)
