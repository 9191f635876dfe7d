"""An optimizer as a step calls it: what its update asks for, and the parameters that it evaluates."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from funcnet import _check, _tree
from funcnet._types import Array, PyTree


class LookaheadState(NamedTuple):
    """The state of `optax.lookahead`, and its slow weights; the model has the fast ones."""

    inner: optax.LookaheadState
    slow: PyTree


class EmaState(NamedTuple):
    """The state of `with_ema`: the inner state, the average in at least float32, and 1 - decay^updates."""

    inner: PyTree
    average: PyTree
    correction: Array


class PlayersState(NamedTuple):
    """The state of each player's optimizer, by the player's name."""

    by_player: dict[str, PyTree]


def split_player(parameters: PyTree, name: str) -> tuple[PyTree, PyTree]:
    """The parameters of a player, which are those in the model's part of that name, and the others."""

    def is_own(path: tuple[Any, ...], _: Any) -> bool:
        return first_name(path) == name

    return _tree.partition(parameters, jax.tree_util.tree_map_with_path(is_own, parameters))


def first_name(path: tuple[Any, ...]) -> str:
    """The name of the model's part that a path leads to; "" for the path of the model itself."""
    return _tree.key_name(path[0]) if path else ""


def init_optimizer(optimizer: optax.GradientTransformation, parameters: PyTree) -> PyTree:
    """The optimizer's first state, after a check that its update can be called, again and again.

    Raises:
        TypeError: if the update asks for arguments that a step does not have.
        ValueError: if updates are unlike the parameters, the state changes its structure, or
            `optax.lookahead` is inside another transformation.
    """
    state = _tree.strongly_typed(first_state(optimizer, parameters))
    is_double = any(leaf.dtype == jnp.float64 for leaf in jax.tree.leaves(parameters))
    value = jnp.zeros((), jnp.float64 if is_double else jnp.float32)  # as a loss of these parameters
    gradient = parameters
    if aggregates_examples(state):
        gradient = jax.tree.map(lambda a: jnp.zeros((1, *a.shape), a.dtype), parameters)

    def update(gradient: PyTree, state: PyTree, parameters: PyTree, value: Array) -> Any:
        return update_optimizer(
            optimizer, gradient, state, parameters, extra_arguments(value, gradient, lambda _: value)
        )

    try:
        updates, after = jax.eval_shape(update, gradient, state, parameters, value)
    except TypeError as error:
        if "argument" not in str(error):
            raise
        raise TypeError(
            "optimizer must take its arguments from value, grad, value_fn, obj_fn and grad_fn, which a "
            f"step has, and ignore the others, got: {error}. A transformation that does not pass them on, "
            "such as optax.contrib.sam, can't contain one that needs them."
        ) from error
    jax.eval_shape(evaluated_parameters, state, parameters)  # raises an error if it can't be done
    _check_updates(updates, parameters)
    _check_state(jax.eval_shape(lambda state: state, state), after)
    return state


def check_opt_state(optimizer: optax.GradientTransformation, opt_state: PyTree, parameters: PyTree) -> None:
    """Check that a state is what this optimizer keeps for these parameters."""
    expected: Any = jax.tree.structure(jax.eval_shape(lambda p: init_optimizer(optimizer, p), parameters))
    if jax.tree.structure(opt_state) != expected:
        raise ValueError(
            "opt_state must be the state of this optimizer for the model's parameters, got "
            f"{_check.describe(opt_state)}. Try fn.TrainState.create(model, optimizer, key)."
        )


def first_state(optimizer: optax.GradientTransformation, parameters: PyTree) -> PyTree:
    """The optimizer's first state, without the check of its update."""
    try:
        state = optimizer.init(parameters)
    except ValueError as error:
        if "no corresponding transformation" not in str(error):
            raise
        reason = " ".join(str(error).split())
        raise ValueError(
            f"optimizer must have a transformation for each label, as optax.partition({{'head': "
            f"optax.adam(1e-3), 'backbone': optax.adam(1e-5)}}, labels) has, got: {reason}."
        ) from error
    except AttributeError as error:
        if "NoneType" not in str(error):
            raise
        raise TypeError(
            "optimizer must take parameters with None in place of buffers and of frozen arrays, got: "
            f"{error}. Some of optax don't, such as optax.contrib.galore: use another one, such as "
            "optax.adam."
        ) from error
    if isinstance(state, optax.LookaheadState):
        return LookaheadState(state, parameters)
    if any(isinstance(part, optax.LookaheadState) for part in _parts(state)):
        raise ValueError(
            "optimizer must not have optax.lookahead inside another transformation, since its parameters "
            "are pairs. Put the others inside: optax.lookahead(optax.chain(...), sync_period=5, "
            "slow_step_size=0.5)."
        )
    return state


