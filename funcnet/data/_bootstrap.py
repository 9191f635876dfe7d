"""Rows drawn with replacement, and the rows that were not drawn."""

import jax
import jax.numpy as jnp

from funcnet import _check, _keys, _tree
from funcnet._types import Key, PyTree
from funcnet.data._dataset import Dataset, as_dataset


def bootstrap(data: PyTree, key: Key, samples: int | None = None) -> Dataset:
    """A view of rows drawn uniformly with replacement. Pure, so it may stand inside jit and vmap.

    Args:
        data: a Dataset, or a tuple of arrays [n, ...]. Rows keep their weights; none of weight zero is
            drawn.
        key: decides which rows are drawn.
        samples: how many are drawn; n, the number of examples, when left out.

    Returns:
        A Dataset of `samples` examples that shares the arrays.

    Raises:
        TypeError: if `key` is no typed key, or `samples` no whole number.
        ValueError: if `samples` is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> data = fn.data.Dataset((jnp.arange(1000.0),))
        >>> sample = fn.data.bootstrap(data, jax.random.key(0))
        >>> len(sample), len(set(sample.rows.tolist()))  # about 1 - 1/e of them
        (1000, 651)

        The spread of a mean, from 500 samples at once; the arrays are there once:

        >>> keys = jax.random.split(jax.random.key(1), 500)
        >>> means = jax.vmap(lambda key: fn.data.bootstrap(data, key)[:][0].mean())(keys)
        >>> round(float(means.std()), 1), round(float(data[:][0].std() / 1000**0.5), 1)
        (9.4, 9.1)

        To keep the samples themselves: `jax.vmap(draw, out_axes=fn.data.Dataset.axes(rows=0))(keys)`.

    Source: Efron, "Bootstrap methods: another look at the jackknife", 1979.
    """
    data = as_dataset(data)
    _check.key(key)
    samples = len(data) if samples is None else samples
    _check.positive("samples", samples)
    key = _keys.named(key, "bootstrap")
    if data.weight is None:
        drawn = jax.random.randint(key, (samples,), 0, len(data), jnp.int32)
    else:
        counted = jnp.cumsum(data.weights() > 0, dtype=jnp.int32)
        number = jax.random.randint(key, (samples,), 0, jnp.maximum(counted[-1], 1), jnp.int32)
        drawn = jnp.searchsorted(counted, number, side="right").astype(jnp.int32)
        drawn = jnp.minimum(drawn, len(data) - 1)
    return _tree.replace(data, rows=data._row(drawn))


def out_of_bag(data: PyTree, sample: Dataset) -> Dataset:
    """What a bootstrap sample left out: all examples, those that were drawn with weight zero.

    A row counts nowhere if it was drawn, so a loss over the result is that of rows never trained on;
    and its shape does not depend on the key, so it may stand inside jit and vmap.

    Args:
        data: what was drawn from, a Dataset or a tuple of arrays [n, ...].
        sample: what `bootstrap(data, key)` gave.

    Returns:
        A Dataset of n examples. Means over it are NaN if every row was drawn, which for n rows has a
        probability of about n! / nⁿ.

    Raises:
        ValueError: if `sample` is no view of `data`.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(-1.0, 1.0, 20)[:, None]
        >>> data = fn.data.Dataset((x, 3 * x[:, 0]))
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> train = fn.fit(loss, optax.adam(0.1), epochs=60, batch_size=10)
        >>> model = fn.models.LinearRegression(1).init(jax.random.key(0))
        >>> def member(key):
        ...     sample = fn.data.bootstrap(data, key)
        ...     return train(model, sample, key, fn.data.out_of_bag(data, sample))
        >>> runs = jax.vmap(member)(jax.random.split(jax.random.key(1), 4))
        >>> runs.history["val_loss"].shape, bool(runs.history["val_loss"][:, -1].max() < 0.01)
        ((4, 60), True)

    Source: Breiman, "Out-of-bag estimation", 1996.
    """
    data = as_dataset(data)
    count = jax.tree.leaves(data.arrays)[0].shape[0]
    rows = getattr(sample, "rows", None)
    if rows is None or jax.tree.leaves(sample.arrays)[0].shape[0] != count:
        raise ValueError(
            f"sample is a view of the {count} rows of data; got {_check.describe(sample)}. "
            "Try sample = bootstrap(data, key); out_of_bag(data, sample)."
        )
    left = jnp.ones(count).at[rows].set(0.0)
    return _tree.replace(data, weight=left if data.weight is None else left * data.weight)
