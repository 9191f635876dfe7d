"""What is a gradient, and what is a graph? By the mean of roots (lesson P6 to P9, T3, X1 to X3).

python experiments/gradients_and_graphs.py
"""

import shutil
from pathlib import Path

import jax
import jax.numpy as jnp

import funcnet as fn

fn.mesh.cpu_devices()  # every core is a device of its own, so that there is one to choose below
a, b = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[2.0, 1.0], [0.5, 3.0]])


def roots(a, b):
    return jnp.sqrt(a**2 + b**2)


def mean_of_roots(a, b):
    return jnp.mean(roots(a, b))


def show(row, what, found, wanted):
    apart = float(jnp.abs(found - wanted).max())
    ours, theirs = (" ".join(f"{x:.4f}" for x in numbers.ravel()) for numbers in (found, wanted))
    print(f"{row:3s}  {what:34s}  {ours:27s}  {theirs:27s}  {apart:.0e}")


# 1. A gradient is a function of the same arguments. Nothing is recorded, watched or kept for later.
on_paper = a / (4 * roots(a, b))
slope = jax.grad(mean_of_roots)(a, b)
print(f"{'row':5s}{'what':36s}{'found':29s}{'on paper':29s}apart")
show("P6", "gradient of the mean by a", slope, on_paper)

# 2. So gradients add up only where one writes a sum, and there is nothing to reset.
total = jnp.zeros_like(a)
for _ in range(3):
    total = total + jax.grad(mean_of_roots)(a, b)
show("P7", "three of them, added up", total, 3 * on_paper)
show("P7", "one more, after no reset", jax.grad(mean_of_roots)(a, b), on_paper)

# The same sum in small parts, each weighted by its examples: here 4 examples, 3 and then 1 at a time.
shift = lambda move, pair: jnp.sqrt((pair[0] + move) ** 2 + pair[1] ** 2)  # noqa: E731
_, moved = fn.transform.microbatched_value_and_grad(shift, 3)(jnp.array(0.0), (a.ravel(), b.ravel()))
show("P7", "mean over examples, 3 at a time", moved, on_paper.sum())

# 3. Where the output is an array, what is pulled back is a vector: v · J, never the whole Jacobian J.
_, pull = jax.vjp(lambda a: roots(a, b), a)
show(
    "P9", "pulled back: the identity, and P6", pull(jnp.eye(2))[0] + slope, on_paper * (4 * jnp.eye(2) + 1)
)
show("T3", "pulled back: ones", pull(jnp.ones((2, 2)))[0], a / roots(a, b))
whole = fn.transform.jacobian(lambda a: roots(a, b))(a)  # [2, 2, 2, 2], the same by the long way
show("T3", "summed out of the whole Jacobian", whole.sum((0, 1)), a / roots(a, b))

# 4. A graph is a value: it is defined from shapes alone, before there are numbers (P8, X1).
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

# 5. It is placed on a device (X2), and run when one wishes (X3).
device = jax.devices()[-1]
value, again = both.compile(device)(a, b)
print(f"\nrun on {device}: {value:.6f}, on paper {float(roots(a, b).mean()):.6f}")
show("X3", "gradient by the graph", again, on_paper)

# 6. It outlives the process: a program that takes any number of rows.
Path("runs").mkdir(exist_ok=True)
saved = both.save("runs/mean_of_roots.jax", batch="rows")
value, loaded = fn.transform.load_graph(saved)(jnp.tile(a, (3, 1)), jnp.tile(b, (3, 1)))
show("", "loaded, 6 rows: times 3, the first", 3 * loaded[:2], on_paper)

ending = "png" if shutil.which("dot") else "dot"  # text without Graphviz's program
print(f"picture in {both.draw(f'runs/gradients_and_graphs.{ending}', fold=False)}")
