"""Is there a small network in a large one that trains as well from the same first weights?

    python experiments/lottery_tickets.py

An MLP 64-300-100-10 on 719 digits, trained and pruned ten times; each time the weights that remain are
set back to their first values. Eight runs on one split, with 95 % intervals; accuracies are those of the
epoch with the lowest validation loss.

There is, as Frankle and Carbin (2019) found. With 70 to 25 % of the weights a ticket is better than the
whole network, by 0.0030 ± 0.0014 to 0.0038 ± 0.0021, and learns sooner: its best epoch is 28 instead of
40 at 25 %. With 4 % of the weights it has lost nothing that eight runs can show (-0.0014 ± 0.0044). The
same masks with new weights learn later (epoch 101 at 4 %) and are worse by 0.0099 ± 0.0049, and random
masks by 0.0125 ± 0.0075: it takes both the mask and its first weights.

Source: Frankle, Carbin, "The lottery ticket hypothesis: finding sparse, trainable neural networks", 2019.
"""

import dataclasses
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax

import funcnet as fn

RUNS, ROUNDS, EPOCHS, BATCH = 8, 11, 150, 60
T = 2.365  # the 97.5 % point of Student's t with 7 degrees of freedom

digits = fn.data.load("digits").data
rows, valid, test = fn.data.split(digits, (0.4, 0.2, 0.4), jax.random.key(0), stratify=digits.arrays[1])
scaler = fn.data.Scaler.fit(rows)
rows, valid, test = map(scaler.transform, (rows, valid, test))
loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)


# 1. A network in which some weights are zero and stay so.
class Masked(fn.Module):
    """An MLP whose weights are multiplied by masks, which are not trained."""

    net: fn.MLP
    masks: tuple[fn.Buffer, ...]

    def __call__(self, x, key=None):
        layers = [
            dataclasses.replace(layer, weight=layer.weight * mask.value)
            for layer, mask in zip(self.net.layers, self.masks, strict=True)
        ]
        return dataclasses.replace(self.net, layers=tuple(layers))(x, key=key)


net = fn.MLP((64, 300, 100, 10))
# It returns the model of the epoch with the lowest validation loss.
train = fn.fit(
    loss, optax.adam(1.2e-3), epochs=EPOCHS, batch_size=BATCH, stopping=fn.EarlyStopping(patience=EPOCHS)
)


# 2. Each round removes the smallest of the weights that remain, after the last epoch: 30 %, and 15 % of the
#    last layer.
def prune(model):
    def smaller(layer, mask, share):
        size = jnp.where(mask.value > 0, jnp.abs(layer.weight), -1.0).ravel()
        keep = jnp.round(mask.value.sum() * (1 - share)).astype(int)
        order = jnp.argsort(-size)
        kept = jnp.zeros(size.shape).at[order].set((jnp.arange(size.size) < keep).astype(float))
        return fn.Buffer(kept.reshape(layer.weight.shape))

    shares = (0.3, 0.3, 0.15)
    layers = zip(model.net.layers, model.masks, shares, strict=True)
    return tuple(smaller(*layer) for layer in layers)


def shuffled(masks, key):
    """As many weights in each layer, at random places."""
    mask_keys = jax.random.split(key, len(masks))
    return tuple(
        fn.Buffer(jax.random.permutation(mask_key, mask.value.ravel()).reshape(mask.value.shape))
        for mask_key, mask in zip(mask_keys, masks, strict=True)
    )


# 3. One program for a round: runs of the ticket from its first weights, of the same mask with new weights,
#    and of a random mask. The ticket that was trained decides on the next mask. New weights and the random
#    order are the same in every round.
def round_of(key, masks):
    init_key, other_key, mask_key, order_key = jax.random.split(key, 4)
    start = net.init(init_key)
    starts = [
        Masked(start, masks),
        Masked(net.init(other_key), masks),
        Masked(start, shuffled(masks, mask_key)),
    ]
    runs = [train(model, rows, order_key, valid) for model in starts]
    accuracies = [fn.evaluate(loss, run.model, test)["accuracy"] for run in runs]
    best_epochs = [jnp.nanargmin(run.history["val_loss"]) + 1 for run in runs]
    return prune(runs[0].state.model), jnp.stack(accuracies), jnp.stack(best_epochs)


program = jax.jit(jax.vmap(round_of))
keys = jax.random.split(jax.random.key(1), RUNS)
weights = net.init(jax.random.key(0)).layers
masks = tuple(fn.Buffer(jnp.ones((RUNS, *layer.weight.shape))) for layer in weights)
total = sum(layer.weight.size for layer in weights)


def difference(values, others):
    """The mean difference and the half-width of its 95 % interval, paired by run."""
    values = values - others
    return f"{values.mean():+.4f} ± {T * values.std(ddof=1) / RUNS**0.5:.4f}"


def mean_epoch(best_epochs):
    """The mean over runs; with a + if the best epoch of one is the last, so that it might be later."""
    return f"{best_epochs.mean():.0f}{'+' * bool((best_epochs == EPOCHS).any())}"


print(f"test accuracy of {RUNS} runs, and differences with 95 % intervals")
print(
    "                   difference from                                               best epoch of\n"
    "weights   ticket   all weights        new weights        a random mask        ticket, new, random"
)
left, accuracies, epochs = [], [], []
for _ in range(ROUNDS):
    left.append(sum(mask.value[0].sum() for mask in masks) / total)
    masks, accuracy, best_epoch = program(keys, masks)
    accuracies.append(np.asarray(accuracy, float))
    epochs.append(np.asarray(best_epoch, float))
    ticket, new, random_mask = accuracies[-1].T
    print(
        f"{left[-1]:7.1%}  {ticket.mean():.4f}   {difference(ticket, accuracies[0][:, 0])}   "
        f"{difference(ticket, new)}   {difference(ticket, random_mask)}   "
        f"{', '.join(map(mean_epoch, epochs[-1].T))}",
        flush=True,
    )

figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
names = ("ticket", "same mask, new weights", "random mask")
for axes, values, label in zip(panels, (accuracies, epochs), ("test accuracy", "best epoch"), strict=True):
    curves = np.array(values)  # [rounds, runs, kinds]
    for kind, (name, line) in enumerate(zip(names, ("-o", "--s", ":^"), strict=True)):
        mean, error = curves[:, :, kind].mean(axis=1), curves[:, :, kind].std(axis=1, ddof=1) / RUNS**0.5
        axes.errorbar(100 * np.array(left), mean, T * error, fmt=line, label=name, capsize=3)
    axes.set(xscale="log", xlabel="weights that remain (%)", ylabel=label)
    axes.set_xticks((100, 50, 20, 10, 5), (100, 50, 20, 10, 5))
    axes.minorticks_off()
    axes.invert_xaxis()
panels[0].legend()
picture = Path("runs/lottery_tickets.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")
