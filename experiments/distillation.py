"""What does a small network learn from the logits of one that saw more rows, beside the labels?

python experiments/distillation.py
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import funcnet as fn

ROWS, EPOCHS, RUNS, TEMPERATURE, SHARE = 60, 200, 20, 4.0, 0.75
LOSS = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
TEACHER, STUDENT = fn.MLP((64, 256, 256, 10), dropout=0.3), fn.MLP((64, 8, 10))


# 1. The job: a loss of one example (pixels, label, the teacher's logits). Its peer: peers/distillation.py.
def distillation(temperature, share):
    def loss(model, example, key):
        x, label, teacher = example
        logits = model(x, key=key)
        soft = jax.nn.softmax(teacher / temperature)
        from_teacher = temperature**2 * fn.losses.kl_divergence(logits / temperature, soft)
        from_label = fn.losses.cross_entropy(logits, label)
        return share * from_teacher + (1 - share) * from_label, {"from_teacher": from_teacher}

    return loss


def fit(loss, epochs=EPOCHS):
    return fn.fit(loss, optax.adam(5e-3), epochs=epochs)


def distil(teacher, rows, temperature=TEMPERATURE, share=SHARE, epochs=EPOCHS):
    """The training function of a student, and its rows with the teacher's logits."""
    x, labels = rows
    return fit(distillation(temperature, share), epochs), (x, labels, fn.predict(teacher, x))


def digits():
    pixels, labels = map(np.asarray, fn.data.load("digits").data[:])
    return pixels / 16, labels


def main():
    # 2. The teacher sees 1,000 rows, a student 60 of them.
    key = jax.random.key(0)
    x, y = digits()
    sizes = ROWS, 1000 - ROWS, len(x) - 1000
    rows, more, test = (part[:] for part in fn.data.split((x, y), sizes, key, stratify=y))
    both = jax.tree.map(lambda a, b: np.concatenate([a, b]), rows, more)
    teacher = fn.fit(LOSS, optax.adam(1e-3), epochs=40)(TEACHER.init(key), both, key).model
    accuracy = jax.jit(jax.vmap(lambda model: fn.evaluate(LOSS, model, test)["accuracy"]))
    right = fn.evaluate(LOSS, teacher, test)["accuracy"]
    print(f"teacher, {fn.count(teacher):,} parameters: accuracy {right:.3f} on {len(test[0])} other rows")

    # 3. Twenty students of each kind in one program, from the same starts and over the same batches.
    keys = jax.random.split(jax.random.key(1), RUNS)
    students = jax.jit(jax.vmap(STUDENT.init))(keys)

    def accuracies(train, rows):
        return accuracy(jax.vmap(train, in_axes=(0, None, 0))(students, rows, keys).model)

    alone = accuracies(fit(LOSS), rows)
    error = alone.std(ddof=1) / RUNS**0.5
    print(f"student, {fn.count(STUDENT):,} parameters, from labels: {alone.mean():.3f} ± {error:.3f}")
    for temperature in (1.0, 4.0, 8.0):
        gain = accuracies(*distil(teacher, rows, temperature)) - alone
        print(
            f"from the teacher, temperature {temperature:.0f}: {jnp.mean(alone + gain):.3f}, "
            f"a difference of {gain.mean():+.3f} ± {gain.std(ddof=1) / RUNS**0.5:.3f}",
            flush=True,
        )


if __name__ == "__main__":
    main()
