"""Where does the error of a fit come from? Bias falls with capacity, and variance is largest at its end.

python experiments/bias_and_variance.py
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import funcnet as fn

ROWS, NOISE, MEMBERS = 25, 0.3, 100


class Polynomial(fn.Module):
    """A polynomial on [-1, 1] as a sum of normalized Legendre polynomials, which descent fits quickly."""

    degree: int
    weight: jax.Array | None = None

    def parameters(self, key):
        return {"weight": jnp.zeros(self.degree + 1)}

    def __call__(self, x, key=None):
        terms = [jnp.ones(()), x[0]]
        for n in range(1, self.degree):
            terms.append(((2 * n + 1) * x[0] * terms[n] - n * terms[n - 1]) / (n + 1))
        terms = [term * (2 * n + 1) ** 0.5 for n, term in enumerate(terms[: self.degree + 1])]
        return jnp.stack(terms) @ self.weight


# 1. The distribution of the training sets: a sine wave plus noise of variance 0.09.
def truth(x):
    return jnp.sin(4 * x[:, 0])


def draw(key, rows=ROWS):
    x = jax.random.uniform(jax.random.fold_in(key, 0), (rows, 1), minval=-1.0)
    return x, truth(x) + NOISE * jax.random.normal(jax.random.fold_in(key, 1), (rows,))


test = draw(jax.random.key(1), 200)
loss = fn.losses.supervised(fn.losses.squared_error)


def show(label, mean, error):
    parts = (f"{mean[n]:7.4f} ± {error[n]:.4f}" for n in ("bias_squared", "variance", "noise", "error"))
    print(f"{label:>14s}  " + "  ".join(parts), flush=True)


# 2. By capacity: polynomials, each fitted to 100 training sets of 25 rows.
print("                          bias²          variance             noise             error")
by_degree = {}
train = fn.fit(loss, optax.adam(0.05), epochs=500, batch_size=ROWS, shuffle=False)
study = fn.study.bias_variance(train, MEMBERS)
for degree in (1, 2, 3, 4, 5, 7):
    result = study(Polynomial(degree), draw, jax.random.key(0), test, truth(test[0]))
    show(f"degree {degree}", result.mean, result.standard_error)
    by_degree[degree] = result

# 3. By epochs: a network of 32 hidden units. All start from the same weights, so that only the rows differ.
train = fn.fit(loss, optax.adam(0.02), epochs=1, batch_size=ROWS, shuffle=False)
study = fn.study.bias_variance(train, MEMBERS, epochs=(3, 10, 30, 100, 300, 1000))
net = fn.MLP((1, 32, "scalar"), activation=jax.nn.tanh).init(jax.random.key(2))
by_epoch = study(net, draw, jax.random.key(0), test, truth(test[0]))
for i, epochs in enumerate(by_epoch.epochs):
    mean, error = jax.tree.map(lambda a, i=i: a[i], (by_epoch.mean, by_epoch.standard_error))
    show(f"{epochs} epochs", mean, error)

figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
fn.report.bias_variance(by_degree, axes[0], xlabel="degree")
fn.report.bias_variance(by_epoch, axes[1])
for ax in axes:
    ax.set(ylim=(-0.01, 0.65))
picture = Path("runs/bias_and_variance.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")
