"""Jaxprs: one interpreter for all that read them, and the parts of calls, loops and branches."""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import jax

if TYPE_CHECKING:  # jax.extend takes longer to import than all of funcnet
    from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

T = TypeVar("T")


def primitives_of(*names: str) -> list[Any]:
    """JAX's primitives of these names."""
    from jax.extend.core import primitives

    return [getattr(primitives, f"{name}_p") for name in names]


@functools.cache
def _calls() -> frozenset[Any]:
    names = ("jit", "closed_call", "call", "remat", "custom_jvp_call", "custom_vjp_call")
    return frozenset(primitives_of(*names))


def called_program(equation: "JaxprEqn") -> "ClosedJaxpr | None":
    """The program that a call runs once, compiled, checkpointed or with custom derivatives; else None."""
    from jax.extend.core import ClosedJaxpr

    if equation.primitive not in _calls():
        return None
    params = equation.params
    program = params["jaxpr"] if "jaxpr" in params else params["call_jaxpr"]
    return program if hasattr(program, "consts") else ClosedJaxpr(program, ())


def as_function(program: "ClosedJaxpr", structs: Any) -> Callable[..., Any]:
    """The function that `jax.make_jaxpr(f, return_shape=True)` traced, which runs no Python of `f` again.

    It takes arguments of the structures, shapes and dtypes that `f` was traced for.
    """
    from jax.extend.core import jaxpr_as_fun

    run, structure = jaxpr_as_fun(program), jax.tree.structure(structs)

    def call(*args: Any) -> Any:
        return jax.tree.unflatten(structure, run(*jax.tree.leaves(args)))

    return call


def evaluate(
    program: "ClosedJaxpr",
    args: Sequence[T],
    rule: Callable[["JaxprEqn", list[T]], Sequence[T]],
    *,
    lift: Callable[[Any], T] = lambda array: array,
    open_call: Callable[["JaxprEqn"], "ClosedJaxpr | None"] = called_program,
) -> list[T]:
    """Evaluate a program equation by equation, on arrays or on values that represent arrays.

    Args:
        program: a jaxpr with its constants.
        args: a value for each of its arguments.
        rule: `(equation, inputs) -> results`, for each equation that is not opened.
        lift: makes a value of an array that belongs to the program, a literal or a constant.
        open_call: `equation -> program` that is evaluated in its place, or None to apply `rule`.

    Returns:
        A value for each result of the program.
    """
    jaxpr = program.jaxpr
    values: dict[Any, T] = dict(zip(jaxpr.invars, args, strict=True))
    values.update(zip(jaxpr.constvars, map(lift, program.consts), strict=True))

    def read(atom: Any) -> T:
        return lift(atom.val) if hasattr(atom, "val") else values[atom]

    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        inner = open_call(equation)
        if inner is None:
            results = rule(equation, inputs)
        else:
            results = evaluate(inner, inputs, rule, lift=lift, open_call=open_call)
        values.update(zip(equation.outvars, results, strict=True))
    return [read(atom) for atom in jaxpr.outvars]


def bind(equation: "JaxprEqn", /, *arrays: Any, **changes: Any) -> list[Any]:
    """The results of an operation on these arrays, with some of its parameters changed."""
    params = equation.primitive.get_bind_params(equation.params | changes)
    results = equation.primitive.bind(*arrays, **params)
    return list(results) if equation.primitive.multiple_results else [results]


class Scan(NamedTuple, Generic[T]):
    """A `scan`: `body(*consts, *carry, *x) -> (*carry, *y)`, and what else `jax.lax.scan` takes."""

    body: "ClosedJaxpr"
    consts: list[T]
    carry: list[T]
    xs: list[T]
    settings: dict[str, Any]


class While(NamedTuple, Generic[T]):
    """A `while` loop: `cond(*cond_consts, *carry) -> (bool,)` and `body(*body_consts, *carry) -> carry`."""

    cond: "ClosedJaxpr"
    body: "ClosedJaxpr"
    cond_consts: list[T]
    body_consts: list[T]
    carry: list[T]


class Cond(NamedTuple, Generic[T]):
    """A `cond` or `switch`: `branches[branch_index](*operands)`."""

    branch_index: T
    branches: tuple["ClosedJaxpr", ...]
    operands: list[T]


def scan_parts(equation: "JaxprEqn", inputs: list[T]) -> Scan[T]:
    """A `scan` equation with these inputs, taken apart."""
    params = equation.params
    start, stop = params["num_consts"], params["num_consts"] + params["num_carry"]
    settings = {name: params[name] for name in ("length", "reverse", "unroll")}
    return Scan(params["jaxpr"], inputs[:start], inputs[start:stop], inputs[stop:], settings)


def while_parts(equation: "JaxprEqn", inputs: list[T]) -> While[T]:
    """A `while` equation with these inputs, taken apart."""
    params = equation.params
    start, stop = params["cond_nconsts"], params["cond_nconsts"] + params["body_nconsts"]
    cond, body = params["cond_jaxpr"], params["body_jaxpr"]
    return While(cond, body, inputs[:start], inputs[start:stop], inputs[stop:])


def cond_parts(equation: "JaxprEqn", inputs: list[T]) -> Cond[T]:
    """A `cond` equation with these inputs, taken apart."""
    return Cond(inputs[0], equation.params["branches"], inputs[1:])


def subprograms(equation: "JaxprEqn") -> list["Jaxpr"]:
    """All programs inside an equation: bodies of loops, branches, what it calls."""
    params = equation.params.values()
    values = (v for param in params for v in (param if isinstance(param, tuple | list) else (param,)))
    programs = (getattr(value, "jaxpr", value) for value in values)
    return [program for program in programs if hasattr(program, "eqns")]


def equations(jaxpr: "Jaxpr") -> Iterator["JaxprEqn"]:
    """All equations of a program, at every depth: each before those inside it."""
    for equation in jaxpr.eqns:
        yield equation
        for program in subprograms(equation):
            yield from equations(program)


def contains(jaxpr: "Jaxpr", *primitives: Any) -> bool:
    """Whether a program has an equation of one of these primitives, at any depth."""
    return any(equation.primitive in primitives for equation in equations(jaxpr))
