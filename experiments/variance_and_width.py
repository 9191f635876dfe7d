"""Does the variance of a network grow with its width, as the classical trade-off says?

    python experiments/variance_and_width.py

Networks with one hidden layer on 100 digits, 25 training sets with eight starts each. The squared error
of their probabilities is bias² plus variance, and the variance is that of the starts plus that of the
rows; standard errors are over training sets.

No, as Neal et al. (2018) found. From width 4 to 512 bias and variance both fall: bias² from 0.226 ± 0.003
to 0.079 ± 0.002, variance from 0.328 ± 0.004 to 0.098 ± 0.004. What falls is the part of the start, from
0.287 to 0.016. The part of the rows grows, from 0.041 ± 0.002 to 0.083 ± 0.004; the paper found that it
levels off. Only the narrowest networks follow the classical curve: from width 2 to 4 the variance grows.

Source: Neal, Mittal, Baratin, Tantia, Scicluna, Lacoste-Julien, Mitliagkas, "A modern take on the
bias-variance tradeoff in neural networks", 2018.
"""

from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax

import funcnet as fn

WIDTHS = (2, 4, 8, 16, 32, 64, 128, 256, 512)
ROWS, SETS, STARTS = 100, 25, 8

# 1. Training sets of 100 digits, from two thirds of the table; the others are test rows.
digits = fn.data.load("digits").data
pool, test = fn.data.split(digits, (0.67, 0.33), jax.random.key(0), stratify=digits.arrays[1])
scaler = fn.data.Scaler.fit(pool)
pool, test = scaler.transform(pool), scaler.transform(test)
test_x, labels = test[:]
targets = np.asarray(jax.nn.one_hot(labels, 10))

# 2. Every training set with its own starts: full-batch runs, so that nothing else differs.
loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
train = fn.fit(loss, optax.adam(3e-3), epochs=1000, batch_size=ROWS, shuffle=False, eval_every=1000)
set_keys = jax.random.split(jax.random.key(1), SETS)
start_keys = jax.random.split(jax.random.key(2), (SETS, STARTS))


def probabilities_of(width):
    """The predictions [sets, starts, test rows, classes], and the mean training error."""
    net = fn.MLP((64, width, 10))

    def member(set_key, start_key):
        rows = fn.data.take(pool, jax.random.permutation(set_key, len(pool))[:ROWS])
        init_key, run_key = jax.random.split(start_key)
        run = train(net.init(init_key), rows, run_key)
        return jax.nn.softmax(fn.predict(run.model, test_x)), fn.evaluate(loss, run.model, rows)["accuracy"]

    @jax.jit
    def all_members(set_keys, start_keys):
        starts = jax.vmap(member, in_axes=(None, 0))
        return jax.lax.map(lambda keys: starts(*keys), (set_keys, start_keys))

    predictions, accuracy = all_members(set_keys, start_keys)
    return np.asarray(predictions, float), 1 - float(accuracy.mean())


# 3. The squared error of the probabilities is bias² (with the noise of the labels, if there is any) plus
#    variance, and the variance has two parts by the law of total variance: over starts, given the
#    training set, and over training sets, of the mean over starts. All are unbiased estimates.
def parts(predictions):
    sets, starts = predictions.shape[:2]
    of_set = predictions.mean(axis=1)
    over_starts = predictions.var(axis=1, ddof=1).mean(axis=0)
    between = of_set.var(axis=0, ddof=1)
    over_sets = between - over_starts / starts
    bias = (of_set.mean(axis=0) - targets) ** 2 - between / sets
    total = lambda per_row: per_row.sum(axis=-1).mean()  # noqa: E731
    variance = total(over_starts) + total(over_sets)
    return np.array([total(bias), variance, total(over_starts), total(over_sets), total(bias) + variance])


def with_error(predictions):
    """The parts, and their standard errors over training sets by the jackknife."""
    others = [parts(np.delete(predictions, i, axis=0)) for i in range(SETS)]
    return parts(predictions), np.std(others, axis=0) * (SETS - 1) ** 0.5


NAMES = ("bias²", "variance", "by the start", "by the rows", "error")
print(f"{SETS} training sets of {ROWS} rows x {STARTS} starts, squared error of the probabilities")
print("width  training error" + "".join(f"{name:>17s}" for name in NAMES))
means, errors = [], []
for width in WIDTHS:
    predictions, train_error = probabilities_of(width)
    mean, error = with_error(predictions)
    means.append(mean)
    errors.append(error)
    cells = "".join(f"  {m:.4f} ± {e:.4f}" for m, e in zip(mean, error, strict=True))
    print(f"{width:5d}  {train_error:14.4f}{cells}", flush=True)

means, errors = np.array(means), np.array(errors)
steps = np.diff(means[:, 1])
highest = WIDTHS[means[:, 1].argmax()]
print(f"variance: highest at width {highest}, falls in {(steps < 0).sum()} of {len(steps)} steps")

figure, axes = plt.subplots(figsize=(6.4, 4.2), layout="constrained")
for i, line in enumerate(("-o", "-s", "--^", ":v", "-.d")):
    axes.errorbar(WIDTHS, means[:, i], 1.96 * errors[:, i], fmt=line, label=NAMES[i], capsize=3)
axes.set(xscale="log", xlabel="width", ylabel="squared error of the probabilities", ylim=(0, None))
axes.set_xticks(WIDTHS, WIDTHS)
axes.minorticks_off()
axes.legend()
picture = Path("runs/variance_and_width.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")
