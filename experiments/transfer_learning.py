"""What is a backbone worth that was trained on other digits? From scratch, frozen, and fine-tuned.

python experiments/transfer_learning.py
"""

import jax
import numpy as np
import optax

import funcnet as fn

ROWS, RUNS = 50, 10
LOSS = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)


# 1. The job: train on one task, then on another in four ways. Its peer is peers/transfer_learning.py.
class Net(fn.Module):
    backbone: fn.Module = fn.Sequential(
        fn.layers.Conv2d(1, 16, 3, use_bias=False),
        fn.layers.BatchNorm(16),
        jax.nn.relu,
        fn.layers.Conv2d(16, 32, 3, use_bias=False),
        fn.layers.BatchNorm(32),
        jax.nn.relu,
        fn.layers.MaxPool2d(2),
        fn.layers.Flatten(3),
    )
    head: fn.Module = fn.Linear(512, 5)

    def __call__(self, x, key=None):
        return self.head(self.backbone(x, key=key))


def fit(optimizer, epochs):
    return fn.fit(LOSS, optimizer, epochs=epochs, batch_size=16)


def from_scratch(pretrained, epochs):
    return Net(), fit(optax.adam(3e-3), epochs)


def frozen(pretrained, epochs):
    return Net(fn.freeze(pretrained.backbone)), fit(optax.adam(3e-3), epochs)


def fine_tuned(pretrained, epochs):
    return Net(pretrained.backbone), fit(optax.adam(3e-3), epochs)


def rates_by_path(pretrained, epochs):
    label = fn.label(lambda path, leaf: "head" if path.startswith("head") else "backbone")
    rates = {"head": optax.adam(3e-3), "backbone": optax.adam(3e-4)}
    return Net(pretrained.backbone), fit(optax.partition(rates, label), epochs)


def tasks():
    """Images of the digits 0 to 4, and of the digits 5 to 9 with labels from 0."""
    pixels, labels = map(np.asarray, fn.data.load("digits").data[:])
    images, low = pixels.reshape(-1, 8, 8, 1) / 16, labels < 5
    return (images[low], labels[low]), (images[~low], labels[~low] - 5)


def main():
    # 2. The backbone: all of the first task.
    digits, others = tasks()
    key = jax.random.key(0)
    pretrained = fit(optax.adam(1e-3), 20)(Net().init(key), digits, key).model
    train, test = fn.data.split(others, (ROWS, len(others[0]) - ROWS), key, stratify=others[1])

    # 3. Ten runs of each way in one program: other heads, another order of the rows.
    keys = jax.random.split(jax.random.key(2), RUNS)
    accuracy = jax.jit(jax.vmap(lambda model: fn.evaluate(LOSS, model, test)["accuracy"]))
    print(f"{ROWS} rows of the digits 5 to 9, {RUNS} runs; accuracy on the {len(test)} other rows")
    for epochs in (3, 30):
        for way in (from_scratch, frozen, fine_tuned, rates_by_path):
            net, train_net = way(pretrained, epochs)
            models = jax.jit(jax.vmap(net.init))(keys)
            runs = jax.vmap(train_net, in_axes=(0, None, 0))(models, train, keys)
            values = accuracy(runs.model)
            print(
                f"{epochs:2d} epochs  {way.__name__:13s}  {fn.count(net, trainable=True):5,} trainable "
                f"parameters  accuracy {values.mean():.3f} ± {values.std(ddof=1) / RUNS**0.5:.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
