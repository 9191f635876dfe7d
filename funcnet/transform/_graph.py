"""A computation as a value: list its operations, cost it, draw it, run it, save it."""

import collections
import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from funcnet import _check, _files, _tree
from funcnet._types import PyTree
from funcnet.transform._arguments import dtype_of, partition_arrays, partition_results
from funcnet.transform._cost import flops, moved_bytes
from funcnet.transform._graph_drawing import to_dot, write_drawing
from funcnet.transform._graph_export import PLATFORMS, name_axes, serialize, to_plain
from funcnet.transform._graph_file import pack, unpack
from funcnet.transform._graph_table import Cost, Operation, bytes_of, line_of, operation_of, operations_of
from funcnet.transform._jaxpr import equations
from funcnet.transform._onnx import to_onnx

if TYPE_CHECKING:
    from jax.extend.core import ClosedJaxpr


class Graph:
    """A computation traced for arguments of given shapes; `graph(f)(*args)` returns one.

    Args:
        program: its closed jaxpr.
        function: the function that was traced, of its arrays: a pytree as `inputs`.
        inputs: the arguments, a pytree of `jax.ShapeDtypeStruct`, None in place of other leaves.
        outputs: the results, a pytree of `jax.ShapeDtypeStruct`, None in place of other leaves.
        settings: the other leaves of the arguments, such as functions, and those of the results.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> g = fn.transform.graph(lambda x, y: {"sum": x + y})(jnp.ones(2), jnp.ones(2))
        >>> [operation.name for operation in g.table()]
        ['add']
        >>> g(jnp.ones(2), jnp.array([1.0, 2.0]))["sum"].tolist()
        [2.0, 3.0]
    """

    def __init__(
        self,
        program: Any,
        function: Callable[..., PyTree],
        inputs: PyTree,
        outputs: PyTree,
        settings: tuple[PyTree, PyTree] = (None, None),
    ) -> None:
        self.program, self.function, self.inputs, self.outputs = program, function, inputs, outputs
        self.settings = settings
        self._compiled: Any = None

    def table(self, *, open_calls: bool = True) -> list[Operation]:
        """All operations in program order; with `open_calls`, calls are replaced by the operations inside
        them. A loop or a branch is one operation."""
        _check.boolean("open_calls", open_calls)
        return [
            operation_of(equation, scope)
            for equation, scope in operations_of(self.program.jaxpr, "", open_calls)
        ]

    def cost(self) -> Cost:
        """Operations and bytes of the whole computation."""
        arrays = jax.tree.leaves((self.inputs, self.outputs, self.program.consts))
        operations = [equation for equation, _ in operations_of(self.program.jaxpr, "", True)]
        return Cost(
            sum(map(flops, operations)),
            float(sum(map(bytes_of, arrays))),
            sum(map(moved_bytes, operations)),
        )

    def __call__(self, *args: Any) -> PyTree:
        """Compile and run the computation, on arguments of the shapes that it was traced for.

        Raises:
            TypeError: if the arguments have another structure, shape or dtype.
            ValueError: if other leaves, such as functions, are not those of the trace.
        """
        args, settings = partition_arrays("args", args)
        _check_settings(self.settings[0], settings)
        if self._compiled is None:
            self.compile()
        try:
            return _tree.combine(self._compiled(*args), self.settings[1])
        except TypeError:
            _check_args(self.inputs, args)
            raise

    def compile(self, device: Any = None) -> "Graph":
        """Compile the computation for one of `jax.devices()`; for the default device if None."""
        if device is not None:
            _check_device(device)
        sharding = None if device is None else jax.sharding.SingleDeviceSharding(device)
        inputs = jax.tree.map(
            lambda s: jax.ShapeDtypeStruct(s.shape, s.dtype, sharding=sharding), self.inputs
        )
        self._compiled = jax.jit(self._run).lower(*inputs).compile()
        return self

    def _run(self, *args: Any) -> PyTree:
        results = jax.core.eval_jaxpr(self.program.jaxpr, self.program.consts, *jax.tree.leaves(args))
        return jax.tree.unflatten(jax.tree.structure(self.outputs), results)

    def diff(self, other: "Graph") -> list[str]:
        """Operations whose counts differ: "+2 dot_general …" if `other` has two more."""
        if not isinstance(other, Graph):
            raise TypeError(f"other must be a Graph, got {_check.describe(other)}. Try graph(f)(*args).")
        counts = [collections.Counter(map(line_of, g.table())) for g in (self, other)]
        lines = []
        for line in sorted(counts[0] | counts[1]):
            if (more := counts[1][line] - counts[0][line]) != 0:
                lines.append(f"{more:+d} {line}")
        return lines

    def dot(self, *, fold: bool = True) -> str:
        """The graph in Graphviz's language; with `fold`, each module is one box, else each operation."""
        _check.boolean("fold", fold)
        return to_dot(self.program, self.inputs, self.outputs, fold)

    def draw(self, path: str | os.PathLike[str], *, fold: bool = True) -> Path:
        """Draw to a file: ".dot" is text; ".svg", ".png" and ".pdf" need Graphviz's program `dot`.

        Args:
            path: the file.
            fold: whether each module is one box; else each operation is.

        Returns:
            The path.

        Raises:
            ValueError: for another suffix.
            RuntimeError: if `dot` is not installed.
        """
        _check.boolean("fold", fold)
        place = _check.path("path", path, "model.graph")
        write_drawing(self.dot(fold=fold), place)
        return place

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        batch: str | Sequence[Any] | None = None,
        platforms: Sequence[str] = ("cpu", "cuda", "tpu"),
    ) -> Path:
        """Save a program with a checksum, for `load_graph`; in ONNX if the path ends in ".onnx".

        The program takes and returns plain containers: a module is a dict of its fields, and its static
        settings are part of the program. A process that has only JAX runs it in two lines, which do not
        check the checksum:

            content = pathlib.Path(path).read_bytes()
            results = jax.export.deserialize(bytearray(content[64:])).call(*args)

        Trace `graph(jax.vmap(model))(x)` of a network of another library, which takes one example.

        An ONNX model needs `pip install "funcnet[onnx]"`. Its inputs and outputs are the arrays of the
        arguments and results, in order; it is checked, and its outputs are compared with the graph's.

        Args:
            path: the file.
            batch: a name for the leading axis of all arguments but modules, "b", if it may have any length;
                or a name or None for each argument, or for parts of them, as `in_axes` of `jax.vmap`. Only
                for computations that treat all rows alike.
            platforms: where the program can run, of "cpu", "cuda", "rocm" and "tpu"; ONNX has no platform.

        Returns:
            The path.

        Raises:
            TypeError: if `path` is not a path, or `batch` does not hold names.
            ValueError: if `batch` does not fit the arguments, an operation does not exist on a platform or
                in ONNX, the graph runs Python (a callback), or the ONNX model has other outputs.
            ImportError: if the packages for ONNX are not installed.
        """
        place = _check.path("path", path, "model.graph")
        platforms = _check_platforms(platforms)
        _check_no_callbacks(self.program)
        structs = name_axes(self.inputs, batch)
        function = self._run if batch is None else self.function
        with _any_length(batch):
            if place.suffix == ".onnx":
                content = to_onnx(function, structs)
            else:
                content = pack(serialize(function, structs, platforms))
        _files.write(place, content)
        return place


