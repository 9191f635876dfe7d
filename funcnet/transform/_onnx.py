"""Programs in ONNX, converted by jax2onnx."""

import logging
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from funcnet._types import PyTree
from funcnet.transform._decompose import decompose, rules
from funcnet.transform._jaxpr import bind, equations, evaluate, primitives_of, subprograms

if TYPE_CHECKING:  # jax.extend takes longer to import than all of funcnet
    from jax.extend.core import ClosedJaxpr, JaxprEqn

DTYPES = ("bool", "int32", "int64", "float32", "float64")
LENGTHS, TOLERANCE = (3, 7), 1e-4
"""The lengths of a named axis when the model is compared with its function, and how close they must be:
a fraction of the largest result, so that it is wrong operations that are refused, and no rounding."""

MAX_FOLDED = 2**20
"""Entries up to which a result is computed now if it does not depend on the inputs."""

BROKEN = "the ONNX model that jax2onnx made is not saved, since it"


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
        import jax2onnx  # noqa: F401
        import onnx  # noqa: F401
        import onnxruntime  # noqa: F401
    except ImportError as error:
        raise ImportError(
            f"an ONNX model needs packages that are not installed: {error}. Try pip install "
            '"funcnet[onnx]".'
        ) from error
    # jax2onnx replaces functions of JAX while it traces, so it is given a program that is traced already.
    program, results = jax.make_jaxpr(function, return_shape=True)(*structs)
    inputs = jax.tree.leaves(structs)
    for struct in (*inputs, *jax.tree.leaves(results)):
        if struct.dtype.name not in DTYPES:
            raise ValueError(
                f"an ONNX model must have inputs and outputs of {', '.join(DTYPES)}, got {struct.dtype}. "
                "Cast them in the function, or save without the suffix .onnx."
            )
    content = _convert(program, inputs)
    args_and_results = []
    for length in LENGTHS[:1] if all(_is_static(struct.shape) for struct in inputs) else LENGTHS:
        args = [_example(struct, length) for struct in inputs]
        expected = jax.jit(function)(*jax.tree.unflatten(jax.tree.structure(structs), args))
        args_and_results.append((args, jax.tree.leaves(expected)))
    _check_model(content, args_and_results)
    return content


def _convert(program: "ClosedJaxpr", inputs: list[jax.ShapeDtypeStruct]) -> bytes:
    """The serialized ONNX model of a program."""
    import jax2onnx
    import onnx
    from jax.extend.core import jaxpr_as_fun

    (pad_p,) = primitives_of("pad")
    simpler = rules() | {pad_p: _pad}
    simple = jax.make_jaxpr(lambda *args: decompose(program, args, simpler))(*inputs)
    folded = jax.make_jaxpr(lambda *args: evaluate(simple, args, _fold))(*inputs)
    variables = [*folded.jaxpr.invars, *(v for eqn in equations(folded.jaxpr) for v in eqn.outvars)]
    double = any(variable.aval.dtype == "float64" for variable in variables)
    # All that an operation without a rule, or with a wrong one, was seen or is written to raise.
    failures = (
        *(NotImplementedError, TypeError, ValueError, RuntimeError, LookupError, AttributeError),
        *(AssertionError, jax.errors.InconclusiveDimensionOperation),
        *(onnx.checker.ValidationError, onnx.shape_inference.InferenceError),
    )
    logger = logging.getLogger("onnx_ir")
    level = logger.level
    logger.setLevel(logging.ERROR)  # it warns of each shape that it does not know
    try:
        model = jax2onnx.to_onnx(jaxpr_as_fun(folded), inputs, enable_double_precision=double)
        onnx.checker.check_model(model, full_check=True)
    except failures as error:
        reason = (str(error).strip() or repr(error)).splitlines()[0].removeprefix("[converter] ")
        raise ValueError(
            f"jax2onnx can't convert this graph to ONNX: {reason}. Save it for one length, batch=None, or "
            "without the suffix .onnx."
        ) from error
    finally:
        logger.setLevel(level)
    return model.SerializeToString()