def extra_arguments(value: Array, gradient: PyTree, value_fn: Callable[[PyTree], Array]) -> dict[str, Any]:
    """All that optimizers of optax ask for, by optax's names.

    Args:
        value: the mean loss of the batch.
        gradient: what the optimizer is called with.
        value_fn: the mean loss of the batch as a function of the parameters.
    """

    # A line search refuses an argument that neither it nor its `value_fn` takes.
    def value_of(parameters: PyTree, obj_fn: Any = None, grad_fn: Any = None) -> Array:
        del obj_fn, grad_fn
        return value_fn(parameters)

    def gradient_of(parameters: PyTree, _: Any = None) -> PyTree:
        return jax.grad(value_fn)(parameters)

    return {
        "value": value,  # line searches, Polyak, MoMo, reduce_on_plateau
        "grad": gradient,  # line searches
        "value_fn": value_of,  # line searches
        "obj_fn": value_fn,  # Sophia
        "grad_fn": gradient_of,  # SAM
    }


def apply_gradient(
    optimizer: optax.GradientTransformation,
    parameters: PyTree,
    opt_state: PyTree,
    value: Array,
    gradient: PyTree,
    value_fn: Callable[[PyTree], Array],
) -> tuple[PyTree, PyTree]:
    """The parameters and the optimizer's state after one update. See `extra_arguments` for the rest."""
    extra = extra_arguments(value, gradient, value_fn)
    updates, opt_state = update_optimizer(optimizer, gradient, opt_state, parameters, extra)
    return optax.apply_updates(parameters, updates), opt_state


def update_optimizer(
    optimizer: optax.GradientTransformation,
    gradient: PyTree,
    state: PyTree,
    parameters: PyTree,
    extra: dict[str, Any],
) -> tuple[PyTree, PyTree]:
    """The updates and the new state; of `extra`, the optimizer gets what its signature asks for.

    The gradient has a leading axis of examples if the optimizer aggregates them.
    """
    if isinstance(state, LookaheadState):
        both = optax.LookaheadParams(fast=parameters, slow=state.slow)
        updates, inner = optimizer.update(gradient, state.inner, both)
        return updates.fast, LookaheadState(inner, optax.apply_updates(state.slow, updates.slow))
    asked = inspect.signature(optimizer.update).parameters.values()
    names = {parameter.name for parameter in asked}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in asked):
        # `chain` and others pass on all that they get, and SAM refuses what it does not use.
        has_sam = any(isinstance(part, optax.contrib.SAMState) for part in _parts(state))
        names = {"grad_fn"} if has_sam else set(extra)
    passed = {name: value for name, value in extra.items() if name in names}
    try:
        return optimizer.update(gradient, state, parameters, **passed)
    except (TypeError, ValueError) as error:  # such as a learning rate that is a list, or an array
        reason = next(iter(str(error).splitlines()), "").rstrip(".")
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"the optimizer can't update the parameters: {reason}.") from error


def aggregates_examples(state: PyTree) -> bool:
    """Whether the optimizer of this state takes the gradient of each example, as DP-SGD does."""
    kind = optax.contrib.DifferentiallyPrivateAggregateState
    return any(isinstance(part, kind) for part in _parts(state))


