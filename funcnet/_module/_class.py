"""Module, the base class of layers and models: a frozen dataclass that is a pytree."""

import contextlib
import contextvars
import copy
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Self, dataclass_transform

import jax
import numpy as np

from funcnet import _check, _keys, _tree
from funcnet._module import _pickle
from funcnet._module._fields import (
    Buffer,
    annotations,
    check_body,
    check_child,
    check_constructor,
    check_static,
    is_child_annotation,
    is_setting_annotation,
    python_numbers,
    to_arrays,
)
from funcnet._module._memory import check_memory
from funcnet._module._parts import check_parts
from funcnet._module._register import register
from funcnet._types import Array, Key, PyTree

Observer = Callable[["Module", tuple[Any, ...], dict[str, Any], Any], None]
_observer: contextvars.ContextVar[Observer | None] = contextvars.ContextVar("observer", default=None)


_explain_parameters = _check.usage("jax.tree.leaves(model)")


@dataclass_transform(frozen_default=True)
class Module:
    """The base class of layers and models: a frozen dataclass and a pytree, so plain JAX works on it.

    A subclass declares its fields and `__call__(self, x, key=None)`. A field is a **child** when its
    annotation names Array, Module, Buffer or a PyTree, tuple, list or dict of them; any other field is
    **static**. A field annotated `float | fn.Buffer` is a setting that may be traced, such as the rate of
    `Dropout`: a number in it is static, and a Buffer is a child. `key=None` means inference; a key means
    training. A layer that behaves differently in training declares `needs_key: ClassVar[bool] = True`; a
    model that holds such a layer and whose `__call__` takes no key raises an error. (If it takes one, it
    has to pass it on: nothing notices if it does not.) A layer that sees the other examples of its batch
    (`fn.BATCH_AXIS`, `fn.update_buffer`) declares `needs_batch: ClassVar[bool] = True`: then a short last
    batch is not padded, and micro-batches and per-example gradients are refused.

    A layer with its own arrays declares them as fields that default to None and returns their initial
    values from `parameters(key)`; `init` sets them.

    Raises:
        TypeError: for an array or module in a static field, a function in a child field, an
            annotation that cannot be resolved, or a call before `init`.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> class TwoLayer(fn.Module):
        ...     hidden: fn.Module = fn.Linear(2, 10)
        ...     out: fn.Module = fn.Linear(10, 1)
        ...     def __call__(self, x, key=None):
        ...         return self.out(jax.nn.relu(self.hidden(x)))
        >>> model = TwoLayer().init(jax.random.key(0))
        >>> model(jnp.ones(2)).shape, fn.count(model)
        ((1,), 41)
    """

    needs_key: ClassVar[bool] = False
    needs_batch: ClassVar[bool] = False
    has_fixed_start: ClassVar[bool] = False  # it was built elsewhere, and init can't draw it anew
    _children: ClassVar[tuple[str, ...]] = ()
    _static: ClassVar[tuple[str, ...]] = ()
    _traceable: ClassVar[tuple[str, ...]] = ()  # children that are static where they are numbers
    _annotations: ClassVar[Mapping[str, Any]] = {}
    _custom_init: ClassVar[bool] = False  # whether this class or a base class defines __init__
    _frozen: ClassVar[tuple[str, ...]] = ()  # in an instance: the paths of its own frozen arrays, sorted

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_body(cls, Module)
        cls._custom_init = cls._custom_init or "__init__" in vars(cls)
        dataclasses.dataclass(init=not cls._custom_init, frozen=True, eq=False, repr=False)(cls)
        cls.__setattr__ = _raise_frozen  # type: ignore[assignment]
        annotation_of = annotations(cls)
        names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        check_constructor(cls, names, Module)
        cls._children = tuple(name for name in names if is_child_annotation(annotation_of[name], Module))
        cls._traceable = tuple(n for n in cls._children if is_setting_annotation(annotation_of[n]))
        cls._annotations = annotation_of
        cls._static = tuple(name for name in names if name not in cls._children)
        register(cls)
        _wrap(cls, "__init__", _with_checks)
        _wrap(cls, "__call__", _with_observer)
        _wrap(cls, "parameters", _explain_parameters)

    if not TYPE_CHECKING:
        __getattr__ = _check.attributes_of_peers("model")

    @_explain_parameters
    def parameters(self, key: Key) -> Mapping[str, Array]:
        """Initial values of this module's own arrays; child modules initialize their own.

        Args:
            key: this module's own key.

        Returns:
            Arrays by field name. A field that already holds an array is not changed.
        """
        del key
        return {}

    @_check.usage("model = net.init(jax.random.key(0))")
    def init(self, key: Key) -> Self:
        """A copy with all missing parameters initialized. Pure: `jax.vmap(net.init)(keys)`.

        The key of each child is derived from `key` and the child's path, so adding a layer does not change
        the initial values of those whose path stays. Parameters that are set already (a pretrained part,
        chosen initial values) are kept.

        Args:
            key: a typed PRNG key, shape ().

        Returns:
            A module of the same type.

        Raises:
            TypeError: if `key` is not a typed PRNG key, or a parameter is not floating.
            ValueError: if no parameter is missing: calling `init` again would have no effect; or if the
                arrays need more than the memory there is.
        """
        _check.module("net", self)
        _check.key(key)
        if self.has_fixed_start:
            raise ValueError(
                "this network was built before it was lifted, and init can't draw it again: it is a model "
                "already. For starts by key lift a function that builds it, such as "
                "fn.interop.from_equinox(lambda key: Net(key))."
            )
        if parameter_paths(self) and is_complete(self):
            raise ValueError(
                f"every parameter of this {type(self).__name__} is set, and init only draws missing ones. "
                "It is a model already: train(model, data, key). To draw new parameters, call init on the "
                "architecture: net = MLP((4, 16, 3)); model = net.init(key); other = net.init(other_key)."
            )
        check_memory(self, is_traced=_tree.is_traced())
        model = self._init_missing(key)
        _check.floating_parameters(parameter_paths(model))
        return model

    def replace(self, **changes: Any) -> Self:
        """A copy with some fields changed: `model.replace(out=model.out.replace(bias=b))`.

        What is frozen stays so, which `dataclasses.replace` would forget.

        Raises:
            ValueError: if an array of the copy does not have the shape that its settings imply, or a part
                that is kept was built from a setting that is changed.
        """
        copy = self._copy(changes)
        check_parts(self, copy, changes, _parameter_shapes)
        check_shapes(copy, stacked=True)
        return copy

    def _is_frozen(self, *names: str) -> bool:
        """Whether an array in one of these fields is frozen; a layer then leaves its buffers alone."""
        return any(path.split(".")[0].split("[")[0] in names for path in self._frozen)

    def _init_missing(self, key: Key) -> Self:
        def init_child(name: str, path: Any, child: Any) -> Any:
            if not isinstance(child, Module):
                return child
            return child._init_missing(_keys.fold_in_name(key, name + jax.tree_util.keystr(path)))

        children = {
            name: jax.tree_util.tree_map_with_path(
                functools.partial(init_child, name), getattr(self, name), is_leaf=is_module
            )
            for name in self._children
        }
        own = {n: v for n, v in self.parameters(key).items() if getattr(self, n) is None}
        return self._copy(children | own)

    def _copy(self, changes: Mapping[str, Any]) -> Self:
        copy: Self = dataclasses.replace(self, **changes)  # type: ignore[type-var]
        copy.__dict__["_frozen"] = self._frozen  # not a field: the constructor does not take it
        return copy

    def __copy__(self) -> Self:
        return self  # frozen

    def __reduce__(self) -> Any:
        return _pickle.reduce(self, (*self._children, *self._static, "_frozen"))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Static fields are shared: a copied function would be a different function to jit.
        return jax.tree.map(lambda leaf: copy.deepcopy(leaf, memo), self)

    def __eq__(self, other: object) -> bool:
        structures: tuple[Any, Any] = jax.tree.structure(self), jax.tree.structure(other)
        if structures[0] != structures[1]:
            return False
        pairs = zip(jax.tree.leaves(self), jax.tree.leaves(other), strict=True)
        # Models of two dtypes must differ: jit keeps one program for equal functions.
        arrays = ((_tree.to_numpy(a), _tree.to_numpy(b)) for a, b in pairs)
        return all(a.dtype == b.dtype and np.array_equal(a, b) for a, b in arrays)

    def __hash__(self) -> int:
        return hash(jax.tree.structure(self))

    def __repr__(self) -> str:
        fields = [(f, getattr(self, f.name)) for f in dataclasses.fields(self)]  # type: ignore[arg-type]
        parts = [
            f"{f.name}={_format_value(value)}"
            for f, value in fields
            if value is not None
            and not (f.name in (*self._static, *self._traceable) and value == f.default)
        ]
        parts += [f"frozen={_format_value(self._frozen)}"] if self._frozen else []
        line = f"{type(self).__name__}({', '.join(parts)})"
        if len(line) <= 88 and "\n" not in line:
            return line
        body = ",\n".join(parts).replace("\n", "\n  ")
        return f"{type(self).__name__}(\n  {body}\n)"


