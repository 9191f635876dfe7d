"""What is a gradient, and what is a graph? The mean of roots as an example.

python experiments/gradients_and_graphs.py
"""

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp

import funcnet as fn

fn.mesh.cpu_devices()  # one device per core, so that there is a device to choose below
a, b = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[2.0, 1.0], [0.5, 3.0]])


def roots(a, b):
    return jnp.sqrt(a**2 + b**2)


def mean_of_roots(a, b):
    return jnp.mean(roots(a, b))


def show(what, result, expected):
    apart = float(jnp.abs(result - expected).max())
    ours, theirs = (" ".join(f"{x:.4f}" for x in numbers.ravel()) for numbers in (result, expected))
    print(f"{what:34s}  {ours:27s}  {theirs:27s}  {apart:.0e}")


# 1. A gradient is a function of the same arguments. There is no tape.
on_paper = a / (4 * roots(a, b))
gradient = jax.grad(mean_of_roots)(a, b)
print(f"{'':36s}{'computed':29s}{'on paper':29s}apart")
show("d mean / d a", gradient, on_paper)

# 2. So gradients accumulate only if the code adds them, and there is nothing to reset.
total = jnp.zeros_like(a)
for _ in range(3):
    total = total + jax.grad(mean_of_roots)(a, b)
show("the sum of three", total, 3 * on_paper)
show("one more, without a reset", jax.grad(mean_of_roots)(a, b), on_paper)

# The same mean in microbatches, weighted by their sizes: 4 examples as a batch of 3 and one of 1.
shift = lambda move, pair: jnp.sqrt((pair[0] + move) ** 2 + pair[1] ** 2)  # noqa: E731
_, shift_grad = fn.transform.microbatched_value_and_grad(shift, 3)(jnp.array(0.0), (a.ravel(), b.ravel()))
show("mean over examples, 3 at a time", shift_grad, on_paper.sum())

# 3. For an array output, a VJP computes v · J without the whole Jacobian J.
_, vjp = jax.vjp(lambda a: roots(a, b), a)
show("VJP of the identity, plus that", vjp(jnp.eye(2))[0] + gradient, on_paper * (4 * jnp.eye(2) + 1))
show("VJP of ones", vjp(jnp.ones((2, 2)))[0], a / roots(a, b))
jacobian = fn.transform.jacobian(lambda a: roots(a, b))(a)  # [2, 2, 2, 2], the same result with more work
show("sum over the whole Jacobian", jacobian.sum((0, 1)), a / roots(a, b))

# 4. A graph is a value: shapes alone define it, before there are numbers.
shape = jax.ShapeDtypeStruct((2, 2), jnp.float32)
forward = fn.transform.graph(mean_of_roots)(shape, shape)
print("\ngraph of the mean of roots\noperation    takes                         gives         flops  bytes")
for node in forward.table():
    takes, costs = ", ".join(node.inputs), f"{node.flops:5.0f}  {node.bytes:5.0f}"
    print(f"{node.name:11s}  {takes:28s}  {node.outputs[0]:12s}  {costs}")
both = fn.transform.graph(jax.value_and_grad(mean_of_roots))(shape, shape)
for name, graph in {"mean of roots": forward, "with its gradient": both}.items():
    cost = graph.cost()
    print(
        f"{name:17s}  {cost.flops:3.0f} flops, {cost.bytes:3.0f} bytes if fused, {cost.unfused:3.0f} if not"
    )
print("what the gradient adds: " + ", ".join(" ".join(line.split()[:2]) for line in forward.diff(both)))

# 5. It is placed on a device and run later.
device = jax.devices()[-1]
value, gradient_again = both.compile(device)(a, b)
print(f"\nrun on {device}: {value:.6f}, on paper {float(roots(a, b).mean()):.6f}")
show("gradient from the graph", gradient_again, on_paper)

# 6. It can be saved, as a program that accepts any number of rows.
Path("runs").mkdir(exist_ok=True)
saved = both.save("runs/mean_of_roots.jax", batch="rows")
value, loaded = fn.transform.load_graph(saved)(jnp.tile(a, (3, 1)), jnp.tile(b, (3, 1)))
show("loaded, 6 rows: times 3, the first", 3 * loaded[:2], on_paper)

ending = "png" if shutil.which("dot") else "dot"  # text if Graphviz is not installed
print(f"picture in {both.draw(f'runs/gradients_and_graphs.{ending}', fold=False)}")
