"""Networks as pairs of functions, which initialize and apply them."""

import dataclasses
from collections.abc import Callable
from typing import Any

from funcnet import _check
from funcnet._types import Key, PyTree
from funcnet.interop._network import LiftedNetwork


def from_functions(
    init: Callable[[Key], PyTree], apply: Callable[[PyTree, Any, Key | None], Any]
) -> LiftedNetwork:
    """A network of two functions: one that draws its parameters, and one that applies it to one example.

    Args:
        init: `init(key) -> params`, any pytree of arrays; the floating ones are trained.
        apply: `apply(params, x, key) -> output` of one example x; the key is None in inference.

    Returns:
        A module; `init` draws its parameters, and it is called like any other.

    Raises:
        TypeError: if an argument is not such a function.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> def init(key):
        ...     return {"w": jax.random.normal(key, (2,)), "b": jnp.zeros(())}
        >>> def apply(params, x, key):
        ...     return params["w"] @ x + params["b"]
        >>> net = fn.interop.from_functions(init, apply)
        >>> train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.adam(0.1), epochs=9)
        >>> run = train(net.init(jax.random.key(0)), (jnp.ones((8, 2)), jnp.ones(8)), jax.random.key(1))
        >>> run.model.params["w"].shape
        (2,)
    """
    _check.takes("init", init, "a function init(key) -> params", None)
    _check.takes("apply", apply, "a function apply(params, x, key) -> output", None, None, None)
    return LiftedNetwork(_Functions(init, apply))


def from_stateful_functions(
    init: Callable[[Key], tuple[PyTree, PyTree]],
    apply: Callable[[PyTree, PyTree, Any, Key | None], tuple[Any, PyTree]],
) -> LiftedNetwork:
    """A network of two functions with a state, such as running statistics, applied to a whole batch.

    Args:
        init: `init(key) -> (params, state)`, pytrees of arrays.
        apply: `apply(params, state, x, key) -> (output, state)` of a batch x [rows, ...]. In inference,
            when the key is None, the state that it returns is ignored.

    Returns:
        A module; training updates its state once a step. A loop of your own must not pad its batches:
        `fn.data.batches(..., pad=False)`.

    Raises:
        TypeError: if an argument is not such a function.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> def init(key):  # a layer that centres its inputs by a running mean
        ...     return {"scale": jnp.ones(())}, {"mean": jnp.zeros(())}
        >>> def apply(params, state, x, key):
        ...     if key is not None:
        ...         state = {"mean": 0.9 * state["mean"] + 0.1 * x.mean()}
        ...     return params["scale"] * (x - state["mean"]), state
        >>> net = fn.interop.from_stateful_functions(init, apply)
        >>> train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.sgd(0.1), epochs=1)
        >>> run = train(net.init(jax.random.key(0)), (jnp.ones(8), jnp.ones(8)), jax.random.key(1))
        >>> round(float(run.model.state["mean"].value), 4)
        0.1
    """
    _check.takes("init", init, "a function init(key) -> (params, state)", None)
    expected = "a function apply(params, state, x, key) -> (output, state)"
    _check.takes("apply", apply, expected, None, None, None, None)
    return LiftedNetwork(_StatefulFunctions(init, apply))


@dataclasses.dataclass(frozen=True)
class _Functions:
    draw: Callable[[Key], PyTree]
    call: Callable[[PyTree, Any, Key | None], Any]
    takes_batch, is_built, draws = False, False, True

    @property
    def name(self) -> str:
        return f"function {_check.function_name(self.call)}"

    def init(self, key: Key) -> tuple[PyTree, PyTree]:
        return self.draw(key), {}

    def apply(self, params: PyTree, state: PyTree, x: PyTree, key: Key | None) -> tuple[PyTree, PyTree]:
        return self.call(params, x, key), state


@dataclasses.dataclass(frozen=True)
class _StatefulFunctions:
    draw: Callable[[Key], tuple[PyTree, PyTree]]
    call: Callable[[PyTree, PyTree, Any, Key | None], tuple[Any, PyTree]]
    takes_batch, is_built, draws = True, False, True

    @property
    def name(self) -> str:
        return f"function {_check.function_name(self.call)}"

    def init(self, key: Key) -> tuple[PyTree, PyTree]:
        return _pair("init", "(params, state)", self.draw(key))

    def apply(self, params: PyTree, state: PyTree, x: PyTree, key: Key | None) -> tuple[PyTree, PyTree]:
        return _pair("apply", "(output, state)", self.call(params, state, x, key))


def _pair(name: str, expected: str, result: Any) -> tuple[PyTree, PyTree]:
    if not (isinstance(result, tuple) and len(result) == 2):
        raise TypeError(f"{name} must return a pair {expected}, got {_check.describe(result)}.")
    return result