@contextlib.contextmanager
def observe_calls(observer: Observer) -> Iterator[None]:
    """In this context, `observer(module, args, kwargs, output)` is called for every call of a module."""
    token = _observer.set(observer)
    try:
        yield
    finally:
        _observer.reset(token)


def is_module(node: Any) -> bool:
    return isinstance(node, Module)


def is_complete(model: PyTree) -> bool:
    """Whether all parameters of all modules in `model` are set."""
    if not isinstance(model, Module):
        nodes = jax.tree.leaves(model, is_leaf=is_module)
        return all(is_complete(node) for node in nodes if isinstance(node, Module))
    return not missing_parameters(model) and all(is_complete(getattr(model, n)) for n in model._children)


def parameter_paths(model: PyTree) -> dict[str, Any]:
    """All parameters by path; the contents of Buffers are not parameters."""
    leaves = _tree.paths(model, is_leaf=lambda node: isinstance(node, Buffer))
    return {path: leaf for path, leaf in leaves.items() if not isinstance(leaf, Buffer)}


def missing_parameters(module: Module) -> list[str]:
    """The names of a module's own parameters that are not initialized yet."""
    unset = any(getattr(module, name) is None for name in module._children)
    if not unset or type(module).parameters is Module.parameters:
        return []
    own = jax.eval_shape(module.parameters, jax.random.key(0))
    return [name for name, like in own.items() if like is not None and getattr(module, name) is None]


