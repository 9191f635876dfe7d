"""Bootstrap samples: rows drawn with replacement, and the rows that were not drawn."""

import jax
import jax.numpy as jnp

from funcnet import _check, _keys, _tree
from funcnet._types import Key, PyTree
from funcnet.data._dataset import Dataset, as_dataset


def bootstrap(data: PyTree, key: Key, samples: int | None = None) -> Dataset:
    """A view of rows drawn uniformly with replacement. Works inside jit and vmap.

    Args:
        data: a Dataset, or a tuple of arrays [n, ...]. Rows keep their weights; rows of weight zero
            are not drawn.
        key: determines which rows are drawn.
        samples: how many rows are drawn; if None, n, the number of examples.

    Returns:
        A Dataset of `samples` examples, with shared arrays.

    Raises:
        TypeError: if `key` is not a typed key, or `samples` not an integer.
        ValueError: if `samples` is below 1.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> data = fn.data.Dataset((jnp.arange(1000.0),))
        >>> sample = fn.data.bootstrap(data, jax.random.key(0))
        >>> len(sample), len(set(sample.rows.tolist()))  # about 1 - 1/e of them
        (1000, 651)

        The standard deviation of a mean, from 500 samples at once, which share their arrays:

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
    samples = _check.positive("samples", samples)
    _check.fits_in_memory(f"samples={samples} row numbers", 24 * samples)
    key = _keys.fold_in_name(key, "bootstrap")
    if data.weight is None:
        position = jax.random.randint(key, (samples,), 0, len(data), jnp.int32)
    else:
        cumulative_count = jnp.cumsum(data.weights() > 0, dtype=jnp.int32)
        index = jax.random.randint(key, (samples,), 0, jnp.maximum(cumulative_count[-1], 1), jnp.int32)
        position = jnp.searchsorted(cumulative_count, index, side="right").astype(jnp.int32)
        position = jnp.minimum(position, len(data) - 1)
    return _tree.replace(data, rows=data._rows_at(position))


def out_of_bag(data: PyTree, sample: Dataset) -> Dataset:
    """The rows that are not in a bootstrap sample: all examples, with weight zero for those in the sample.

    A loss over the result uses only rows that the model was not trained on. The shape does not depend on
    the key, so `out_of_bag` works inside jit and vmap.

    Args:
        data: the data that the sample was drawn from, a Dataset or a tuple of arrays [n, ...].
        sample: as returned by `bootstrap(data, key)`.

    Returns:
        A Dataset of n examples. Means over it are NaN if every row was drawn, which, in a sample of n
        rows, has a probability of n! / nⁿ.

    Raises:
        ValueError: if `sample` is not a view of `data`.

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
    num_rows = jax.tree.leaves(data.arrays)[0].shape[0]
    rows = sample.rows if isinstance(sample, Dataset) else None
    if rows is None or jax.tree.leaves(sample.arrays)[0].shape[0] != num_rows:
        raise ValueError(
            f"sample must be a view of the {num_rows} rows of data, got {_check.describe(sample)}. "
            "Try sample = bootstrap(data, key); out_of_bag(data, sample)."
        )
    not_drawn = jnp.ones(num_rows).at[rows].set(0.0)
    return _tree.replace(data, weight=not_drawn if data.weight is None else not_drawn * data.weight)
