"""Is the best learning rate of a narrow network that of a wide one, with and without μP?

    python experiments/learning_rate_transfer.py

MLPs with two hidden layers on digits, four epochs of Adam; twelve learning rates, six seeds, widths 32 to
1,024. The best rate of a seed is the lowest point of the parabola through the best rate and its
neighbors.

With μP yes, without it no, as Yang et al. (2022) say. In the standard parametrization the best rate goes
as width to the power of -0.77 ± 0.10 (95 %), and more steeply for wide networks: the best rate of width
32 gives a training loss of 0.263 at width 1,024, where another gives 0.009. In μP the power is 0.04 ±
0.10: the best rate of width 32 is the best at every width, and gives 0.018 at 32 and 0.007 at 1,024. With
a rate of its own, a standard network can be as good or better (0.003 at width 256): the claim is about
transfer.

Source: Yang, Hu, Babuschkin, Sidor, Liu, Farhi, Ryder, Pachocki, Chen, Gao, "Tensor programs V: tuning
large neural networks via zero-shot hyperparameter transfer", 2022.
"""

from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
import optax

import funcnet as fn

BASE, WIDTHS = 32, (32, 64, 128, 256, 512, 1024)
RATES = [float(rate) for rate in 2.0 ** np.arange(-14, -2)]
SEEDS, EPOCHS, BATCH = 6, 4, 32
T = 2.571  # the 97.5 % point of Student's t with 5 degrees of freedom

digits = fn.data.load("digits").data
digits = fn.data.Scaler.fit(digits).transform(digits)
loss = fn.losses.supervised(fn.losses.cross_entropy)


# 1. Two parametrizations that agree at the base width. Standard: He's and LeCun's initial weights, one
#    learning rate for all. μP, for Adam (table 3 of the paper): the learning rate of matrices whose inputs
#    grow with the width falls as 1 / width, and the last weights are smaller by another root of the width.
def standard(width, rate):
    return fn.MLP((64, width, width, 10)), optax.adam(rate)


def maximal_update(width, rate):
    hidden = [fn.Linear(inputs, width, weight_init="he_normal") for inputs in (64, width)]
    last_init = jax.nn.initializers.variance_scaling(BASE / width, "fan_in", "truncated_normal")
    last = fn.Linear(width, 10, weight_init=last_init)
    net = fn.MLP((64, width, width, 10), layers=(*hidden, last))
    label = fn.label(lambda path, _: path in ("layers[1].weight", "layers[2].weight"))
    by_label = {True: optax.adam(rate * BASE / width), False: optax.adam(rate)}
    return net, optax.partition(by_label, label)


# 2. For each width one program: all learning rates, a traced setting. The rows that score a run are its
#    training rows, so that the score is the training loss, as in the paper.
def losses(parametrization, width):
    """The training loss at the end, [seeds, rates]."""

    def make_train(rate):
        net, optimizer = parametrization(width, rate)
        return fn.fit(loss, optimizer, epochs=EPOCHS, batch_size=BATCH, eval_every=EPOCHS), net

    study = fn.study.sweep(make_train, {"rate": RATES})
    keys = jax.random.split(jax.random.key(0), SEEDS)
    return np.stack([study(None, digits, key, digits).scores for key in keys])


def best_rate(scores):
    """log2 of the best rate: the lowest point of the parabola through the best and its neighbors."""
    scores = np.log(scores)
    i = int(np.nanargmin(scores))
    if i in (0, len(RATES) - 1):
        raise ValueError(f"the best rate is at an end of RATES: {RATES[i]}")
    left, middle, right = scores[i - 1 : i + 2]
    return np.log2(RATES[i]) + 0.5 * (left - right) / (left - 2 * middle + right)


print(f"training loss after {EPOCHS} epochs, {SEEDS} seeds: medians; rates with 95 % intervals")
print("              width  log2 of best rate  lowest loss  loss at the best rate of the base width")
curves, best = {}, {}
for parametrization in (standard, maximal_update):
    name = parametrization.__name__
    curves[name], best[name] = {}, []
    for width in WIDTHS:
        scores = losses(parametrization, width)
        bests = np.array([best_rate(one) for one in scores])
        best[name].append(bests)
        median = curves[name][f"width {width}"] = np.nanmedian(scores, axis=0)
        base = int(np.nanargmin(curves[name][f"width {BASE}"]))
        half = T * bests.std(ddof=1) / SEEDS**0.5
        print(
            f"{name:14s}{width:5d}  {bests.mean():6.2f} ± {half:.2f}  {np.nanmin(median):15.4f}"
            f"  {median[base]:10.4f}",
            flush=True,
        )
    slopes = np.polyfit(np.log2(WIDTHS), np.array(best[name]), 1)[0]
    half = T * slopes.std(ddof=1) / SEEDS**0.5
    print(f"{name}: the best rate goes as width to the power of {slopes.mean():.2f} ± {half:.2f}")

figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained", sharey=True)
for axes, (name, curve) in zip(panels, curves.items(), strict=True):
    fn.report.curves(curve, axes, x=RATES, xlabel="learning rate", ylabel="training loss (nats)")
    axes.set(xscale="log", yscale="log", title=name.replace("_", " "))
picture = Path("runs/learning_rate_transfer.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")
