from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from funcnet import _check
from funcnet._module import Buffer, Module
from funcnet._types import Array, Key
from funcnet.layers._dtype import as_floating, wide


class Dropout(Module):
    """Dropout: in training each entry is zeroed with probability `rate`, others become x / (1 - rate).

    Args:
        rate: probability that an entry is zeroed, in [0, 1). A number is a static setting; an array, which
            may be traced, is kept as a Buffer, so that a sweep over rates is one program.

    Returns:
        When called on x of any shape: the same shape. Without a key, x itself. A rate that is traced can't
        be checked: outside [0, 1) the result is NaN.

    Raises:
        ValueError: if `rate` is outside [0, 1), or an array that is not one number.
        TypeError: if a rate that a layer is made with is differentiated, as by `hyper_gradient`: an entry
            is zeroed or not, so that the derivative of one draw is not that of the expectation.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> drop = fn.Dropout(0.5)
        >>> drop(jnp.ones(4)).tolist()
        [1.0, 1.0, 1.0, 1.0]
        >>> sorted(set(drop(jnp.ones(100), key=jax.random.key(0)).tolist()))
        [0.0, 2.0]

    Source: Srivastava, Hinton, Krizhevsky, Sutskever, Salakhutdinov, "Dropout", JMLR 15, 2014
    (scaled in training rather than at inference).
    """

    needs_key: ClassVar[bool] = True
    rate: float | Array | Buffer = 0.5

    def __post_init__(self) -> None:
        object.__setattr__(self, "rate", as_setting("rate", self.rate))

    def __call__(self, x: Array, key: Key | None = None) -> Array:
        x = _check.layer_input("Dropout", x)
        return drop(x, self.rate, key, x.shape)


def as_setting(name: str, rate: Any) -> Any:
    """A rate in [0, 1): a Python number, or a Buffer of one number that may be traced."""
    if isinstance(rate, jax.Array | np.ndarray):
        rate = Buffer(_check.scalar_setting(name, rate, 0.0, 1.0, low_included=True))
    if not isinstance(rate, Buffer):
        return _check.between(name, rate, 0.0, 1.0)
    if isinstance(rate.value, bool) or not isinstance(rate.value, int | float | np.ndarray | jax.Array):
        return rate  # of a mask, or of shapes
    _check.setting(name, rate.value, 0.0, 1.0, low_included=True)  # stacked models have several
    value = jnp.asarray(rate.value, float)
    return Buffer(_without_derivative(value) if isinstance(value, jax.core.Tracer) else value)


def with_rate(rate: Any) -> Dropout:
    """A Dropout of a rate that `as_setting` returned, without checks: a model is differentiated whole."""
    layer = object.__new__(Dropout)
    layer.__dict__["rate"] = rate
    return layer


def drop(x: Array, rate: Any, key: Key | None, shape: tuple[int, ...]) -> Array:
    """x / (1 - rate), zeroed with probability `rate` for each entry of `shape`, which broadcasts to x.

    In half precision 1 - rate itself would be rounded, 0.9 to 0.898, and shift every mean by that.
    """
    if key is None or (not isinstance(rate, Buffer) and rate == 0.0):
        return x
    _check.key(key)
    share = 1.0 - (_one_rate(rate) if isinstance(rate, Buffer) else rate)
    keep = jnp.broadcast_to(jax.random.bernoulli(key, share, shape), x.shape)
    divisor = share.astype(wide(x).dtype) if isinstance(rate, Buffer) else share
    scaled = as_floating(wide(x) / divisor, x.dtype)
    kept = jnp.where(keep, scaled, jnp.zeros_like(scaled))
    if not isinstance(rate, Buffer):
        return kept
    # √-1 is NaN, and √1 is exact: jax_debug_nans would refuse a constant that is not used.
    return kept * jnp.sqrt(jnp.where((share > 0) & (share <= 1), 1.0, -1.0)).astype(kept.dtype)


def _one_rate(rate: Buffer) -> Array:
    if (shape := jnp.shape(rate.value)) != ():
        raise ValueError(
            f"the rate of a dropout must be one number, got shape {shape}: these are several models in one "
            "tree. Call them under vmap: jax.vmap(lambda model: model(x, key))(models)."
        )
    return jnp.asarray(rate.value, float)


@jax.custom_jvp
def _without_derivative(rate: Array) -> Array:
    return rate


@_without_derivative.defjvp
def _refuse(*_: Any) -> Any:
    raise TypeError(
        "the rate of a dropout has no derivative by automatic differentiation: an entry is zeroed or not. "
        "Compare several rates: fn.study.sweep(make_train, {'rate': [0.1, 0.3, 0.5]})."
    )
