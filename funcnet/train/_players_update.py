"""A step in which each player updates its own part of the model."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from funcnet import _keys, _tree
from funcnet._metric import join_values
from funcnet._module import trainable
from funcnet._types import Array, Key, PyTree
from funcnet.data import Batch
from funcnet.train._gradient import gradient_function
from funcnet.train._optimizer import (
    PlayersState,
    apply_gradient,
    split_player,
)
from funcnet.train._players import PlayersOptimizer
from funcnet.train._state import TrainState
from funcnet.train._update import Update, step_key
from funcnet.transform._objective import Totals, objective


def players_update(
    loss: Any, optimizer: PlayersOptimizer, accumulate: int
) -> Callable[[TrainState, Batch], Update]:
    """The updates of all players in one step."""

    def make_update(state: TrainState, batch: Batch) -> Update:
        at_start, buffers = _tree.partition(state.model, trainable(state.model))
        key, parameters, states = step_key(state), at_start, {}
        sums: dict[str, Any] = {}
        gradients = {}
        for name, player_loss in loss.by_player.items():
            own, others = split_player(parameters, name)
            seen = others if loss.order == "alternating" else split_player(at_start, name)[1]
            update_once = functools.partial(
                _update_player, player_loss, optimizer.by_player[name], accumulate, seen, batch
            )
            player, count = (own, state.opt_state.by_player[name], buffers), loss.updates[name]
            if count == 1:
                player, (player_sums, gradients[name]) = update_once(player, key)
            else:
                player, several = jax.lax.scan(update_once, player, _keys_of_updates(key, count))
                player_sums = jax.tree.map(lambda a: jnp.mean(a, axis=0), several[0])
                gradients[name] = several[1]
            own, states[name], buffers = player
            parameters = _tree.combine(own, others)
            sums = join_values(sums, name, player_sums)
        losses = [sums[f"{name}_loss"] for name in loss.by_player]
        totals = Totals({"loss": sum(losses[1:], losses[0]), **sums}, batch.total_weight)
        must_be_finite = {f"the loss of {name}": sums[f"{name}_loss"] for name in gradients}
        must_be_finite |= {f"{name}'s gradient of": gradient for name, gradient in gradients.items()}
        return Update(totals, must_be_finite, lambda: (parameters, PlayersState(states)), buffers)

    return make_update


def _update_player(
    loss: Any,
    optimizer: optax.GradientTransformation,
    accumulate: int,
    others: PyTree,
    batch: Batch,
    player: tuple[PyTree, PyTree, PyTree],
    key: Key,
) -> tuple[tuple[PyTree, PyTree, PyTree], tuple[dict[str, Any], PyTree]]:
    """One update of one player: of its parameters, the state of its optimizer, and the buffers of all."""
    own, opt_state, buffers = player
    rest = _tree.combine(others, buffers)
    differentiate = gradient_function(accumulate, per_example=False)
    (value, (totals, rest_after)), gradient = differentiate(own, rest, loss, batch, key)

    def value_fn(parameters: PyTree) -> Array:
        return objective(parameters, rest, loss, batch, key, batch.total_weight)[0]

    own, opt_state = apply_gradient(optimizer, own, opt_state, value, gradient, value_fn)
    buffers = jax.tree.map(
        lambda old, new: None if old is None else new,
        buffers,
        rest_after,
        is_leaf=lambda leaf: leaf is None,
    )
    return (own, opt_state, buffers), (totals.sums, gradient)


def _keys_of_updates(key: Key, count: int) -> Key:
    """The key of each of a player's updates; that of the first is the key of the step."""
    others = jax.random.split(_keys.fold_in_name(key, "update"), count - 1)
    return jnp.concatenate([key[None], others])
