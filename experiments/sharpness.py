"""How sharp may a minimum be? The largest curvature along gradient descent, and 2 / learning rate.

python experiments/sharpness.py
"""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import optax

import funcnet as fn

# 1. Twenty points of a polynomial, all of them in every step: full-batch gradient descent, without noise.
t = jnp.linspace(-1, 1, 20)[:, None]
rows = (t, 8 * t**4 - 8 * t**2 + 1)  # the Chebyshev polynomial of degree 4
model = fn.MLP((1, *[50] * 5, 1), activation=jnp.tanh).init(jax.random.key(0))
loss = fn.losses.supervised(fn.losses.squared_error)


def mean_loss(model):
    return fn.evaluate(loss, model, rows)["loss"]


# 2. The sharpness is the largest eigenvalue of the Hessian: it takes Hessian-vector products, no matrix.
def sharpness(model):
    hessian_times = functools.partial(fn.transform.hvp(mean_loss), model)
    return fn.transform.eigenpairs(hessian_times, model, jax.random.key(1))[0][0]


STEPS, EVERY = 8000, 40


@jax.jit
def descent(rate):
    """The loss of every step [STEPS] and the sharpness every EVERY steps."""
    optimizer = optax.sgd(rate)
    step = fn.step(loss, optimizer)

    def one(state, _):
        return step(state, rows)

    def some(state, _):
        sharpnesses = sharpness(state.model)
        state, info = jax.lax.scan(one, state, length=EVERY)
        return state, (info.loss, sharpnesses)

    start = fn.TrainState.create(model, optimizer, jax.random.key(2))
    _, (losses, sharpnesses) = jax.lax.scan(some, start, length=STEPS // EVERY)
    return losses.ravel(), sharpnesses


# 3. On a parabola of curvature c, a step multiplies the distance by 1 - rate · c: it grows above 2 /
# rate. The loss of a network is not a parabola: the sharpness rises until descent overshoots into a
# flatter region, and so it stays at the edge (Cohen et al., "Gradient descent on neural networks
# typically occurs at the edge of stability", 2021).
curves, losses_of = {}, {}
print("rate   2 / rate  sharpness: first  greatest  last quarter  loss at the end  steps that raise it")
for rate in (0.01, 0.02, 0.05, 0.1):
    losses, sharpnesses = descent(jnp.array(rate))
    late, rises = sharpnesses[-len(sharpnesses) // 4 :], jnp.mean(jnp.diff(losses) > 0)
    print(
        f"{rate:.2f}  {2 / rate:9.1f}  {sharpnesses[0]:16.1f}  {sharpnesses.max():8.1f}  "
        f"{late.mean():6.1f} ± {late.std():3.1f}  {losses[-1]:15.1e}  {rises:19.0%}",
        flush=True,
    )
    if jnp.isfinite(losses).all():
        curves[f"rate {rate}"] = sharpnesses
        losses_of[f"rate {rate}"] = losses[::EVERY]

# 4. Each curve ends at its dotted line, 2 / rate.
steps = jnp.arange(0, STEPS, EVERY)
figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for i, rate in enumerate((0.01, 0.02, 0.05)):
    left.axhline(2 / rate, color="black", linestyle=":", linewidth=1, label="" if i else "2 / rate")
fn.report.curves(curves, left, x=steps, xlabel="step", ylabel="largest eigenvalue of the Hessian")
fn.report.curves(losses_of, right, x=steps, xlabel="step", ylabel="training loss, log scale")
right.set_yscale("log")
picture = Path("runs/sharpness.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")
