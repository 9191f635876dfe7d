"""A network of another library as a module: its parameters and its state are arrays of a `Module`."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import KW_ONLY
from typing import Any, ClassVar, Protocol

import jax

from funcnet import _tree
from funcnet._module import Buffer, Module, count
from funcnet._sow import batch_weight, gather_batch, is_called_once, own_row, replace_buffer
from funcnet._types import Key, PyTree


class Library(Protocol):
    """How a network of another library is initialized and applied, by pure functions.

    Args:
        is_built: whether it was built already, so that `init` has nothing to draw.
        draws: whether `apply` draws random numbers in training.
        takes_batch: whether `apply` takes a batch [rows, ...], or one example. A network with a state
            takes batches in training, and in any case if this is True.
    """

    takes_batch: bool
    draws: bool
    is_built: bool

    @property
    def name(self) -> str:
        """The network's class or functions, and its library."""
        ...

    def init(self, key: Key) -> tuple[PyTree, PyTree]:
        """The parameters, and the state: a tree without leaves if the network has none."""
        ...

    def apply(self, params: PyTree, state: PyTree, x: PyTree, key: Key | None) -> tuple[PyTree, PyTree]:
        """The output and the new state; in inference, if the key is None, the state is ignored."""
        ...


class LiftedNetwork(Module):
    """A network of another library: what the functions `fn.interop.from_...` return.

    It is a module like those of funcnet: `init` draws its arrays; `params` are trained, and `state`, such
    as running statistics, is carried in Buffers. It is called on one example, and `fn.fit`, `fn.evaluate`
    and `fn.predict` add the batch axis; elsewhere write `jax.vmap(model)(x)`. A loss marked by
    `losses.batchwise` calls it on all rows.

    A network with a state is applied to its whole batch in training, as in its own library: the weights of
    rows enter the loss and not its statistics, and a short last batch has its true size: in a loop of your
    own, `fn.data.batches(..., pad=False)`. Rows of weight 0 are refused. Dropout draws from
    one key for such a batch, that of its first example; in networks without a state each example has its
    own. If any of its state is frozen, `fn.freeze(model, "state")`, it stays in inference: running
    statistics are used and not updated, and there is no dropout.

    Args:
        library: the functions of the network.
        params: its parameters, in the structure of its library; drawn by `init` if None.
        state: its other arrays, each in a Buffer; drawn by `init` if None.

    Returns:
        When called on x, a pytree of arrays: the output of the network.

    Raises:
        ValueError: if a network with a state is called with a key outside of a loss, where it has no batch.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> net = fn.interop.from_functions(lambda key: {"w": jnp.ones(2)}, lambda p, x, key: p["w"] @ x)
        >>> model = net.init(jax.random.key(0))
        >>> float(model(jnp.array([1.0, 2.0]))), fn.count(model)
        (3.0, 2)
    """

    needs_key: ClassVar[bool] = True
    _lifted: ClassVar[bool] = True  # its architecture can't be saved
    library: Any
    _: KW_ONLY
    params: PyTree = None
    state: PyTree = None

    def __post_init__(self) -> None:
        bare = [leaf for leaf in jax.tree.leaves(self.state, is_leaf=is_buffer) if not is_buffer(leaf)]
        if any(_tree.is_array(leaf) for leaf in bare):
            raise TypeError(
                "state must hold its arrays in Buffers, which are not trained, got an array. Write "
                "net.replace(params=params, state=jax.tree.map(fn.Buffer, state))."
            )

    def parameters(self, key: Key) -> Mapping[str, Any]:
        if self.library.is_built:
            return {}
        with defaults_of_jax():
            params, state = self.library.init(key)
        return {"params": params, "state": jax.tree.map(Buffer, state)}

    @property
    def needs_batch(self) -> bool:  # type: ignore[override]
        """Whether it is applied to the whole batch in training, since it updates a state."""
        return bool(jax.tree.leaves(self.state)) and not self._is_frozen("state")

    @property
    def has_fixed_start(self) -> bool:  # type: ignore[override]
        """Whether it was built before it was lifted, so that `init` has nothing to draw."""
        return bool(self.library.is_built)

    def __repr__(self) -> str:
        """The network, and how many arrays of which kind it holds."""
        name = f"{type(self).__name__}({self.library.name}"
        if self.params is None:
            return f"{name}, before init)"
        state = len(jax.tree.leaves(self.state))
        return f"{name}, {count(self):,} parameters{f', {state} arrays of state' if state else ''})"

    def __call__(self, x: Any, key: Key | None = None) -> Any:
        if self._is_frozen("state"):
            key = None
        weight = batch_weight()
        is_rows = weight is not None and weight.ndim > 0
        if weight is not None and is_rows:
            _check_rows(x, weight.shape[0])
        if key is None or not self.needs_batch:
            if is_rows:
                return self._apply_rows(x, key)
            if self.library.takes_batch and is_called_once() and (key is None or not self.library.draws):
                return own_row(self._call_library(self._state(), gather_batch(x), key)[0])
            return self._apply_example(x, key)
        if weight is None:
            raise ValueError(
                "in training this network needs its whole batch, since it has a state such as running "
                "statistics: call it with a key within a loss of fn.fit or fn.step. In inference: model(x)."
            )
        if is_rows:
            return self._train(x, key)
        return own_row(self._train(gather_batch(x), gather_batch(key)[0]))

    def _train(self, rows: PyTree, key: Key) -> PyTree:
        """The output for all rows of a batch; a training step updates the state."""
        before: Any
        structure: Any
        before, structure = jax.tree.flatten(self._state())  # equinox forbids to use an old state again
        output, new = self._call_library(structure.unflatten(before), rows, key)
        after, new_structure = jax.tree.flatten(new)
        if new_structure != structure:
            raise ValueError(
                f"the state after a step must have the structure of the state before it, {structure}, got "
                f"{new_structure}."
            )
        for old, value in zip(before, after, strict=True):
            if value is not old:
                replace_buffer(old, value)
        return output

    def _apply_example(self, x: PyTree, key: Key | None) -> PyTree:
        if not self.library.takes_batch:
            try:
                return self._call_library(self._state(), x, key)[0]
            except (TypeError, ValueError) as error:
                if not _tree.is_concrete(x) or not self._takes_each_row(x):  # fit and predict map it
                    raise
                raise TypeError(
                    f"{self.library.name} takes one example, got a batch. Write fn.predict(model, x), or "
                    "jax.vmap(model)(x)."
                ) from error
        rows = jax.tree.map(lambda a: a[None], x)
        output = self._call_library(self._state(), rows, key)[0]
        return jax.tree.map(lambda a: a[0], output)

    def _takes_each_row(self, x: PyTree) -> bool:
        """Whether x is a batch of what the network takes."""
        try:
            jax.eval_shape(jax.vmap(lambda one: self._call_library(self._state(), one, None)[0]), x)
        except Exception:
            return False
        return True

    def _apply_rows(self, x: PyTree, key: Key | None) -> PyTree:
        if self.library.takes_batch:
            return self._call_library(self._state(), x, key)[0]
        if key is None:
            return jax.vmap(lambda one: self._apply_example(one, None))(x)
        keys = jax.random.split(key, len(jax.tree.leaves(x)[0]))
        return jax.vmap(self._apply_example)(x, keys)

    def _call_library(self, state: PyTree, x: PyTree, key: Key | None) -> tuple[PyTree, PyTree]:
        with defaults_of_jax():
            result: tuple[PyTree, PyTree] = self.library.apply(self.params, state, x, key)
        return result

    def _state(self) -> PyTree:
        return jax.tree.map(lambda buffer: buffer.value, self.state, is_leaf=is_buffer)


@contextlib.contextmanager
def defaults_of_jax() -> Iterator[None]:
    """Other libraries are written for JAX's default rules of promotion, and not for stricter ones."""
    with jax.numpy_rank_promotion("allow"), jax.numpy_dtype_promotion("standard"):
        yield


def is_buffer(node: Any) -> bool:
    return isinstance(node, Buffer)


def _check_rows(x: PyTree, rows: int) -> None:
    """Check that x holds all rows of the batch of a batchwise loss, possibly several inputs of each."""
    shapes = [jax.numpy.shape(leaf) for leaf in jax.tree.leaves(x)]
    if any(not shape or shape[0] % rows or not shape[0] for shape in shapes):
        raise ValueError(
            "a loss marked by losses.batchwise must call a network of another library on all rows of the "
            f"batch, got arrays of shapes {shapes} for a batch of {rows} rows. Write model(x, key=key) "
            "without jax.vmap."
        )