def _check_model(content: bytes, args_and_results: list[tuple[list[Any], list[Any]]]) -> None:
    """Raise unless onnxruntime computes these results of these arguments."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what fails raises an error
    try:
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_inputs()]
        outputs = [session.run(None, dict(zip(names, args, strict=True))) for args, _ in args_and_results]
    except (
        *(state.Fail, state.InvalidArgument, state.InvalidGraph, state.NotImplemented),
        *(state.RuntimeException, ValueError),
    ) as error:
        raise ValueError(f"{BROKEN} can't be run: {str(error).splitlines()[0]}") from error
    for ours, (_, results) in zip(outputs, args_and_results, strict=True):
        _compare(ours, results)


def _fold(equation: "JaxprEqn", inputs: list[Any]) -> list[Any]:
    """An operation on constants, computed now: jax2onnx gets the broadcast of such a result wrong."""
    is_constant = not any(isinstance(value, jax.core.Tracer) for value in inputs)
    shapes = [var.aval.shape for var in equation.outvars]  # type: ignore[attr-defined]
    is_small = all(_is_static(shape) and math.prod(shape) <= MAX_FOLDED for shape in shapes)
    name = equation.primitive.name
    if not (is_constant and is_small) or name == "dim_as_value" or subprograms(equation):
        return bind(equation, *inputs)
    with jax.ensure_compile_time_eval():
        return bind(equation, *inputs)


def _pad(x: Any, value: Any, *, padding_config: Any) -> list[Any]:
    """A `pad` by concatenations, if jax2onnx can't convert it: along named axes, or between entries."""
    if _is_static(x.shape) and not any(between for _, _, between in padding_config):
        return [jax.lax.pad(x, value, padding_config)]

    def join(x: Any, axis: int, before: int, after: int) -> Any:
        shapes = [(*x.shape[:axis], n, *x.shape[axis + 1 :]) for n in (before, after)]
        first, last = ([jnp.broadcast_to(value, shape)] * (shape[axis] > 0) for shape in shapes)
        return jnp.concatenate([*first, x, *last], axis)

    for axis, (before, after, between) in enumerate(padding_config):
        n = x.shape[axis]
        if between:
            columns = join(jnp.expand_dims(x, axis + 1), axis + 1, 0, between)
            x = columns.reshape(*x.shape[:axis], n * (between + 1), *x.shape[axis + 1 :])
            n = n * (between + 1) - between
        if between or min(before, after) < 0:  # negative numbers crop
            x = jax.lax.slice_in_dim(x, max(-before, 0), n - max(-after, 0), axis=axis)
        if max(before, after) > 0:
            x = join(x, axis, before, after)
    return [x]


def _is_static(shape: Any) -> bool:
    return all(isinstance(n, int) for n in shape)


def _example(struct: Any, length: int) -> np.ndarray[Any, Any]:
    """Random numbers; integers are 0 and 1, so that indices are valid."""
    rng = np.random.default_rng(length)
    shape = [n if isinstance(n, int) else length for n in struct.shape]
    values = rng.normal(size=shape) if struct.dtype.kind == "f" else rng.integers(0, 2, shape)
    return values.astype(struct.dtype)


def _compare(outputs: list[Any], results: list[Any]) -> None:
    """Raise unless the outputs of the ONNX model are the results of its function, up to rounding."""
    for i, (output, result) in enumerate(zip(outputs, map(np.asarray, results), strict=True)):
        finite = result[np.isfinite(result)]
        allowed = TOLERANCE * max(1.0, float(np.max(np.abs(finite), initial=0)))
        is_alike = output.shape == result.shape and output.dtype == result.dtype
        if not is_alike or not np.allclose(output, result, 0, allowed, equal_nan=True):
            raise ValueError(
                f"{BROKEN} computes {_describe(output)} as output {i}, and the graph {_describe(result)}."
            )


def _describe(array: Any) -> str:
    return f"{array.dtype}{list(array.shape)} {array.ravel()[:3].tolist()}"