def check_shapes(module: Module, stacked: bool = False) -> None:
    """Raise unless a module's own parameters have the shapes that `parameters` returns.

    With `stacked`, they may have leading axes, and leaves without a shape, such as those of a mask, pass.
    """
    if type(module).parameters is Module.parameters:
        return
    for name, expected in _parameter_shapes(jax.tree.structure(module)).items():
        value = getattr(module, name)
        if value is None or (stacked and _ends_with(value, expected)):
            continue
        if not (_is_numpy(value) if isinstance(value, np.ndarray) else _is_jax(value)):
            raise TypeError(
                f"{type(module).__name__}.{name} must be an array of numbers of shape {expected} that JAX "
                f"takes, got {type(value).__name__} {getattr(value, 'dtype', '')}".rstrip()
                + ". Try jnp.asarray(value, float)."
            )
        if (shape := value.shape) == expected:
            continue
        message = f"{type(module).__name__}.{name} must have shape {expected}, got {shape}"
        if shape[1:] == expected:
            raise ValueError(
                f"{message}: these are {shape[0]} models in one tree. Call them under vmap: "
                "jax.vmap(lambda model: model(x))(models)."
            )
        raise ValueError(f"{message}. Pass an array of that shape, or {name}=None to draw it with init.")


def _ends_with(value: Any, expected: tuple[int, ...]) -> bool:
    """Whether a leaf has a shape that ends in the expected one, or none."""
    shape = getattr(value, "shape", expected)
    return tuple(shape[len(shape) - len(expected) :]) == expected


def _is_jax(value: Any) -> bool:
    """Whether a value is an array of JAX, and of numbers: the dtype of keys is not NumPy's."""
    return isinstance(value, jax.Array) and isinstance(value.dtype, np.dtype)


def _is_numpy(value: np.ndarray) -> bool:
    """Whether JAX takes an array of NumPy: not text, nor masked entries, nor swapped bytes."""
    return _tree.is_array(value) and value.dtype.kind not in "cOSUMmT"


