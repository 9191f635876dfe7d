"""Does the test error of a network fall, rise and fall again: over its width, its epochs, its rows?

    python experiments/deep_double_descent.py

MLPs with one hidden layer on 500 digits, two in five of which have a wrong label; errors on test rows
with true labels, ten runs of each, with 95 % intervals over draws from one pool of 1,258 rows. Nakkiran
et al. (2019) found all three kinds of descent, mostly in convolutional networks.

Over width, yes. The error rises from 0.418 at width 6 to 0.474 at 24, the first width that learns all
wrong labels, by 0.057 ± 0.015, and falls to 0.368 at 256, by 0.106 ± 0.019. Over epochs, no: within 1,000
epochs it falls and rises, at width 64 from 0.174 to 0.409, and then stays. At its best epoch (by the test
rows) every width but 4 is better than the widest network at the end. Over rows, no rise that ten runs can
show; but at width 64 there is no fall from 400 to 1,000 rows that they can show either (0.409, then
0.405).

Source: Nakkiran, Kaplun, Bansal, Yang, Barak, Sutskever, "Deep double descent: where bigger models and
more data hurt", 2019.
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import funcnet as fn

NOISE, ROWS, RUNS, EPOCHS, EVAL_EVERY, BATCH = 0.4, 500, 10, 1000, 10, 100
T = 2.262  # the 97.5 % point of Student's t with 9 degrees of freedom
WIDTHS = (4, 6, 8, 10, 12, 16, 24, 32, 64, 128, 256)
ROW_COUNTS = (100, 200, 300, 400, 500, 700, 1000)
CRITICAL, LARGE = 12, 64

digits = fn.data.load("digits").data
pool, test = fn.data.split(digits, (0.7, 0.3), jax.random.key(0), stratify=digits.arrays[1])
scaler = fn.data.Scaler.fit(pool)
pool, test = scaler.transform(pool), scaler.transform(test)
loss = fn.losses.supervised(fn.losses.cross_entropy, error=fn.losses.zero_one)


# 1. Two training labels in five are replaced by other digits. Each run has its own rows, noise and start;
#    run i has the same at every width. The test rows have their true labels.
def noisy_rows(key, count):
    rows_key, wrong_key, label_key = jax.random.split(key, 3)
    x, y = fn.data.take(pool, jax.random.permutation(rows_key, len(pool))[:count])[:]
    wrong = jax.random.uniform(wrong_key, y.shape) < NOISE
    return x, jnp.where(wrong, (y + jax.random.randint(label_key, y.shape, 1, 10)) % 10, y)


def histories(width, rows, epochs):
    """Training and test error by evaluated epoch, the last included, [runs, epochs]."""
    net = fn.MLP((64, width, 10))
    train = fn.fit(loss, optax.adam(1e-3), epochs=epochs, batch_size=BATCH, eval_every=EVAL_EVERY)

    def member(key):
        rows_key, init_key, order_key = jax.random.split(key, 3)
        history = train(net.init(init_key), noisy_rows(rows_key, rows), order_key, test).history
        return history["error"], history["val_error"]

    keys = jax.random.split(jax.random.key(1), RUNS)
    errors = jax.jit(jax.vmap(member))(keys)
    evaluated = [*range(EVAL_EVERY - 1, epochs - 1, EVAL_EVERY), epochs - 1]
    return [np.asarray(error, float)[:, evaluated] for error in errors]


def interval(values):
    """The mean over runs, and the half-width of its 95 % interval."""
    return values.mean(), T * values.std(ddof=1) / len(values) ** 0.5


def show_peak(name, places, errors):
    """How far the error rises from its first minimum to the peak, and falls after it: means over runs.

    The places are chosen by the same runs, so a rise or fall near zero is too large.
    """
    mean = errors.mean(axis=0)
    # The peak is where there is most of both, a rise before it and a fall after it.
    first = np.minimum.accumulate(mean)
    last = np.minimum.accumulate(mean[::-1])[::-1]
    both = np.minimum(mean - first, mean - last)
    peak = int(np.argmax(both if both.max() > 0 else mean - first))
    before, after = int(np.argmin(mean[: peak + 1])), peak + int(np.argmin(mean[peak:]))
    if peak == before:
        print(f"{name}: falls from {mean[0]:.3f} at {places[0]} to {mean[-1]:.3f} at {places[-1]}")
        return
    rise, fall = (interval(errors[:, peak] - errors[:, place]) for place in (before, after))
    print(
        f"{name}: {mean[before]:.3f} at {places[before]}, {mean[peak]:.3f} at {places[peak]}, "
        f"{mean[after]:.3f} at {places[after]}: rise {rise[0]:.3f} ± {rise[1]:.3f}, "
        f"fall {fall[0]:.3f} ± {fall[1]:.3f}",
        flush=True,
    )


# 2. Over width and epochs: one program for each width.
print(f"{ROWS} rows, {NOISE:.0%} wrong labels, {EPOCHS} epochs, {RUNS} runs: means with 95 % intervals")
print("width  parameters  training error  test error       lowest test error by epoch")
by_width = {}
for width in WIDTHS:
    by_width[width] = train_error, test_error = histories(width, ROWS, EPOCHS)
    mean, half = interval(test_error[:, -1])
    best = int(test_error.mean(axis=0).argmin())
    print(
        f"{width:5d} {75 * width + 10:11,}  {train_error[:, -1].mean():14.3f}  {mean:.3f} ± {half:.3f}    "
        f"{test_error.mean(axis=0)[best]:.3f} after {(best + 1) * EVAL_EVERY}",
        flush=True,
    )
epochs = np.arange(EVAL_EVERY, EPOCHS + 1, EVAL_EVERY)
last = np.stack([test_error[:, -1] for _, test_error in by_width.values()], axis=1)
show_peak("over width", WIDTHS, last)
for width in (CRITICAL, LARGE):
    show_peak(f"over epochs, width {width}", epochs, by_width[width][1])

# 3. Over rows, with as many steps for every number of rows.
by_rows = {}
for width in (CRITICAL, LARGE):
    by_rows[width] = []
    for rows in ROW_COUNTS:
        by_rows[width].append(histories(width, rows, EPOCHS * ROWS // rows)[1][:, -1])
    show_peak(f"over rows, width {width}", ROW_COUNTS, np.stack(by_rows[width], axis=1))

figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 4), layout="constrained", sharey=True)
fn.report.curves(
    {
        "test": last,
        "training": np.stack([train_error[:, -1] for train_error, _ in by_width.values()], axis=1),
    },
    left,
    x=WIDTHS,
    xlabel="width",
    ylabel="error, median and 90 % of the runs",
)
fn.report.curves(
    {f"width {width}": by_width[width][1] for width in (CRITICAL, LARGE)},
    middle,
    x=epochs,
    ylabel="test error",
)
fn.report.curves(
    {f"width {width}": np.stack(errors, axis=1) for width, errors in by_rows.items()},
    right,
    x=ROW_COUNTS,
    xlabel="rows",
    ylabel="test error",
)
for axes in (left, middle):
    axes.set(xscale="log")
picture = Path("runs/deep_double_descent.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")