def load_graph(path: str | os.PathLike[str]) -> Callable[..., PyTree]:
    """The function in a file written by `Graph.save`.

    Args:
        path: the file.

    Returns:
        A function of the arguments that it was saved for: modules, or dicts of their fields. Modules among
        the results are dicts of their fields, named tuples are tuples.

    Raises:
        FileNotFoundError: if the file does not exist.
        ValueError: if the file was not written by `Graph.save`, or is damaged.
        TypeError: in the call, if the arguments have another structure, shape or dtype.

    Example:
        >>> import tempfile, jax.numpy as jnp, funcnet as fn
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     g = fn.transform.graph(lambda x: 2 * x)(jnp.ones((1, 3)))
        ...     saved = g.save(f"{folder}/double", batch="b")
        ...     fn.transform.load_graph(saved)(jnp.ones((2, 3))).shape
        (2, 3)
    """
    from jax import export

    place = _check.path("path", path, "model.graph")
    content = _files.read(place, "a file written by Graph.save")
    exported = export.deserialize(unpack(place, content))

    def call(*args: Any) -> PyTree:
        args = to_plain(partition_arrays("args", args)[0])
        structs = jax.tree.unflatten(exported.in_tree, exported.in_avals)[0]
        _check_args(structs, args)
        return exported.call(*args)

    return call


def _check_device(device: Any) -> None:
    if not isinstance(device, jax.Device):
        raise TypeError(f"device must be one of jax.devices(), got {_check.describe(device)}.")