def evaluated_parameters(state: PyTree, parameters: PyTree) -> PyTree:
    """The parameters to evaluate; `parameters` itself, unless the optimizer takes its gradients elsewhere.

    They are the average of `ema`, the slow weights of `optax.lookahead`, the average of
    `optax.contrib.schedule_free`, and, in the middle of a period of `optax.contrib.sam`, the weights before
    its adversarial steps.
    """
    if isinstance(state, EmaState):
        return cast_like(state.average, parameters)
    if isinstance(state, PlayersState):
        for name, player in state.by_player.items():
            own, others = split_player(parameters, name)
            evaluated = evaluated_parameters(player, own)
            parameters = parameters if evaluated is own else _tree.combine(evaluated, others)
        return parameters
    for part in _parts(state):
        match part:
            case LookaheadState():
                return part.slow
            case optax.contrib.ScheduleFreeState():
                parameters = _map(_average_function(part), parameters, part.z)
            case optax.contrib.SAMState() if part.cache is not None:
                parameters = _map(_sync_function(part.steps_since_sync == 0), parameters, part.cache)
    return parameters


def cast_like(tree: PyTree, like: PyTree) -> PyTree:
    """The leaves of `tree` in the dtypes of those of `like`."""
    return jax.tree.map(lambda a, b: a if a.dtype == b.dtype else a.astype(b.dtype), tree, like)


def _average_function(state: Any) -> Callable[[Array, Array], Array]:
    def average(p: Array, z: Array) -> Array:
        return optax.contrib.schedule_free_eval_params(state._replace(z=z), p).astype(p.dtype)

    return average


def _sync_function(at_sync: Array) -> Callable[[Array, Array], Array]:
    return lambda p, cached: jnp.where(at_sync, p, cached)


def _map(f: Callable[[Array, Array], Array], parameters: PyTree, kept: PyTree) -> PyTree:
    """`f` of each parameter and what the optimizer keeps for it; masked parameters are unchanged."""
    if list(_tree.paths(parameters)) != list(_tree.paths(kept, _is_masked)):
        raise ValueError(
            "optimizer must not have schedule_free or sam inside a transformation that reshapes "
            "parameters, such as optax.flatten. Put that inside: schedule_free(optax.flatten(...), ...)."
        )
    return jax.tree.map(lambda p, k: p if _is_masked(k) else f(p, k), parameters, kept)


def _is_masked(node: Any) -> bool:
    return isinstance(node, optax.MaskedNode)


_KINDS = (
    LookaheadState,
    optax.LookaheadState,
    optax.contrib.DifferentiallyPrivateAggregateState,
    optax.contrib.SAMState,
    optax.contrib.ScheduleFreeState,
)


def _parts(state: PyTree) -> Iterator[Any]:
    """The parts of a state that belong to a transformation with a calling convention of its own."""

    def is_part(node: Any) -> bool:
        return isinstance(node, _KINDS)

    return filter(is_part, jax.tree.leaves(state, is_leaf=is_part))


def _check_updates(updates: PyTree, parameters: PyTree) -> None:
    """Check that there is one update of the same shape for each parameter."""
    shapes = [
        {path: leaf.shape for path, leaf in _tree.paths(tree).items()} for tree in (updates, parameters)
    ]
    if shapes[0] != shapes[1]:
        raise ValueError(
            "optimizer must return one update in the shape of each parameter, got updates of shapes "
            f"{shapes[0]} for parameters of shapes {shapes[1]}. Transformations that only measure belong "
            "into optax.snapshot: optax.chain(optax.snapshot('norm', optax.tree.norm), optax.adam(1e-2))."
        )


def _check_state(before: PyTree, after: PyTree) -> None:
    """Check that a loop can carry the state: an update changes no structure, shape or dtype."""
    old, new = _tree.paths(before), _tree.paths(after)
    for path in sorted(set(old) | set(new)):
        a, b = (tree.get(path) for tree in (old, new))
        if a is not None and b is not None and a.shape == b.shape and (a.dtype == b.dtype or a.weak_type):
            continue
        described = ["nothing" if leaf is None else _tree.dtype_and_shape(leaf) for leaf in (a, b)]
        raise ValueError(
            "optimizer must keep the structure, shapes and dtypes of its state, since the updates of a run "
            f"are one compiled loop, got {described[0]} before and {described[1]} after an update at "
            f"{path or 'its state'}. To record a measurement, use optax.snapshot; a dtype that changes "
            "often comes from a setting or a mask of another dtype than the parameters."
        )
