"""The classes and functions that the file of a saved model may name; all others are the user's to pass.

Nothing is imported by a name from a file: it is looked up in these tables.
"""

import functools
import types
from typing import Any

import jax
import jax.numpy as jnp
import jax.scipy.special
import numpy as np

from funcnet._module import Module
from funcnet._precision import Cast
from funcnet.layers._recurrent import orthogonal_gates
from funcnet.models._block import Block
from funcnet.models._siren import Affine

ROOMS = ("layers", "models", "study")
"""Where funcnet's classes of modules are public: `layers.Linear`."""
INNER = {"precision.Cast": Cast, "models.Block": Block, "models.Affine": Affine}
"""Classes that are not public, and are parts of models that are."""

JAX = {
    jax.nn: "celu elu gelu glu hard_sigmoid hard_silu hard_swish hard_tanh identity leaky_relu log_sigmoid "
    "log_softmax logsumexp mish one_hot relu relu6 selu sigmoid silu soft_sign softmax softplus "
    "sparse_plus sparse_sigmoid squareplus standardize swish tanh",
    jnp: "abs arccos arccosh arcsin arcsinh arctan arctanh ceil clip cos cosh exp exp2 expm1 flip floor "
    "fmax fmin imag log log1p log2 max maximum mean min minimum negative positive ravel real reciprocal "
    "round sign sin sinc sinh sqrt square squeeze sum tan tanh transpose "
    "bfloat16 bool_ complex64 float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64",
    jnp.fft: "fft fft2 fftn ifft ifft2 ifftn irfft rfft",
    jax.lax: "abs cos erf erf_inv erfc exp expm1 log log1p logistic rsqrt sin sqrt square "
    "stop_gradient tanh",
    jax.scipy.special: "erf erfc erfinv expit log_ndtr logit ndtr",
    jax.nn.initializers: "ones zeros",
    np: "bool_ float16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64",
}
INITIALIZERS = (
    *("constant", "delta_orthogonal", "normal", "orthogonal", "truncated_normal", "uniform"),
    "variance_scaling",
)
"""Functions in `jax.nn.initializers` that make an initializer; `he_normal` and the like call the last."""


@functools.cache
def functions() -> dict[str, Any]:
    """Functions of arrays, and dtypes, by the names under which they are documented."""
    table = {"funcnet.orthogonal_gates": orthogonal_gates}
    for module, names in JAX.items():
        # A version of JAX may lack one.
        table |= {f"{module.__name__}.{n}": getattr(module, n) for n in names.split() if hasattr(module, n)}
    return table


@functools.cache
def _function_names() -> dict[int, str]:
    # By identity: some have no hash. Of two names for one function, the first is written.
    return {id(function): name for name, function in reversed(functions().items())}


def function_name(function: Any) -> str | None:
    """The name of a function in the table; None if it isn't there."""
    return _function_names().get(id(function))


def find_class(name: str) -> type[Module] | None:
    """The class of modules of this name, such as `layers.Linear`; None if there is none."""
    import funcnet

    room, _, short = name.partition(".")
    if room in ROOMS and short in getattr(funcnet, room).__all__:
        value = getattr(getattr(funcnet, room), short)
        return value if isinstance(value, type) and issubclass(value, Module) else None
    return INNER.get(name)


def class_name(cls: type) -> str | None:
    """The name by which `find_class` finds a class; None if it isn't one of funcnet's."""
    package, _, rest = cls.__module__.partition(".")
    name = f"{rest.split('.')[0].removeprefix('_')}.{cls.__name__}"
    return name if package == "funcnet" and find_class(name) is cls else None


def initializer(name: str, settings: dict[str, Any]) -> Any:
    """The initializer that a function of `jax.nn.initializers` makes; the same one for equal settings."""
    if name not in INITIALIZERS:
        raise ValueError(f"{name!r} is not one of {', '.join(INITIALIZERS)}")
    return _initializer(name, tuple(sorted(settings.items())))


@functools.cache
def _initializer(name: str, settings: tuple[tuple[str, Any], ...]) -> Any:
    return getattr(jax.nn.initializers, name)(**dict(settings))


def initializer_settings(function: Any) -> tuple[str, dict[str, Any]] | None:
    """The name and settings for which `initializer` makes such a function; None if it isn't one.

    It is a function inside another, whose variables are the settings. One that does not come out the same
    when it is made again from them, such as one with a dtype, is not recognized.
    """
    if not isinstance(function, types.FunctionType) or not function.__module__.startswith("jax."):
        return None
    name = function.__qualname__.split(".")[0]
    settings = _variables(function)
    if name not in INITIALIZERS or not all(
        isinstance(v, int | float | str | tuple) for v in settings.values()
    ):
        return None
    try:
        again = initializer(name, settings)
    except TypeError:  # a version of JAX that makes it in another way
        return None
    same = (again.__code__, again.__defaults__, _variables(again)) == (
        function.__code__,
        function.__defaults__,
        settings,
    )
    return (name, settings) if same else None


def _variables(function: types.FunctionType) -> dict[str, Any]:
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    return dict(zip(function.__code__.co_freevars, cells, strict=True))
