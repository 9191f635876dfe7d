"""A computation as a value: look at it, cost it, draw it, run it, keep it."""

import collections
import dataclasses
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp

from funcnet import _check
from funcnet._types import PyTree
from funcnet.transform._cost import flops, moved_bytes
from funcnet.transform._jaxpr import called

if TYPE_CHECKING:
    from jax.extend.core import Jaxpr, JaxprEqn


@dataclasses.dataclass(frozen=True)
class Operation:
    """One operation of a graph.

    Args:
        name: JAX's name for it.
        scope: the modules and transformations that it stands in, the outermost first: "MLP/Linear".
        inputs: dtype and shape of what it takes, "float32[2,3]".
        outputs: of what it gives.
        flops: floating-point operations; of a loop those of all its turns.
        bytes: what it reads and writes if nothing is fused.
        source: file, line and function that called for it.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> (operation,) = fn.transform.graph(jnp.sin)(jnp.ones(3)).table()
        >>> operation.name, operation.outputs, operation.flops, operation.bytes
        ('sin', ('float32[3]',), 3.0, 24.0)
    """

    name: str
    scope: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    flops: float
    bytes: float
    source: str


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a graph costs.

    Args:
        flops: floating-point operations, a multiplication with an addition as two.
        bytes: arguments read and results written once: the least that has to move.
        unfused: bytes that move if every operation reads and writes by itself.

    Example:
        >>> import jax.numpy as jnp, funcnet as fn
        >>> cost = fn.transform.graph(lambda a, b: a @ b)(jnp.ones((4, 8)), jnp.ones((8, 2))).cost()
        >>> cost.flops, cost.bytes, round(cost.intensity, 2)
        (128.0, 224.0, 0.57)
        >>> cost.seconds(flops=1e9, bytes=1e9)
        2.24e-07
    """

    flops: float
    bytes: float
    unfused: float

    @property
    def intensity(self) -> float:
        """Operations for each byte that has to move."""
        return self.flops / max(self.bytes, 1.0)

    def seconds(self, *, flops: float, bytes: float) -> float:
        """The least time on a device that computes `flops` and moves `bytes` a second.

        Source: Williams, Waterman, Patterson, "Roofline", 2009.
        """
        return max(self.flops / flops, self.bytes / bytes)


class Graph:
    """A computation that has been traced for arguments of some shapes; `graph(f)(*args)` makes it.

    Args:
        program: as JAX writes it.
        function: what was traced.
        inputs: the arguments, as shapes in their tree.
        outputs: the results, likewise.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> g = fn.transform.graph(lambda x, y: {"sum": x + y})(jnp.ones(2), jnp.ones(2))
        >>> [operation.name for operation in g.table()]
        ['add']
        >>> g(jnp.ones(2), jnp.array([1.0, 2.0]))["sum"].tolist()
        [2.0, 3.0]
    """

    def __init__(
        self, program: Any, function: Callable[..., PyTree], inputs: PyTree, outputs: PyTree
    ) -> None:
        self.program, self.function, self.inputs, self.outputs = program, function, inputs, outputs
        self._compiled: Any = None

    def table(self, *, open_calls: bool = True) -> list[Operation]:
        """All operations in the order in which they stand; with `open_calls` those within compiled and
        checkpointed parts too. Loops and branches are one operation each."""
        return [
            _operation(equation, scope)
            for equation, scope in _equations(self.program.jaxpr, "", open_calls)
        ]

    def cost(self) -> Cost:
        """Operations and bytes of the whole computation."""
        jaxpr = self.program.jaxpr
        ends = sum(_bytes(leaf) for leaf in jax.tree.leaves((self.inputs, self.outputs)))
        ends += sum(_bytes(const) for const in self.program.consts)
        found = list(_equations(jaxpr, "", True))
        return Cost(sum(flops(e) for e, _ in found), float(ends), sum(moved_bytes(e) for e, _ in found))

    def __call__(self, *args: Any) -> PyTree:
        """Run it, compiled, on arguments of the shapes that it was traced for.

        Raises:
            TypeError: if they have other shapes, dtypes or another structure.
        """
        if self._compiled is None:
            self.compile()
        try:
            return self._compiled(*args)
        except TypeError:
            _check_fits(self.inputs, args)
            raise

    def compile(self, device: Any = None) -> "Graph":
        """Compile it for a device, one of `jax.devices()`; for the default one when left out."""
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
        """Operations that are not in both equally often: "+2 dot_general …" where the other has more."""
        counts = [collections.Counter(map(_line, g.table())) for g in (self, other)]
        lines = []
        for line in sorted(counts[0] | counts[1]):
            if (more := counts[1][line] - counts[0][line]) != 0:
                lines.append(f"{more:+d} {line}")
        return lines

    def dot(self, *, fold: bool = True) -> str:
        """The graph in the language of Graphviz; `fold` draws a module as one box, else its operations."""
        return _drawn(self, fold)

    def draw(self, path: str | os.PathLike[str], *, fold: bool = True) -> Path:
        """Draw it to a file: ".dot" is text; ".svg", ".png" and ".pdf" need Graphviz's program `dot`.

        Args:
            path: the file.
            fold: whether a module is one box, or its operations are drawn.

        Raises:
            ValueError: for another ending.
            RuntimeError: if `dot` is not installed.
        """
        place = Path(path)
        text = self.dot(fold=fold)
        if place.suffix == ".dot":
            place.write_text(text)
            return place
        if place.suffix not in (".svg", ".png", ".pdf"):
            raise ValueError(f"a graph is drawn to .dot, .svg, .png or .pdf; got {place.name!r}.")
        if (program := shutil.which("dot")) is None:
            raise RuntimeError(
                f"drawing {place.suffix} takes the program `dot`: apt-get install graphviz. Or write "
                f"the text: graph.draw({str(place.with_suffix('.dot'))!r})."
            )
        subprocess.run(
            [program, f"-T{place.suffix[1:]}", "-o", str(place)], input=text, text=True, check=True
        )
        return place

    def save(
        self, path: str | os.PathLike[str], *, batch: Sequence[str | None] | str | None = None
    ) -> Path:
        """Write it as a program that runs where there is JAX and nothing of ours: `jax.export.deserialize`.

        Args:
            path: the file.
            batch: a name for the leading axis of all arguments that are to have any length, "b"; or a
                name or None for each leaf of the arguments. Only for computations that treat rows alike.

        Returns:
            The path.
        """
        from jax import export

        leaves, tree = jax.tree.flatten(self.inputs)
        names = [batch] * len(leaves) if batch is None or isinstance(batch, str) else list(batch)
        if len(names) != len(leaves):
            raise ValueError(
                f"batch has a name or None for each of {len(leaves)} arrays; got {len(names)}."
            )
        scope = export.SymbolicScope()
        structs = []
        for leaf, name in zip(leaves, names, strict=True):
            shape = leaf.shape
            if name is not None:
                shape = export.symbolic_shape(",".join([name, *map(str, shape[1:])]), scope=scope)
            structs.append(jax.ShapeDtypeStruct(shape, leaf.dtype))
        function = self.function if any(names) else self._run
        exported = export.export(jax.jit(function))(*jax.tree.unflatten(tree, structs))
        place = Path(path)
        place.write_bytes(exported.serialize())
        return place


def load_graph(path: str | os.PathLike[str]) -> Callable[..., PyTree]:
    """The function in a file that `Graph.save` wrote.

    Args:
        path: the file.

    Returns:
        A function of the arguments that it was saved for.

    Raises:
        FileNotFoundError: if there is no such file.

    Example:
        >>> import tempfile, jax.numpy as jnp, funcnet as fn
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     g = fn.transform.graph(lambda x: 2 * x)(jnp.ones((1, 3)))
        ...     saved = g.save(f"{folder}/double", batch="b")
        ...     fn.transform.load_graph(saved)(jnp.ones((2, 3))).shape
        (2, 3)
    """
    from jax import export

    return export.deserialize(bytearray(Path(path).read_bytes())).call


def graph(f: Callable[..., PyTree]) -> Callable[..., Graph]:
    """The computation that `f` is for arguments of some shapes, as a value.

    Args:
        f: any function of pytrees of arrays, gradients and trainings included.

    Returns:
        A function of the same arguments, or of `jax.ShapeDtypeStruct`s in their place: a `Graph`.

    Raises:
        TypeError: if `f` can't be called.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> model = fn.MLP((4, 16, 3)).init(jax.random.key(0))
        >>> g = fn.transform.graph(model)(jax.ShapeDtypeStruct((32, 4), jnp.float32))
        >>> g.cost().flops  # 2 · 32 · (4 · 16 + 16 · 3), biases and relu
        8288.0
    """
    _check.function("f", f, "a function of arrays")

    def trace(*args: Any) -> Graph:
        program, outputs = jax.make_jaxpr(f, return_shape=True)(*args)
        inputs = jax.tree.map(lambda a: jax.ShapeDtypeStruct(jnp.shape(a), jnp.result_type(a)), args)
        return Graph(program, f, inputs, outputs)

    return trace


def _check_fits(wanted: PyTree, args: PyTree) -> None:
    """Raise unless the arguments are those that a graph was traced for."""
    if jax.tree.structure(args) != jax.tree.structure(wanted):  # type: ignore[operator]
        raise TypeError(
            f"this graph takes arguments of the structure {jax.tree.structure(wanted)}; got "
            f"{jax.tree.structure(args)}."
        )
    for (path, struct), leaf in zip(
        jax.tree_util.tree_leaves_with_path(wanted), jax.tree.leaves(args), strict=True
    ):
        if (struct.shape, struct.dtype) != (jnp.shape(leaf), jnp.result_type(leaf)):
            raise TypeError(
                f"this graph takes {_check.describe(struct)} as {jax.tree_util.keystr(path)} of its "
                f"arguments; got {_check.describe(leaf)}. Other shapes are another graph: graph(f)(*args)."
            )


def _equations(jaxpr: "Jaxpr", scope: str, open_calls: bool) -> Any:
    for equation in jaxpr.eqns:
        here = "/".join(part for part in (scope, str(equation.source_info.name_stack)) if part)
        inside = called(equation) if open_calls and equation.primitive.name != "scan" else None
        if inside is not None:
            yield from _equations(inside[0], here, open_calls)
        else:
            yield equation, here


def _operation(equation: "JaxprEqn", scope: str) -> Operation:
    from jax.extend.source_info_util import summarize

    return Operation(
        equation.primitive.name,
        scope,
        tuple(_kind(var) for var in equation.invars),
        tuple(_kind(var) for var in equation.outvars),
        flops(equation),
        moved_bytes(equation),
        summarize(equation.source_info),
    )


def _kind(var: Any) -> str:
    return str(var.aval.str_short()) if hasattr(var.aval, "str_short") else str(var.aval)


def _line(operation: Operation) -> str:
    return f"{operation.name} {', '.join(operation.inputs)} -> {', '.join(operation.outputs)}"


def _bytes(leaf: Any) -> float:
    size = 1
    for n in jnp.shape(leaf):
        size *= n
    return size * getattr(getattr(leaf, "dtype", None), "itemsize", 4)


def _drawn(graph: Graph, fold: bool) -> str:
    """Boxes and arrows. What is computed on the way back, a transposition, is drawn in another colour."""
    boxes: list[str] = []
    arrows: set[tuple[int, int]] = set()
    origin: dict[Any, int] = {}
    last = ""

    def add(label: str, shape: str, *, back: bool = False) -> int:
        text, colour = label.replace('"', "'"), "#D55E00" if back else "#0072B2"
        boxes.append(f'[label="{text}", shape={shape}, color="{colour}"]')
        return len(boxes) - 1

    def known(atom: Any) -> int | None:
        return None if hasattr(atom, "val") else origin.get(atom)

    def ends(variables: Any, tree: PyTree) -> Any:
        for variable, (path, _) in zip(variables, jax.tree_util.tree_leaves_with_path(tree), strict=True):
            label = f"{jax.tree_util.keystr(path)} {_kind(variable)}".strip()
            yield variable, add(label, "ellipse")

    def walk(jaxpr: "Jaxpr", scope: str) -> None:
        nonlocal last
        for equation in jaxpr.eqns:
            here = "/".join(part for part in (scope, str(equation.source_info.name_stack)) if part)
            inside = called(equation) if equation.primitive.name != "scan" else None
            if inside is not None:
                sources = map(known, equation.invars)
                origin.update(
                    (a, b) for a, b in zip(inside[0].invars, sources, strict=True) if b is not None
                )
                walk(inside[0], here)
                sources = map(known, inside[0].outvars)
                origin.update(
                    (a, b) for a, b in zip(equation.outvars, sources, strict=True) if b is not None
                )
                continue
            # Operations of a module that follow one another are one box. Where it comes again, it is
            # another: so two layers of a kind are two, and no arrow turns back.
            if not fold or not here or here != last:
                add(here if fold and here else equation.primitive.name, "box", back="transpose" in here)
            last, box = here, len(boxes) - 1
            found = {known(atom) for atom in equation.invars} - {None, box}
            arrows.update((source, box) for source in found if source is not None)
            origin.update(dict.fromkeys(equation.outvars, box))

    origin.update(ends(graph.program.jaxpr.invars, graph.inputs))
    walk(graph.program.jaxpr, "")
    results = list(ends(graph.program.jaxpr.outvars, graph.outputs))
    arrows.update((source, box) for atom, box in results if (source := known(atom)) is not None)
    joined = {box for arrow in arrows for box in arrow}
    lines = ["digraph computation {", "  rankdir=TB; node [shape=box, fontname=Helvetica, fontsize=10];"]
    lines += [f"  n{i} {box};" for i, box in enumerate(boxes) if i in joined or "ellipse" in box]
    lines += [f"  n{a} -> n{b};" for a, b in sorted(arrows)]
    return "\n".join([*lines, "}"]) + "\n"
