"""Networks of flax linen."""

import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._types import Key, PyTree
from funcnet.interop._mode import Kwargs, check_call, mode_kwargs, no_flag
from funcnet.interop._network import LiftedNetwork, defaults_of_jax


def from_linen(
    module: Any,
    example: PyTree,
    *,
    train_kwargs: Mapping[str, Any] | None = None,
    eval_kwargs: Mapping[str, Any] | None = None,
    rngs: Iterable[str] = ("dropout",),
    mutable: Iterable[str] = ("batch_stats",),
) -> LiftedNetwork:
    """A network of flax linen.

    `model.params` are its parameters, and `model.state` its other collections. With the same key, `init`
    draws what `module.init(key, x)` draws.

    Args:
        module: a `flax.linen.Module`, whose call takes a batch x [rows, ...].
        example: the input of one example, an array without the axis of the rows, of integers for tokens;
            only shapes and dtypes matter.
        train_kwargs, eval_kwargs: keyword arguments of the call in training and in inference. By default
            its flag `train`, `training`, `is_training`, `deterministic`, `inference` or
            `use_running_average`, if it has one.
        rngs: the names of its streams of random numbers. The first gets the key of the call, and stream i
            `fold_in(key, i)`.
        mutable: collections that are carried, and updated in each step: running statistics, and the
            vectors of spectral normalization, in "batch_stats".

    Returns:
        A module; `init` draws its parameters, and it is called on one example. With a state, a loop of your
        own must not pad its batches: `fn.data.batches(..., pad=False)`.

    Raises:
        TypeError: if `module` is not a module of flax linen.
        ValueError: if it has dropout or running statistics and no flag for training, a collection that is
            not in `mutable`, a stream that is not in `rngs`, values that it sows, such as losses, or an
            argument without a default.

    Example:
        >>> import flax.linen as nn, jax, jax.numpy as jnp, funcnet as fn
        >>> net = fn.interop.from_linen(nn.Sequential([nn.Dense(8), nn.relu, nn.Dense(3)]), jnp.ones(4))
        >>> model = net.init(jax.random.key(0))
        >>> model(jnp.ones(4)).shape, fn.count(model)
        ((3,), 67)
    """
    import flax
    from flax import linen

    if isinstance(module, type) or not isinstance(module, linen.Module):
        raise TypeError(
            f"module must be a module of flax linen, got {_check.describe(module)}. Try "
            "from_linen(nn.Dense(3), jnp.ones(4)); of nnx: fn.interop.from_nnx."
        )
    leaves, structure = jax.tree.flatten(example)
    if not leaves or any(isinstance(leaf, int) for leaf in leaves):
        raise TypeError(
            f"example must be the input of one example, got {_check.describe(example)}. Of a shape: "
            "from_linen(module, jnp.zeros((8, 8, 1)))."
        )
    shapes = tuple((jnp.shape(leaf), jnp.result_type(leaf)) for leaf in leaves)
    kwargs = mode_kwargs(type(module).__call__, train_kwargs, eval_kwargs)
    name = type(module).__name__
    check_call(name, type(module).__call__, dict(kwargs[0]).keys() & dict(kwargs[1]).keys())
    library = _Linen(module, structure, shapes, *kwargs, tuple(rngs), tuple(mutable), draws=True)
    with defaults_of_jax():
        if library.needs_rngs(flax, rngs):
            raise ValueError(
                f"{name} draws random numbers from a stream that is not in rngs, got rngs={library.rngs}. "
                'Name all of them: from_linen(..., rngs=("dropout", "noise")).'
            )
        library.check(linen)
        library = dataclasses.replace(library, draws=library.needs_rngs(flax, ()))
    return LiftedNetwork(library)


