"""An identity that can't be transposed, so that reverse-mode differentiation gets a clear error."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.interpreters import ad, batching, mlir

from funcnet._types import PyTree


def forward_only(tree: PyTree) -> PyTree:
    """`tree`, with a clear error for reverse-mode differentiation."""

    def mark(leaf: Any) -> Any:
        return forward_only_p().bind(leaf) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf

    return jax.tree.map(mark, tree)


@functools.cache
def forward_only_p() -> Any:
    from jax.extend.core import Primitive  # takes 25 ms, and most programs never need it

    identity = Primitive("forward_only")
    identity.def_impl(lambda x: x)
    identity.def_abstract_eval(lambda aval: aval)
    mlir.register_lowering(identity, mlir.lower_fun(lambda x: x, multiple_results=False))
    batching.defvectorized(identity)
    ad.deflinear2(identity, _refuse)
    return identity


def _refuse(*_: Any) -> Any:
    raise TypeError(
        "a run with early stopping has no fixed number of epochs, so it can't be differentiated in reverse "
        "mode. Train for a fixed number, fn.fit(..., stopping=None), or use forward mode: jax.jacfwd."
    )
