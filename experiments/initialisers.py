"""How large should initial weights be? Signals and gradients through twenty layers.

python experiments/initialisers.py
"""

from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt

import funcnet as fn

WIDTH, DEPTH = 128, 20
x = jax.random.normal(jax.random.key(0), (256, WIDTH))

normal = jax.nn.initializers.normal
inits = {
    "std 1": normal(1.0),
    "std 1/n": normal(1 / WIDTH),
    "std 1/√n": normal(WIDTH**-0.5),
    "uniform 0 .. 0.01": "uniform",
    "Glorot": "glorot_normal",
    "He": "he_normal",
}

# 1. Forward: the standard deviation of the output of each layer, for inputs of unit variance.


def stds(model, activation):
    """The standard deviation after every layer, [DEPTH]."""
    signal, values = x, []
    for layer in model.layers[:DEPTH]:
        signal = activation(layer(signal))
        values.append(scaled(jnp.std, signal))
    return jnp.array(values)


def scaled(statistic, array):
    """A statistic that grows with its array: in float32, squares of 1e20 are infinite."""
    largest = jnp.abs(array).max()
    return largest * statistic(array / jnp.where(largest > 0, largest, 1))


# 2. Backward: the norm of the gradient that reaches the first and the twentieth layer.


def gradient_norms(model):
    gradient = jax.grad(lambda m: jnp.mean(m(x) ** 2) / 2)(model)
    return [float(scaled(jnp.linalg.norm, gradient.layers[i].weight)) for i in (0, -2)]


curves = {}
print("weights            activation  std after layer 1     10         20   gradient first        20")
for activation in (jax.nn.relu, jnp.tanh, jax.nn.sigmoid):
    for name, init in inits.items():
        net = fn.MLP((WIDTH,) * (DEPTH + 2), activation=activation, weight_init=init)
        model = net.init(jax.random.key(1))
        std = jax.jit(stds, static_argnums=1)(model, activation)
        first, last = gradient_norms(model)
        print(
            f"{name:17s}  {activation.__name__:10s}  {std[0]:17.2g}  {std[9]:5.2g}  {std[-1]:9.2g}  "
            f"{first:15.1e}  {last:8.1e}",
            flush=True,
        )
        if activation is jax.nn.relu:
            curves[name] = jnp.where(std > 0, jnp.log10(std), jnp.nan)  # float32 ends at 1e-38

# 3. Why very small steps are lost: float32 has about seven digits.
print(
    f"\nfloat32: 1e10 + 1e-10 - 1e10 = {float(jnp.float32(1e10) + jnp.float32(1e-10) - jnp.float32(1e10))}"
)

figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
fn.report.curves(curves, axes, xlabel="layer", ylabel="log10 of the standard deviation, relu")
picture = Path("runs/initialisers.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")