def graph(f: Callable[..., PyTree]) -> Callable[..., Graph]:
    """Trace a function: its computation as a value.

    Args:
        f: any function of pytrees of arrays, gradients and training functions included. Leaves that are
            not arrays, such as functions in a module of equinox, are constants of the graph.

    Returns:
        A function of the same arguments, or of `jax.ShapeDtypeStruct`s, that returns a `Graph`.

    Raises:
        TypeError: if `f` is not callable; in the call, if an argument is not a pytree of arrays.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> model = fn.MLP((4, 16, 3)).init(jax.random.key(0))
        >>> g = fn.transform.graph(model)(jax.ShapeDtypeStruct((32, 4), jnp.float32))
        >>> g.cost().flops  # 2 · 32 · (4 · 16 + 16 · 3), biases and relu
        8288.0
    """
    _check.function("f", f, "a function of arrays")

    def trace(*args: Any) -> Graph:
        _check.takes("f", f, "a function of arrays", *args)
        arrays, settings = partition_arrays("args", args, structs=True)
        of_results: PyTree = None

        def of_arrays(*arrays: Any) -> PyTree:
            nonlocal of_results
            results, of_results = partition_results("f", f(*_tree.combine(arrays, settings)))
            return results

        program, outputs = jax.make_jaxpr(of_arrays, return_shape=True)(*arrays)
        inputs = jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a), dtype_of(a)), arrays)
        return Graph(program, of_arrays, inputs, outputs, (settings, of_results))

    return trace


def _check_settings(expected: PyTree, settings: PyTree) -> None:
    """Raise unless the leaves that are not arrays are those of the trace, as far as both have them."""
    of_trace = dict(jax.tree_util.tree_leaves_with_path(expected))
    for path, leaf in jax.tree_util.tree_leaves_with_path(settings):
        if of_trace.get(path) != leaf:
            raise ValueError(
                f"args{jax.tree_util.keystr(path)} of this graph must be what it was when it was traced, "
                f"{_check.describe(of_trace.get(path))}, got {_check.describe(leaf)}. Trace another graph: "
                "graph(f)(*args)."
            )


def _check_platforms(platforms: Any) -> tuple[str, ...]:
    if isinstance(platforms, str) or not isinstance(platforms, Sequence) or not platforms:
        raise TypeError(
            f"platforms must be a list of some of {', '.join(PLATFORMS)}, got "
            f'{_check.describe(platforms)}. Try platforms=("cpu",).'
        )
    for platform in platforms:
        _check.choice("platforms", platform, PLATFORMS)
    return tuple(dict.fromkeys(platforms))


def _check_no_callbacks(program: "ClosedJaxpr") -> None:
    for equation in equations(program.jaxpr):
        if equation.primitive.name in ("debug_print", "debug_callback", "io_callback", "pure_callback"):
            raise ValueError(
                f"a graph that runs Python can't be saved, got {equation.primitive.name} in it. Leave out "
                "jax.debug.print and callbacks."
            )


@contextlib.contextmanager
def _any_length(batch: Any) -> Iterator[None]:
    """Explain the error of a computation that depends on the length of a named axis."""
    try:
        yield
    except Exception as error:
        if type(error).__name__ != "InconclusiveDimensionOperation":  # jax 0.10.0 does not export it
            raise
        raise ValueError(
            f"batch must name axes that may have any length, got {batch!r}, and the computation depends on "
            f"it: {str(error).strip().splitlines()[0].rstrip('.')}. Save it for one length, batch=None; "
            "for rows, write jax.vmap(model) in place of fn.predict."
        ) from error


def _check_args(structs: PyTree, args: PyTree) -> None:
    """Raise unless the arguments have the structure, shapes and dtypes that a graph was traced for."""
    if jax.tree.structure(args) != jax.tree.structure(structs):  # type: ignore[operator]
        raise TypeError(
            f"args of this graph must have the structure {jax.tree.structure(structs)}, got "
            f"{jax.tree.structure(args)}. Trace another graph: graph(f)(*args)."
        )
    for (path, expected), leaf in zip(
        jax.tree_util.tree_leaves_with_path(structs), jax.tree.leaves(args), strict=True
    ):
        if expected.dtype != dtype_of(leaf) or not _same_shape(expected.shape, jnp.shape(leaf)):
            raise TypeError(
                f"args{jax.tree_util.keystr(path)} of this graph must be {_check.describe(expected)}, "
                f"got {_check.describe(leaf)}. Trace another graph for other shapes: graph(f)(*args)."
            )


def _same_shape(expected: tuple[Any, ...], shape: tuple[int, ...]) -> bool:
    """Whether a shape is the expected one, whose named axes may have any length."""
    return len(expected) == len(shape) and all(
        size == actual or not isinstance(size, int) for size, actual in zip(expected, shape, strict=True)
    )
