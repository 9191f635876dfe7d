"""Programs in ONNX, converted by jax2onnx."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from funcnet._types import PyTree
from funcnet.transform._decompose import decompose_primitives

DTYPES = ("bool", "int32", "int64", "float32", "float64")
ROWS, TOLERANCE = 3, 1e-5
"""The length of a named axis when the model is compared with its function, and how close they must be."""


def to_onnx(function: Callable[..., PyTree], structs: tuple[Any, ...]) -> bytes:
    """The ONNX model of a function, checked, run and compared with it.

    Args:
        function: a function of arrays.
        structs: its arguments, a pytree of `jax.ShapeDtypeStruct`, whose axes may have names.

    Raises:
        ImportError: if a package is missing.
        ValueError: if a dtype or an operation can't be converted, or the outputs differ.
    """
    try:
        import jax2onnx
        import onnx
        import onnxruntime
    except ImportError as error:
        raise ImportError(
            f'an ONNX model needs packages that are not installed: {error}. Try pip install "funcnet[onnx]".'
        ) from error
    from jax.extend.core import jaxpr_as_fun

    # jax2onnx replaces functions of JAX while it traces, so it is given a program that is traced already.
    program, results = jax.make_jaxpr(decompose_primitives(function), return_shape=True)(*structs)
    inputs = jax.tree.leaves(structs)
    for struct in (*inputs, *jax.tree.leaves(results)):
        if struct.dtype.name not in DTYPES:
            raise ValueError(
                f"an ONNX model must have inputs and outputs of {', '.join(DTYPES)}, got {struct.dtype}. "
                "Cast them in the function, or save without the suffix .onnx."
            )
    try:
        model = jax2onnx.to_onnx(
            jaxpr_as_fun(program), inputs, enable_double_precision=jax.config.jax_enable_x64
        )
        onnx.checker.check_model(model, full_check=True)
    except (NotImplementedError, TypeError, ValueError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"jax2onnx can't convert this graph to ONNX: {reason}") from error
    content = model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors only
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    args = [_example(struct, seed) for seed, struct in enumerate(inputs)]
    names = [value.name for value in session.get_inputs()]
    outputs = session.run(None, dict(zip(names, args, strict=True)))
    _compare(outputs, jax.jit(function)(*jax.tree.unflatten(jax.tree.structure(structs), args)))
    return content


def _example(struct: Any, seed: int) -> np.ndarray[Any, Any]:
    """Random numbers; integers are 0 and 1, so that indices are valid."""
    rng = np.random.default_rng(seed)
    shape = [n if isinstance(n, int) else ROWS for n in struct.shape]
    values = rng.normal(size=shape) if struct.dtype.kind == "f" else rng.integers(0, 2, shape)
    return values.astype(struct.dtype)


def _compare(outputs: list[Any], expected: PyTree) -> None:
    """Raise unless the outputs of the ONNX model are the results of its function."""
    for i, (ours, theirs) in enumerate(zip(jax.tree.leaves(expected), outputs, strict=True)):
        ours = np.asarray(ours)
        same = ours.shape == theirs.shape and ours.dtype == theirs.dtype
        if not same or not np.allclose(ours, theirs, TOLERANCE, TOLERANCE, equal_nan=True):
            raise ValueError(
                f"the ONNX model by jax2onnx computes another output {i} than the graph, so it is not saved: "
                f"{_describe(theirs)} where {_describe(ours)} is expected."
            )


def _describe(array: Any) -> str:
    return f"{array.dtype}{list(array.shape)} {array.ravel()[:3].tolist()}"
