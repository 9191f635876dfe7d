"""Networks of equinox."""

import inspect
from collections.abc import Callable
from typing import Any

import jax

from funcnet import _check, _tree
from funcnet._module import Buffer
from funcnet._types import Key, PyTree
from funcnet.interop._mode import check_call
from funcnet.interop._network import LiftedNetwork, defaults_of_jax, is_buffer


def from_equinox(make: Any) -> LiftedNetwork:
    """A network of equinox.

    `model.params` is the equinox module with its arrays alone: the floating ones are trained, and others
    are in Buffers. Inference is that of `equinox.nn.inference_mode`; in training, layers are as they were
    built. A module with an `equinox.nn.State`, such as one with BatchNorm, is mapped over its batch by
    `jax.vmap` with the axis name of its layers, and example i of a batch gets key i of `jax.random.split`.

    Args:
        make: a function of a key that returns a module, or with a state
            `equinox.nn.make_with_state(Net)`, which returns a pair. A key that is passed by name needs a
            lambda: `lambda key: Net(key=key)`. A module that is built already, or such a pair, is a fixed
            start: a model, which is trained without `init`.

    Returns:
        A module; `init` draws its parameters, and it is called on one example. With a state, a loop of your
        own must not pad its batches: `fn.data.batches(..., pad=False)`.

    Raises:
        TypeError: if `make` is none of these, or the module can't be called.

    Example:
        >>> import equinox as eqx, jax, jax.numpy as jnp, funcnet as fn
        >>> net = fn.interop.from_equinox(lambda key: eqx.nn.MLP(4, 3, width_size=8, depth=1, key=key))
        >>> model = net.init(jax.random.key(0))
        >>> model(jnp.ones(4)).shape, fn.count(model)
        ((3,), 67)
    """
    import equinox

    is_built = isinstance(make, equinox.Module | tuple)
    if not (is_built or callable(make)):
        raise TypeError(
            "make must be a module of equinox, or a function of a key that returns one, got "
            f"{_check.describe(make)}. Try from_equinox(lambda key: Net(key))."
        )
    with defaults_of_jax():
        result = make if is_built else equinox.filter_eval_shape(make, jax.random.key(0))
    module, state = _pair(result)
    library = _Equinox(None if is_built else make, module, state is not None)
    if not is_built:
        return LiftedNetwork(library)
    return LiftedNetwork(library, params=_arrays(module), state=jax.tree.map(Buffer, state or {}))


class _Equinox:
    """Networks that were lifted by different calls are different: their fields have no equality."""

    def __init__(self, make: Callable[[Key], Any] | None, module: Any, has_state: bool) -> None:
        import equinox

        self.make, self.has_state, self.takes_batch, self.draws = make, has_state, False, True
        self.is_built = make is None
        self.name = f"{type(module).__name__} of equinox"
        self.fields = equinox.filter(module, _tree.is_array, inverse=True)
        self.takes_key = _takes_key(type(module).__call__)
        check_call(type(module).__name__, type(module).__call__, ("key", "state"))
        norms = jax.tree.leaves(module, is_leaf=_has_axis_name)
        names = {norm.axis_name for norm in norms if _has_axis_name(norm)}
        self.axis_name = next(iter(names), None)
        if len(names) > 1:
            raise ValueError(
                f"the layers of a module must share one axis name, got {sorted(map(str, names))}. Pass the "
                'same to each: equinox.nn.BatchNorm(4, axis_name="batch").'
            )

    def init(self, key: Key) -> tuple[PyTree, PyTree]:
        assert self.make is not None
        module, state = _pair(self.make(key))
        return _arrays(module), {} if state is None else state

    def apply(self, params: PyTree, state: PyTree, x: PyTree, key: Key | None) -> tuple[PyTree, PyTree]:
        import equinox

        arrays = jax.tree.map(_unwrap, params, is_leaf=is_buffer)
        module = equinox.combine(arrays, self.fields)
        if key is None:
            module = equinox.nn.inference_mode(module)

        def call(x: PyTree, key: Key | None) -> Any:
            kwargs = {"key": key} if self.takes_key else {}
            return module(x, state, **kwargs) if self.has_state else (module(x, **kwargs), state)

        if key is None or not jax.tree.leaves(state):
            return call(x, key)
        keys = jax.random.split(key, len(jax.tree.leaves(x)[0]))
        return jax.vmap(call, axis_name=self.axis_name, out_axes=(0, None))(x, keys)


def _pair(result: Any) -> tuple[Any, Any]:
    """A module, and its state or None."""
    import equinox

    module, state = result if isinstance(result, tuple) and len(result) == 2 else (result, None)
    indices = [leaf for leaf in jax.tree.leaves(module, is_leaf=_is_index) if _is_index(leaf)]
    if state is None and indices:
        raise TypeError(
            "a module of equinox with a state, such as one with BatchNorm, must come with it. Write "
            "from_equinox(equinox.nn.make_with_state(Net)), or of a function of a key: "
            "from_equinox(equinox.nn.make_with_state(lambda key: Net(key)))."
        )
    has_pair = isinstance(module, equinox.Module) and isinstance(state, equinox.nn.State | None)
    if not has_pair or not callable(module):
        raise TypeError(
            "make must return a module of equinox that can be called, or a pair of one and its "
            f"equinox.nn.State, got {_check.describe(result)}."
        )
    return module, state


def _arrays(module: Any) -> Any:
    """A module without its other leaves, such as functions; arrays that are not floating in Buffers."""

    def convert(leaf: Any) -> Any:
        if not _tree.is_array(leaf):
            return None
        return leaf if jax.numpy.issubdtype(leaf.dtype, jax.numpy.inexact) else Buffer(leaf)

    return jax.tree.map(convert, module)


def _is_index(node: Any) -> bool:
    import equinox

    return isinstance(node, equinox.nn.StateIndex)


def _unwrap(leaf: Any) -> Any:
    return leaf.value if isinstance(leaf, Buffer) else leaf


def _has_axis_name(node: Any) -> bool:
    return hasattr(node, "axis_name")


def _takes_key(call: Any) -> bool:
    parameters = inspect.signature(call).parameters
    return "key" in parameters or any(p.kind == p.VAR_KEYWORD for p in parameters.values())