@dataclasses.dataclass(frozen=True)
class _Linen:
    module: Any
    structure: Any
    shapes: tuple[Any, ...]
    train_kwargs: Kwargs
    eval_kwargs: Kwargs
    rngs: tuple[str, ...]
    mutable: tuple[str, ...]
    draws: bool
    takes_batch, is_built = True, False

    @property
    def name(self) -> str:
        return f"{type(self.module).__name__} of flax linen"

    def init(self, key: Key) -> tuple[PyTree, PyTree]:
        from flax import linen

        variables = dict(linen.unbox(self._variables(key)))
        return variables.pop("params", {}), variables

    def apply(self, params: PyTree, state: PyTree, x: PyTree, key: Key | None) -> tuple[PyTree, PyTree]:
        variables = {"params": params, **state}
        if key is None:
            return self.module.apply(variables, x, **dict(self.eval_kwargs)), state
        keys, kwargs = self._keys(key), dict(self.train_kwargs)
        if not state:
            return self.module.apply(variables, x, rngs=keys, **kwargs), state
        output, new = self.module.apply(variables, x, rngs=keys, mutable=list(state), **kwargs)
        return output, {name: new[name] for name in state}

    def check(self, linen: Any) -> None:
        """Check that the collections are known, and that a network that trains differently has a flag."""
        layers = set()

        def note(call: Any, args: Any, kwargs: Any, context: Any) -> Any:
            layers.add(type(context.module).__name__)
            return call(*args, **kwargs)

        with linen.intercept_methods(note):
            variables = jax.eval_shape(self._variables, jax.random.key(0))
        changed = self._changes(variables)
        if sown := sorted(name for name, change in changed.items() if change == "sown"):
            raise ValueError(
                f"{type(self.module).__name__} sows values in {sown[0]!r}, which a loss of funcnet does "
                "not contain. Return them with the output, and add them in a loss of your own; values "
                'that are only looked at belong in "intermediates".'
            )
        if other := sorted(variables.keys() - {"params", *self.mutable}):
            raise ValueError(
                f"{type(self.module).__name__} has the collection {other[0]!r}, which is neither trained "
                f"nor carried. Carry it: from_linen(..., mutable={(*self.mutable, *other)})."
            )
        has_state = "updated" in changed.values()
        if self.train_kwargs == self.eval_kwargs and ("Dropout" in layers or has_state):
            raise no_flag(
                type(self.module).__name__,
                "running statistics" if has_state else "dropout",
            )

    def _changes(self, variables: Any) -> dict[str, str]:
        """The collections that a call in training updates or sows."""
        names, changed = sorted(variables.keys() - {"params"}), {}

        def call(variables: Any, key: Key) -> None:
            _, new = self._call(variables, self._keys(key), names)
            for name in names:
                before: Any
                structure: Any
                before, structure = jax.tree.flatten(variables[name])
                after, new_structure = jax.tree.flatten(new[name])
                if structure != new_structure:
                    changed[name] = "sown"
                elif any(a is not b for a, b in zip(before, after, strict=True)):
                    changed[name] = "updated"

        jax.eval_shape(call, variables, jax.random.key(0))
        return changed

    def _call(self, variables: Any, keys: dict[str, Key], mutable: list[str]) -> Any:
        return self.module.apply(
            variables, self._rows(), rngs=keys, mutable=mutable, **dict(self.train_kwargs)
        )

    def needs_rngs(self, flax: Any, rngs: Iterable[str]) -> bool:
        """Whether a call in training draws random numbers from a stream other than `rngs`."""
        keys = {name: jax.random.key(0) for name in rngs}
        try:
            jax.eval_shape(
                lambda variables: self._call(variables, keys, list(self.mutable)),
                jax.eval_shape(self._variables, jax.random.key(0)),
            )
        except flax.errors.InvalidRngError:
            return True
        return False

    def _rows(self) -> PyTree:
        return self.structure.unflatten([jnp.zeros((1, *shape), dtype) for shape, dtype in self.shapes])

    def _variables(self, key: Key) -> Any:
        keys = {"params": key, **self._keys(key)}
        return self.module.init(keys, self._rows(), **dict(self.eval_kwargs))

    def _keys(self, key: Key) -> dict[str, Key]:
        return {name: jax.random.fold_in(key, i) if i else key for i, name in enumerate(self.rngs)}
