"""Does padding change no number? Checks of what the user passes: networks, optimizer and loss."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from funcnet import _check, _tree
from funcnet._module import Buffer, trainable
from funcnet._types import Array, Key, Loss, PyTree
from funcnet.data import Batch, Dataset
from funcnet.models import MLP
from funcnet.study._padded import PaddedMLP, layer_shapes, pad, unpad
from funcnet.train import Fit
from funcnet.train._optimizer import (
    aggregates_examples,
    extra_arguments,
    first_state,
    init_optimizer,
    update_optimizer,
)
from funcnet.train._players import PlayersOptimizer
from funcnet.transform._objective import objective

TOLERANCE = 1e-3
"""Of the largest number of an array. Another order of summation changes 1e-6; a wrong shape changes all."""

ALONE = "Train the sizes one after another: fn.study.capacity_curve(make_train, sizes, num_repeats)."


def check_nets(sizes: Sequence[Any], nets: Sequence[Any]) -> None:
    """Check that all networks are plain MLPs before `init` that differ in their hidden sizes only."""
    for size, net in zip(sizes, nets, strict=True):
        _check.architecture(net, "the result of make_net")
        if type(net) is not MLP or isinstance(net.dropout, Buffer) or not _is_plain(net):
            raise TypeError(
                "make_net must return a fn.MLP before init, with layers of its own, a number as dropout "
                f"and nothing frozen, since only such a network can be padded, got {_describe(net)} for "
                f"{size!r}. {ALONE}"
            )
        for name, first, other in (
            ("features of the input", nets[0].sizes[0], net.sizes[0]),
            ("features of the output", nets[0].sizes[-1], net.sizes[-1]),
            ("activation", nets[0].activation, net.activation),
            ("dropout", nets[0].dropout, net.dropout),
        ):
            if first != other:
                raise ValueError(
                    f"make_net must return networks with the same {name}, got {first} for {sizes[0]!r} and "
                    f"{other} for {size!r}. Define it once, outside of make_net."
                )


def _is_plain(net: MLP) -> bool:
    """Whether a network is what its sizes and settings make, without arrays."""
    plain = MLP(net.sizes, activation=net.activation, dropout=net.dropout, weight_init=net.weight_init)
    return net == plain


def _describe(net: Any) -> str:
    if type(net) is not MLP:
        return str(_check.describe(net))
    return "an MLP with parameters" if jax.tree.leaves(net) else "an MLP with other layers or settings"


def check_train(train: Fit) -> None:
    """Check that a training function uses the gradient of the loss, by one optimizer."""
    if train.step is not None or isinstance(train.optimizer, PlayersOptimizer):
        what = "a custom step" if train.step is not None else "an optimizer for each player"
        raise ValueError(
            f"train must have one optimizer and no step of its own, so that padding stays zero, got "
            f"{what}. {ALONE}"
        )


class Padded(NamedTuple):
    """A network, its model alone, and that model padded."""

    net: MLP
    model: MLP
    padded: PaddedMLP


def check_examples(nets: Sequence[MLP], starts: PaddedMLP) -> list[Padded]:
    """The smallest network and that with the fewest layers, if it is another one: the most padding.

    Their models are not initial ones, since a loss may depend on what starts at zero. `starts` are the
    models of all networks and keys, [nets, keys, ...].
    """
    generator = np.random.default_rng(0)

    def count(net: MLP) -> int:
        return sum((inner + 1) * outer for inner, outer in layer_shapes(net))

    indices = range(len(nets))
    smallest = min(indices, key=lambda i: count(nets[i]))
    shallowest = min(indices, key=lambda i: (len(nets[i].sizes), count(nets[i])))
    examples = []
    for index in dict.fromkeys((smallest, shallowest)):
        start = jax.tree.map(lambda a: a[index, 0], starts)  # noqa: B023
        model = jax.tree.map(
            lambda a: a + jnp.asarray(0.1 * generator.normal(size=a.shape), a.dtype),
            unpad(start, nets[index]),
        )
        examples.append(Padded(nets[index], model, pad(model, nets[index], start)))
    return examples


def check_optimizer(optimizer: optax.GradientTransformation, example: Padded) -> None:
    """Check that an optimizer makes the same updates with padding, and none of the padding.

    Four updates on quadratic losses of very different scales, alone and padded, must be the same and end in
    the same state. This refuses what looks at shapes (Adafactor, Muon), at means over a parameter
    (centralized gradients), draws noise in the parameter's shape, or moves a number whose gradient is zero
    (Yogi).
    """
    net, model, padded = example
    generator = np.random.default_rng(0)
    slope = jax.tree.map(lambda a: jnp.asarray(generator.normal(size=a.shape), a.dtype), model)
    if aggregates_examples(jax.eval_shape(lambda: first_state(optimizer, _parameters(model)))):
        raise ValueError(_refuse_optimizer("it takes the gradient of each example"))

    def run(parameters: PyTree, slope: PyTree) -> Any:
        state, all_updates = init_optimizer(optimizer, parameters), []
        for scale in (1.0, 1.0, 1e-3, 1e3):

            def value_fn(parameters: PyTree, scale: float = scale) -> Array:
                parts = jax.tree.map(lambda p, s: jnp.sum(p * s + p * p / 2), parameters, slope)
                return scale * jnp.sum(jnp.stack(jax.tree.leaves(parts)))

            value, gradient = jax.value_and_grad(value_fn)(parameters)
            extra = extra_arguments(value, gradient, value_fn)
            updates, state = update_optimizer(optimizer, gradient, state, parameters, extra)
            parameters = optax.apply_updates(parameters, updates)
            all_updates.append(updates)
        return all_updates, state

    alone, side_by_side = jax.jit(
        lambda: (
            run(_parameters(model), slope),
            run(_parameters(padded), _parameters(pad(slope, net, padded))),
        )
    )()
    if not is_same(alone, side_by_side, net):
        raise ValueError(_refuse_optimizer("its updates of a padded parameter are others"))


def _refuse_optimizer(reason: str) -> str:
    return (
        "the optimizer of train must update each number by itself, or by norms, so that padding changes "
        f"no other number; {reason}. Use another one, such as optax.adamw(1e-3). {ALONE}"
    )


def check_loss(loss: Loss, example: Padded, rows: Dataset, key: Key) -> None:
    """Check that a loss, its gradient and its metrics are the same with padding, on the first rows.

    This refuses activations that see other units, such as a softmax, losses that look at the shapes or the
    number of parameters, such as a mean of their squares, and draws of dropout in a shape of the batch.
    """
    net, model, padded = example
    arrays = rows[:8]
    batch = Batch(arrays, jnp.ones(min(8, len(rows))))

    def value_and_grad(model: PyTree) -> Any:
        parts = _tree.partition(model, trainable(model))

        def mean_loss(parameters: PyTree) -> Any:
            value, totals = objective(parameters, parts[1], loss, batch, key)
            _, evaluated = objective(parameters, parts[1], loss, batch, None)
            return value, (totals.means(), evaluated.means())

        return jax.value_and_grad(mean_loss, has_aux=True)(parts[0])

    try:
        alone, side_by_side = jax.jit(lambda: (value_and_grad(model), value_and_grad(padded)))()
        same = is_same(alone, side_by_side, net)
    except (AttributeError, IndexError):  # of a loss that looks for a part of an MLP
        same = False
    if not same:
        raise ValueError(
            "the loss of train must be the same for a network that is padded with zeros, got another value "
            f"or gradient for sizes {net.sizes}. The activation must be applied to each unit by itself "
            "(unlike a softmax), with finite derivatives at 0; the loss may sum over parameters, but not "
            f"look at their shapes; and with dropout it must be of one example. {ALONE}"
        )


def is_same(alone: PyTree, padded: PyTree, net: MLP) -> bool:
    """Whether a tree is the padding of another one, up to rounding, with zeros beyond it."""
    cut = unpad(padded, net)
    structures: tuple[Any, Any] = jax.tree.structure(cut), jax.tree.structure(alone)
    if structures[0] != structures[1]:
        return False
    pairs = zip(jax.tree.leaves(alone), jax.tree.leaves(cut), strict=True)
    return all(_is_close(a, b) for a, b in pairs) and _has_zeros_beyond(padded, net)


def _is_close(a: Any, b: Any) -> bool:
    if jnp.shape(a) != jnp.shape(b):
        return False
    if _tree.is_key(a):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    a, b = np.asarray(a, float), np.asarray(b, float)
    scale = np.abs(a[np.isfinite(a)]).max(initial=0.0)
    return np.allclose(a, b, rtol=0, atol=TOLERANCE * scale, equal_nan=True)


def _has_zeros_beyond(padded: PyTree, net: MLP) -> bool:
    """Whether gradients and updates, the models in lists and pairs of them, are zero in the padding."""
    first, second = padded  # (value, gradient), or (updates, state of the optimizer)
    for tree in first if isinstance(first, list) else [second]:
        again = _parameters(pad(unpad(tree, net), net, tree))
        pairs = zip(jax.tree.leaves(tree), jax.tree.leaves(again), strict=True)
        if not all(np.array_equal(a, b, equal_nan=True) for a, b in pairs):
            return False
    return True


def _parameters(model: PyTree) -> PyTree:
    return _tree.partition(model, trainable(model))[0]
