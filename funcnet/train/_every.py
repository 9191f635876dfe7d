"""How often something happens in a run."""

import dataclasses

from funcnet import _check


@dataclasses.dataclass(frozen=True)
class Every:
    """How often a `Trainer` returns to the host or saves a checkpoint: every so many epochs, steps or
    seconds.

    Args:
        epochs: the interval in epochs, counted from the start of the run.
        steps: the interval in steps, counted from the start of the run.
        seconds: the interval in seconds. The steps after which it ends differ between runs; the results are
            the same.

    Raises:
        ValueError: if not exactly one of them is given, or it is not positive.

    Example:
        >>> import funcnet as fn
        >>> fn.train.Every(epochs=5)
        Every(epochs=5)
    """

    epochs: int | None = None
    steps: int | None = None
    seconds: float | None = None

    def __post_init__(self) -> None:
        given = {name: value for name, value in vars(self).items() if value is not None}
        if len(given) != 1:
            raise ValueError(
                f"exactly one of epochs, steps and seconds must be given, got "
                f"{', '.join(given) or 'none'}. Try Every(epochs=1)."
            )
        for name in ("epochs", "steps"):
            if name in given:
                _check.positive(name, given[name])
        if self.seconds is not None:
            _check.above_zero("seconds", self.seconds)

    def __repr__(self) -> str:
        return f"Every({', '.join(f'{n}={v}' for n, v in vars(self).items() if v is not None)})"

    def next_step(self, step: int, per_epoch: int) -> int | None:
        """The first step after `step` at which it happens; None if that depends on time."""
        if self.seconds is not None:
            return None
        stride = self.steps if self.steps is not None else (self.epochs or 1) * per_epoch
        return (step // stride + 1) * stride
