import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from funcnet import _check
from funcnet._metric import join_values, loss_and_metrics, promote_to_float32
from funcnet._types import Array, Loss, PyTree


@_check.usage("fn.losses.players(disc=d_loss, gen=g_loss)")
def players(
    *,
    order: Literal["alternating", "together"] = "alternating",
    updates: Mapping[str, int] | None = None,
    **losses: Loss,
) -> Loss:
    """Losses of several players, of which each trains its own part of the model: GANs, actor and critic.

    The model is a dict, or a module, whose parts have the names of the players. Each loss gets the whole
    model, and its gradient is that of the player's part alone. `fit`, `step` and `TrainState.create` then
    take an optimizer for each player:
    `fn.fit(losses, {"disc": optax.adam(2e-4), "gen": optax.adam(2e-4)}, epochs=10)`.

    In a step all players see the same batch and the same key. The history holds the loss of each player,
    such as `gen_loss`, its metrics, such as `gen_accuracy`, and their sum as `loss`.

    Args:
        order: "alternating": the players update one after another, in the order of the arguments, and each
            sees the updates before it; or "together": all gradients are those at the start of the step.
        updates: how many updates a player makes in each step, all on the same batch, each but the first
            with a key of its own; 1 by default. `{"disc": 5}` is usual for a Wasserstein GAN. The history
            holds the mean of their losses.
        **losses: the loss of each player, by its name.

    Returns:
        A loss, whose value is the sum of the players' losses.

    Raises:
        TypeError: if an argument is not a loss.
        ValueError: if `order` is unknown, `updates` names no player or is below 1, there is no loss, or
            only some of them are marked by `batchwise`; in training, if a parameter belongs to no player.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> def maximize(model, example, key):  # the first player moves x up the product, the second y down
        ...     return -model["x"] * model["y"]
        >>> def minimize(model, example, key):
        ...     return model["x"] * model["y"]
        >>> game = fn.losses.players(x=maximize, y=minimize)
        >>> train = fn.fit(game, {"x": optax.sgd(0.5), "y": optax.sgd(0.5)}, epochs=1, batch_size=1)
        >>> run = train({"x": jnp.array(1.0), "y": jnp.array(1.0)}, jnp.ones(1), jax.random.key(0))
        >>> {name: float(value) for name, value in run.model.items()}
        {'x': 1.5, 'y': 0.25}
        >>> {name: values.tolist() for name, values in run.history.items()}
        {'loss': [0.5], 'x_loss': [-1.0], 'y_loss': [1.5]}

    Source: Goodfellow et al., "Generative adversarial nets", 2014; Arjovsky, Chintala, Bottou, "Wasserstein
    GAN", 2017, for several updates of one player.
    """
    _check.choice("order", order, ("alternating", "together"))
    if not losses:
        raise ValueError("players needs a loss for each player, got none. Try players(disc=f, gen=g).")
    for name, loss in losses.items():
        _check.loss(loss, name)
        refuse_players(loss, "players")
    kinds = {name: bool(getattr(loss, "batchwise", False)) for name, loss in losses.items()}
    if len(set(kinds.values())) > 1:
        batchwise = ", ".join(name for name, is_batchwise in kinds.items() if is_batchwise)
        raise ValueError(
            f"all players must have losses of one example, or all of a batch, got {batchwise} of a batch. "
            "Mark the others by fn.losses.batchwise, too."
        )
    counts = dict.fromkeys(losses, 1)
    if updates is not None and not isinstance(updates, Mapping):
        raise TypeError(
            f"updates must be a dictionary by player, got {_check.describe(updates)}. Try "
            f"updates={{{next(iter(losses))!r}: 5}}."
        )
    for name, count in ({} if updates is None else updates).items():
        if name not in losses:
            raise ValueError(f"updates must name players ({', '.join(losses)}), got {name!r}.")
        counts[name] = _check.positive(f"updates[{name!r}]", count)
    return Players(losses, order, counts)


def refuse_players(loss: Loss, wrapper: str) -> None:
    """Refuse the losses of players inside another loss, which would train their sum."""
    if hasattr(loss, "by_player"):
        raise ValueError(
            f"{wrapper} expects one loss, got those of several players. Change the loss of each player: "
            f"fn.losses.players({', '.join(f'{name}=...' for name in loss.by_player)})."
        )


@dataclasses.dataclass(frozen=True, eq=False, slots=True, weakref_slot=True)
class Players:
    """The losses of several players, as returned by `players`."""

    # With slots, a function that wraps this one does not look like it: it has no attributes to copy.
    by_player: Mapping[str, Loss]
    order: Literal["alternating", "together"]
    updates: Mapping[str, int]

    @property
    def batchwise(self) -> bool:
        """Whether the losses are those of a batch."""
        return any(getattr(loss, "batchwise", False) for loss in self.by_player.values())

    def check(self, model: PyTree, arrays: PyTree) -> None:
        """Check that the data is valid for each loss."""
        for loss in self.by_player.values():
            if (check := getattr(loss, "check", None)) is not None:
                check(model, arrays)

    def __call__(self, model: PyTree, *rest: Any) -> tuple[Array, dict[str, Any]]:
        losses: list[Any] = []
        values: dict[str, Any] = {}
        for name, loss in self.by_player.items():
            value, metrics = loss_and_metrics(loss(model, *rest))
            _check.scalar(f"the loss of {name}", value)
            losses.append(promote_to_float32(value))
            values = join_values(values, name, {"loss": value, **metrics})
        return sum(losses[1:], losses[0]), values
