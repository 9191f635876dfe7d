"""Networks of flax nnx."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._module import Buffer
from funcnet._types import Key, PyTree
from funcnet.interop._mode import Kwargs, check_call, mode_kwargs, no_flag
from funcnet.interop._network import LiftedNetwork, defaults_of_jax


def from_nnx(make: Any) -> LiftedNetwork:
    """A network of flax nnx.

    `model.params` holds its `nnx.Param`s, and `model.state` all other variables. Training and inference are
    those of `nnx.Module.train()` and `.eval()`, or of a flag of its call such as `train`. The streams of
    random numbers get the key of each call: the first the key itself, and stream i `fold_in(key, i)`.

    Args:
        make: a function of `nnx.Rngs` that returns a module, whose call takes a batch x [rows, ...]; then
            `init(key)` builds `make(nnx.Rngs(key))`. If `rngs` is passed by name, write a lambda:
            `lambda rngs: Net(rngs=rngs)`. A module that is built already is a fixed start: a model, which
            is trained without `init`.

    Returns:
        A module; `init` draws its parameters, and it is called on one example. With a state, a loop of your
        own must not pad its batches: `fn.data.batches(..., pad=False)`.

    Raises:
        TypeError: if `make` is neither, or does not return a module.
        ValueError: if the network has dropout or running statistics that neither `.eval()` nor a flag
            switches, or its call has another argument without a default, or an array of it is not in a
            variable.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> from flax import nnx
        >>> net = fn.interop.from_nnx(lambda rngs: nnx.Linear(4, 3, rngs=rngs))
        >>> model = net.init(jax.random.key(0))
        >>> model(jnp.ones(4)).shape, fn.count(model)
        ((3,), 15)
    """
    from flax import nnx

    is_built = isinstance(make, nnx.Module)
    if not is_built:
        _check.not_lifted(make)
    if not callable(make):
        raise TypeError(
            "make must be a module of flax nnx, or a function of nnx.Rngs that returns one, got "
            f"{_check.describe(make)}. Try from_nnx(lambda rngs: Net(rngs))."
        )
    graphs: list[Any] = []

    def parts() -> Any:
        module = nnx.clone(make) if is_built else make(nnx.Rngs(0))
        if not isinstance(module, nnx.Module):
            raise TypeError(f"make must return a module of flax nnx, got {_check.describe(module)}.")
        if not is_built:
            _check_arrays(module)
        kwargs = mode_kwargs(type(module).__call__, None, None)
        check_call(type(module).__name__, type(module).__call__, dict(kwargs[0]))
        train, params, rngs, state = _split(module, training=True)
        evaluate, _, _, _ = _split(module, training=False)
        has_dropout = any(isinstance(part, nnx.Dropout) for _, part in nnx.iter_modules(module))
        has_statistics = bool(nnx.state(module, nnx.BatchStat))
        if train == evaluate and not kwargs[0] and (has_dropout or has_statistics):
            raise no_flag(type(module).__name__, "running statistics" if has_statistics else "dropout")
        graphs.append(((train, evaluate), kwargs, type(module).__name__))
        return params, rngs, state

    with defaults_of_jax():
        built = parts() if is_built else jax.eval_shape(parts)
    structures = tuple(map(jax.tree.structure, built))
    (modes, kwargs, name), (params, _, state) = graphs[0], built
    library = _Nnx(None if is_built else make, modes, structures, kwargs, name)
    if not is_built:
        return LiftedNetwork(library)
    start = nnx.to_pure_dict(params), jax.tree.map(Buffer, nnx.to_pure_dict(state))
    return LiftedNetwork(library, params=start[0], state=start[1])


@dataclasses.dataclass(frozen=True)
class _Nnx:
    make: Callable[[Any], Any] | None
    graphs: tuple[Any, Any]
    """In training and in inference."""
    structures: tuple[Any, ...]
    """Of the parameters, the streams of random numbers, and the other variables."""
    kwargs: tuple[Kwargs, Kwargs]
    class_name: str
    takes_batch = True

    @property
    def name(self) -> str:
        return f"{self.class_name} of flax nnx"

    @property
    def draws(self) -> bool:
        return bool(self.structures[1].num_leaves)

    @property
    def is_built(self) -> bool:
        return self.make is None

    def init(self, key: Key) -> tuple[PyTree, PyTree]:
        from flax import nnx

        assert self.make is not None
        _, params, _, state = _split(self.make(nnx.Rngs(key)), training=True)
        return nnx.to_pure_dict(params), nnx.to_pure_dict(state)

    def apply(self, params: PyTree, state: PyTree, x: PyTree, key: Key | None) -> tuple[PyTree, PyTree]:
        from flax import nnx

        is_training = key is not None
        of_params, _, of_state = self.structures
        parts = of_params.unflatten(jax.tree.leaves(params)), of_state.unflatten(jax.tree.leaves(state))
        rngs = self._rngs(jax.random.key(0) if key is None else key)
        module = nnx.merge(self.graphs[not is_training], *parts, rngs)
        output = module(x, **dict(self.kwargs[not is_training]))
        return output, nnx.to_pure_dict(_split(module)[3]) if is_training else state

    def _rngs(self, key: Key) -> Any:
        """The variables of the streams of random numbers, from one key."""
        from flax import nnx

        structure = self.structures[1]
        rngs = structure.unflatten([None] * structure.num_leaves)
        streams = [v for v in jax.tree.leaves(rngs, is_leaf=_is_variable) if isinstance(v, nnx.RngKey)]
        keys = iter([jax.random.fold_in(key, i) if i else key for i in range(len(streams))])

        def fill(variable: Any) -> Any:
            is_key = isinstance(variable, nnx.RngKey)
            return variable.replace(next(keys) if is_key else jnp.zeros((), jnp.uint32))

        return jax.tree.map(fill, rngs, is_leaf=_is_variable)


def _split(module: Any, *, training: bool | None = None) -> Any:
    """The graph of a module, its parameters, its streams of random numbers, and its other variables."""
    from flax import nnx

    if training is not None:
        module.train() if training else module.eval()
    parts: Any = nnx.split(module, nnx.Param, nnx.RngState, nnx.Intermediate, ...)
    graph, params, rngs, _, state = parts
    return graph, params, rngs, state


def _check_arrays(module: Any) -> None:
    """Check that a module that is built in a program holds its arrays in variables, as flax needs there."""
    from flax import nnx

    for path, part in nnx.iter_modules(module):
        for name, value in vars(part).items():
            if isinstance(value, jax.Array):
                raise ValueError(
                    f"the array {'.'.join(map(str, (*path, name)))} of {type(module).__name__} must be in "
                    f"a variable of nnx: self.{name} = nnx.Variable(array), or nnx.Param if it is trained."
                )


def _is_variable(node: Any) -> bool:
    from flax import nnx

    return isinstance(node, nnx.Variable)
