"""An identity that can't be transposed: reverse-mode differentiation ends in a sentence of ours."""

from typing import Any

import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir

from funcnet._types import PyTree

_identity = Primitive("forward_only")
_identity.def_impl(lambda x: x)
_identity.def_abstract_eval(lambda aval: aval)
mlir.register_lowering(_identity, mlir.lower_fun(lambda x: x, multiple_results=False))
batching.defvectorized(_identity)


def _refuse(*_: Any) -> Any:
    raise TypeError(
        "a training with early stopping has no fixed number of epochs, so it can't be differentiated "
        "in reverse. Train a fixed number, fn.fit(..., stopping=None), or go forward: jax.jacfwd."
    )


ad.deflinear2(_identity, _refuse)


def forward_only(tree: PyTree) -> PyTree:
    """`tree`, with a clear error for whoever differentiates it in reverse."""

    def mark(leaf: Any) -> Any:
        return _identity.bind(leaf) if jax.numpy.issubdtype(leaf.dtype, jax.numpy.floating) else leaf

    return jax.tree.map(mark, tree)
