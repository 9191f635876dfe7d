"""Does an ensemble notice digits that it has never seen? A hundred networks of flax linen.

    python experiments/flax_ensemble.py

Networks learn the digits 0 to 7 from 160 rows, and are asked about all ten digits. The validation losses of
the ensemble and of one network are then differentiated by the label smoothing of the training, and one of
the networks is trained in a run that is interrupted in the middle of an epoch and resumed.
"""

import contextlib
import tempfile

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import funcnet as fn

SIZE, SMOOTHING, KEY = 100, 0.002, jax.random.key(1)


# 1. A network as its users write it: BatchNorm with running statistics, Dropout, a flag for training.
class Classifier(nn.Module):
    @nn.compact
    def __call__(self, x, train: bool = False):
        for _ in range(2):
            x = nn.Dense(32, use_bias=False)(x)
            x = nn.gelu(nn.BatchNorm(use_running_average=not train, momentum=0.9)(x))
            x = nn.Dropout(0.2, deterministic=not train)(x)
        return nn.Dense(8)(x)


net = fn.interop.from_linen(Classifier(), jnp.zeros(64))
nats = fn.losses.supervised(fn.losses.cross_entropy)


def make_train(smoothing):
    def smoothed(logits, y):
        return fn.losses.cross_entropy(logits, y, smoothing=smoothing)

    optimizer = optax.adamw(3e-3, eps_root=1e-8)  # eps_root: the square root has no derivative at 0
    return fn.fit(fn.losses.supervised(smoothed), optimizer, epochs=120, batch_size=32)


pixels, labels = map(np.asarray, fn.data.load("digits").data[:])
pixels, is_known = pixels / 16, labels < 8
rows = pixels[is_known], labels[is_known]
sizes = 160, 300, len(rows[0]) - 460
data, valid, test = (part[:] for part in fn.data.split(rows, sizes, jax.random.key(0), stratify=rows[1]))

# 2. The ensemble in one program. How well does its uncertainty separate digits never seen from known
#    ones, and wrong answers from right ones? Areas under the ROC, with errors from 200 bootstrap samples.
ensemble = fn.study.ensemble(make_train(SMOOTHING), SIZE, average="classes")(net, data, KEY).model
x, y = np.concatenate([test[0], pixels[~is_known]]), test[1]
each = jax.jit(jax.vmap(ensemble.predictions, out_axes=1))(x)  # [members, rows, classes]
logits, information = fn.predict(ensemble, x), jax.jit(jax.vmap(ensemble.mutual_information))(x)


def entropy(logits):
    return -jnp.sum(jax.nn.softmax(logits) * jax.nn.log_softmax(logits), axis=-1)


@jax.jit
def areas(scores, positive, rows):
    area = lambda s, p: fn.metrics.roc_auc(s[rows], p[rows])  # noqa: E731
    return jnp.stack([jax.vmap(area)(s, p).mean() for s, p in zip(scores, positive, strict=True)])


is_unseen = jnp.arange(len(x))[None] >= len(y)
is_wrong, are_wrong = ((z[..., : len(y), :].argmax(-1) != y) for z in (logits[None], each))
scores = entropy(each), entropy(logits)[None], information[None]
questions = {
    "digits never seen": (scores, (jnp.repeat(is_unseen, SIZE, axis=0), is_unseen, is_unseen)),
    "wrong answers": ([s[:, : len(y)] for s in scores], (are_wrong, is_wrong, is_wrong)),
}
print(
    f"accuracy on known digits: {1 - are_wrong.mean():.3f} of one network, {1 - is_wrong.mean():.3f} of all"
)
for name, question in questions.items():
    count = question[0][0].shape[1]
    one, all_, mutual = areas(*question, np.arange(count))
    samples = np.random.default_rng(0).integers(0, count, (200, count))
    errors = jax.lax.map(lambda rows, question=question: areas(*question, rows), samples)
    gains = [(errors[:, i] - errors[:, 0]).std() for i in (1, 2)]
    print(
        f"{name:17} area {one:.3f} ± {errors[:, 0].std():.3f} by the entropy of one network; of all: "
        f"{all_ - one:+.3f} ± {gains[0]:.3f}, mutual information {mutual - one:+.3f} ± {gains[1]:.3f}",
        flush=True,
    )


# 3. The derivatives of two validation losses through all hundred runs, beside a finite difference: would
#    more smoothing help?
def losses(smoothing):
    study = fn.study.ensemble(make_train(smoothing), SIZE, average="classes")
    model = study(net, data, KEY).model
    of_members = jax.vmap(lambda member: fn.evaluate(nats, member, valid)["loss"])(model.members)
    return jnp.stack([of_members.mean(), fn.evaluate(nats, model, valid)["loss"]])


values, slopes = jax.jit(lambda s: jax.jvp(losses, (s,), (1.0,)))(SMOOTHING)
losses, step = jax.jit(losses), 0.2 * SMOOTHING
differences = (losses(SMOOTHING + step) - losses(SMOOTHING - step)) / (2 * step)
for name, *numbers in zip(("one network", "ensemble"), values, slopes, differences, strict=True):
    print("{:12} validation loss {:.4f}, by smoothing {:+.4f}, difference {:+.4f}".format(name, *numbers))


# 4. A run that fails after 303 of 600 steps, in the middle of an epoch, and is resumed.
class FailOnce(fn.train.Callback):
    read_only = True

    def on_fit_start(self, context):
        self.start = context.step
        print(f"starts at step {context.step}")

    def on_checkpoint(self, context):
        if self.start == 0:
            raise RuntimeError("a power cut")


train, start = make_train(SMOOTHING), net.init(KEY)
whole = train(start, data, KEY)
with tempfile.TemporaryDirectory() as directory:
    every = fn.train.Every(steps=303)
    for _ in range(2):
        trainer = fn.Trainer(
            train, directory, [FailOnce()], sync_every=every, save_every=every, progress=False
        )
        with contextlib.suppress(RuntimeError):
            run = trainer(start, data, KEY)
same = jax.tree.map(
    lambda a, b: bool((a == b).all()), (run.model, run.history), (whole.model, whole.history)
)
print(f"weights, statistics and history equal those of an uninterrupted run: {all(jax.tree.leaves(same))}")
