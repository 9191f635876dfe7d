"""Several players: an optimizer for each, for its own part of the model."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import optax

from funcnet import _check, _tree
from funcnet._types import PyTree
from funcnet.train._optimizer import (
    PlayersState,
    aggregates_examples,
    first_name,
    first_state,
    split_player,
    update_optimizer,
)


class PlayersOptimizer(NamedTuple):
    """The optimizers of the players, as one transformation of the parameters of all."""

    init: Callable[[PyTree], PlayersState]
    update: Callable[..., tuple[PyTree, PlayersState]]
    by_player: Mapping[str, optax.GradientTransformation]


def players_optimizer(by_player: Mapping[str, optax.GradientTransformation]) -> PlayersOptimizer:
    """The optimizers of the players, each for the part of the model that has the name of the player."""

    def init(parameters: PyTree) -> PlayersState:
        _check_parts(parameters, by_player)
        own = {name: split_player(parameters, name)[0] for name in by_player}
        states = {name: first_state(optimizer, own[name]) for name, optimizer in by_player.items()}
        if aggregates_examples(states):
            raise ValueError(
                "an optimizer that aggregates per-example gradients, such as optax.contrib.dpsgd, can't "
                "train one of several players."
            )
        return PlayersState(states)

    def update(updates: PyTree, state: PlayersState, params: PyTree, **extra: Any) -> Any:
        states = {}
        for name, optimizer in by_player.items():
            (gradient, others), (own, _) = (split_player(tree, name) for tree in (updates, params))
            changes, states[name] = update_optimizer(optimizer, gradient, state.by_player[name], own, extra)
            updates = _tree.combine(changes, others)
        return updates, PlayersState(states)

    return PlayersOptimizer(init, update, by_player)


def as_transformation(optimizer: Any) -> Any:
    """The optimizer after a check, as one transformation if there is one for each player."""
    for one in optimizer.values() if isinstance(optimizer, Mapping) else [optimizer]:
        _check.optimizer(one)
    return players_optimizer(optimizer) if isinstance(optimizer, Mapping) else optimizer


def _check_parts(parameters: PyTree, names: Iterable[str]) -> None:
    """Check that each player has parameters, and that each parameter belongs to a player."""
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(parameters)]
    parts = dict.fromkeys(first_name(path) for path in paths)
    without_part = [name for name in names if name not in parts]
    without_player = [part for part in parts if part not in names]
    if without_part or without_player:
        raise ValueError(
            "the model must have a part for each player and no other parameters, got parts "
            f"{', '.join(parts) or 'without parameters'} for players {', '.join(names)}. Try "
            f"model = {{{', '.join(f'{name!r}: net.init(key)' for name in names)}}}; what shall not be "
            "trained is frozen by fn.freeze."
        )


def check_players(loss: Any, optimizer: Any) -> None:
    """Check that there is an optimizer for each player of a loss."""
    players = getattr(loss, "by_player", None)
    if isinstance(optimizer, Mapping):
        if players is None:
            raise TypeError(
                "a dictionary of optimizers needs a loss for each player, got "
                f"{getattr(loss, '__name__', type(loss).__name__)}. Try fn.losses.players("
                f"{', '.join(f'{name}={name}_loss' for name in optimizer)}); for parts of one model that "
                "have one loss, optax.partition."
            )
        if optimizer.keys() != players.keys():
            raise ValueError(
                f"optimizer must be a dictionary of the players {', '.join(players)}, got "
                f"{', '.join(map(str, optimizer))}."
            )
    elif players is not None:
        raise TypeError(
            "optimizer must be a dictionary with an optimizer for each player, got "
            f"{_check.describe(optimizer)}. Try "
            f"{{{', '.join(f'{name!r}: optax.adam(1e-3)' for name in players)}}}."
        )