@functools.lru_cache(maxsize=1024)
def _parameter_shapes(structure: Any) -> dict[str, tuple[int, ...]]:
    """The shapes of a module's own parameters, by its tree structure; {} if they can't be determined."""
    module = structure.unflatten([None] * structure.num_leaves)
    try:
        structs = jax.eval_shape(module.parameters, jax.random.key(0))
    except Exception:  # a user's class may read its arrays there
        return {}
    return {name: like.shape for name, like in structs.items() if hasattr(like, "shape")}


def before_init_message(module: Module, missing: list[str], path: str = "") -> str:
    name = type(module).__name__
    where = f" at {path}" if path else ""
    return (
        f"{name}{where} is not initialized: it has no {' and no '.join(missing)}. Initialize the model "
        "first: model = net.init(jax.random.key(0))."
    )


def _wrap(cls: type, name: str, wrapper: Callable[[Any], Any]) -> None:
    if name in cls.__dict__:
        setattr(cls, name, wrapper(cls.__dict__[name]))


def _with_checks(init: Any) -> Any:
    @functools.wraps(init)
    def __init__(self: Module, *args: Any, **kwargs: Any) -> None:
        try:
            init(self, *args, **kwargs)
        except TypeError:
            _check.explain_mismatch(init, (self, *args), kwargs)
            raise
        # In the constructor of a base class, the subclass has not set all of its fields yet.
        if type(self).__init__ is not __init__:
            return
        for name in self._static:
            check_static(type(self).__name__, name, value := getattr(self, name), Module)
            object.__setattr__(self, name, python_numbers(value))
        for name in self._children:
            annotation = self._annotations.get(name)
            check_child(type(self).__name__, name, value := getattr(self, name), annotation, Module)
            if (arrays := to_arrays(type(self).__name__, name, value, Module)) is not value:
                object.__setattr__(self, name, arrays)

    return __init__


def _with_observer(call: Any) -> Any:
    @functools.wraps(call)
    def __call__(self: Module, *args: Any, **kwargs: Any) -> Any:
        if not jax.tree.leaves(self) and (missing := missing_parameters(self)):
            raise TypeError(before_init_message(self, missing))
        check_shapes(self)
        with jax.named_scope(type(self).__name__):
            output = call(self, *args, **kwargs)
        if (observer := _observer.get()) is not None:
            observer(self, args, kwargs, output)
        return output

    return __call__


def _raise_frozen(self: Module, name: str, value: Any) -> None:
    cls = type(self).__name__
    unchanged = f"a module can't be changed in place, got a new {name} for {cls}."
    if name in ("trainable", "requires_grad"):  # of Keras and PyTorch
        raise AttributeError(
            f"{unchanged} Write model = fn.freeze(model), or a part of it: "
            'model = fn.freeze(model, "layers[0]").'
        )
    if name not in (*self._children, *self._static) and not hasattr(type(self), name):
        is_array = _tree.is_array(value)
        kind = "fn.Module" if isinstance(value, Module) else "Any"
        declaration = f"{name}: jax.Array | None = None" if is_array else f"{name}: {kind} = ..."
        raise AttributeError(
            f"{cls} has no field {name}. Declare it in the class, which needs no __init__: "
            f"'{declaration}'." + " Its initial value is returned by parameters(self, key)." * is_array
        )
    raise AttributeError(
        f"{unchanged} Make a changed copy: model.replace({name}=...). Fields are set by the generated "
        "constructor, and initial arrays are returned by parameters(self, key)."
    )


def _format_value(value: Any) -> str:
    if isinstance(value, jax.Array | jax.ShapeDtypeStruct | np.ndarray):
        return _tree.dtype_and_shape(value)
    if isinstance(value, tuple):
        items = [_format_value(item) for item in value]
        if any("(" in item for item in items):
            return "(\n  " + ",\n".join(items).replace("\n", "\n  ") + ",\n)"
        return f"({', '.join(items)}{',' if len(items) == 1 else ''})"
    if callable(value) and not isinstance(value, Module):
        return getattr(value, "__name__", type(value).__name__)
    return repr(value)
