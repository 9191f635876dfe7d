"""What do per-example gradients cost relative to the gradient of their mean?

    .venv-bench/bin/python experiments/benchmarks/per_example.py
    python experiments/benchmarks/per_example.py --rounds 15      # without torch: funcnet and JAX only

The MLP 64-128-10 on digits and a batch of 256: 9,610 parameters, so the per-example gradients take 9.8
MB. funcnet is compared with plain JAX, `torch.func`, and the method of Opacus, written out: one backward
pass that keeps the input of each layer and the gradient with respect to its output, and their per-example
products. All must agree before anything is timed. Medians of interleaved rounds; ratios within each
round, to the gradient of the mean in the same library.
"""

import argparse
import importlib.util
import random
import statistics
import sys
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax

import funcnet as fn
import results
import workloads
from funcnet import transform as T

BATCH, NORM, CALLS = 256, 1.0, 20
BASES = {"JAX": "gradient of the mean", "torch": "torch: gradient of the mean"}
Way = Callable[[], object]


def ours(work: workloads.Workload, x: np.ndarray, y: np.ndarray) -> dict[str, Way]:
    """funcnet's ways and JAX's own."""
    weights = [(jnp.asarray(w), jnp.asarray(b)) for w, b in work.layers]
    model = fn.MLP(work.sizes).init(jax.random.key(0))
    pairs = zip(model.layers, weights, strict=True)
    model = model.replace(layers=tuple(layer.replace(weight=w, bias=b) for layer, (w, b) in pairs))
    loss = fn.losses.supervised(fn.losses.cross_entropy)
    of_example = lambda model, example: loss(model, example, None)[0]  # noqa: E731

    def plain(weights, example):
        hidden, label = example
        for w, b in weights[:-1]:
            hidden = jax.nn.relu(hidden @ w + b)
        logits = hidden @ weights[-1][0] + weights[-1][1]
        return optax.softmax_cross_entropy_with_integer_labels(logits, label)

    def norms(model, data):
        return jax.vmap(optax.tree.norm)(T.per_example_grads(of_example)(model, data))

    def mean(f):
        return jax.grad(lambda m, data: jnp.mean(jax.vmap(f, (None, 0))(m, data)))

    data = jnp.asarray(x), jnp.asarray(y)
    programs = {
        BASES["JAX"]: (mean(of_example), model),
        "the same without funcnet's layers": (mean(plain), weights),
        "`per_example_grads`": (T.per_example_grads(of_example), model),
        "their norms": (norms, model),
        "`clipped_mean_grad`": (T.clipped_mean_grad(of_example, NORM), model),
        "`jax.vmap(jax.grad(…))`": (jax.vmap(jax.grad(plain), (None, 0)), weights),
    }

    def way(program, argument):
        compiled = jax.jit(program).lower(argument, data).compile()
        return lambda: jax.block_until_ready(compiled(argument, data))

    return {name: way(*program) for name, program in programs.items()}


def theirs(work: workloads.Workload, x: np.ndarray, y: np.ndarray) -> dict[str, Way]:
    """PyTorch's ways."""
    import torch
    from torch.func import functional_call, grad, vmap

    sizes = work.sizes
    net = torch.nn.Sequential(
        torch.nn.Linear(sizes[0], sizes[1]), torch.nn.ReLU(), torch.nn.Linear(sizes[1], sizes[2])
    )
    linear = [layer for layer in net if isinstance(layer, torch.nn.Linear)]
    with torch.no_grad():
        for layer, (w, b) in zip(linear, work.layers, strict=True):
            layer.weight.copy_(torch.tensor(w.T))
            layer.bias.copy_(torch.tensor(b))
    rows, labels = torch.tensor(x), torch.tensor(y, dtype=torch.long)
    cross_entropy = torch.nn.functional.cross_entropy
    parameters = dict(net.named_parameters())

    def of_example(parameters, row, label):
        return cross_entropy(functional_call(net, parameters, (row[None],)), label[None])

    each = vmap(grad(of_example), (None, 0, 0))

    def mean():
        return torch.autograd.grad(cross_entropy(net(rows), labels), list(net.parameters()))

    def backward():
        """The inputs of the layers and the gradients of their outputs, from one backward pass."""
        inputs, outputs = [], []

        def keep(_, given, out):
            inputs.append(given[0])
            outputs.append(out)

        hooks = [layer.register_forward_hook(keep) for layer in linear]
        total = cross_entropy(net(rows), labels, reduction="sum")
        for hook in hooks:
            hook.remove()
        gradients = torch.autograd.grad(total, outputs)
        return [a.detach() for a in inputs], gradients

    def by_einsum():
        inputs, gradients = backward()
        pairs = zip(inputs, gradients, strict=True)
        return [g for a, s in pairs for g in (torch.einsum("no,ni->noi", s, a), s)]

    def clipped():
        grads = by_einsum()
        length = torch.stack([g.flatten(1).norm(dim=1) for g in grads]).norm(dim=0)
        factor = (NORM / length).clamp(max=1) / len(rows)
        return [torch.einsum("n,n...->...", factor, g) for g in grads], length

    return {
        BASES["torch"]: mean,
        "torch: `vmap(grad(…))`": lambda: each(parameters, rows, labels),
        "torch: hooks and einsum, as Opacus": by_einsum,
        "torch: the same, clipped mean": clipped,
    }


def check(ways: dict[str, Way]) -> None:
    """All have the same squared norm: of the mean's gradient, of all gradients, of the clipped mean."""
    kinds = {"mean": ("mean", "without"), "clipped": ("clipped",), "norms": ("norms",)}
    squares: dict[str, dict[str, float]] = {}
    for name, way in ways.items():
        kind = next((k for k, words in reversed(kinds.items()) if any(w in name for w in words)), "each")
        out = way()
        leaves = jax.tree.leaves(out[0] if kind == "clipped" else out)
        value = sum(
            float((np.asarray(a.detach() if hasattr(a, "detach") else a) ** 2).sum()) for a in leaves
        )
        squares.setdefault("each" if kind == "norms" else kind, {})[name] = value
    for values in squares.values():
        np.testing.assert_allclose(list(values.values()), next(iter(values.values())), rtol=1e-4)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    settings = parser.parse_args()
    work = workloads.digits()
    x, y = work.x[:BATCH].astype(np.float32), work.y[:BATCH].astype(np.int32)
    ways = ours(work, x, y)
    if importlib.util.find_spec("torch"):
        ways |= theirs(work, x, y)
    check(ways)
    print(results.machine())
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(settings.rounds):
        for name in random.Random(number).sample(list(ways), len(ways)):
            ways[name]()  # refills the caches after another library
            began = time.perf_counter()
            for _ in range(CALLS):
                ways[name]()
            seconds[name].append((time.perf_counter() - began) / CALLS)
    print("| | µs | minimum | relative to the mean's gradient |\n|---|---:|---:|---:|")
    for name, times in seconds.items():
        base = seconds[BASES["torch" if name.startswith("torch") else "JAX"]]
        ratio = statistics.median(a / b for a, b in zip(times, base, strict=True))
        print(f"| {name} | {statistics.median(times) * 1e6:,.0f} | {min(times) * 1e6:,.0f} | {ratio:.2f} |")
    print(f"\nMedians of {settings.rounds} rounds of {CALLS} calls each.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
