"""An interpreter of programs in which values are sown and buffers renewed."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet._sow import renew_p, sow_p
from funcnet._types import PyTree
from funcnet.transform._jaxpr import bind, called, holds, parts, scan_parts, while_parts

if TYPE_CHECKING:
    from jax.extend.core import Jaxpr, JaxprEqn

Sown = dict[str, Any]

NO_BUFFER = (
    "a buffer was renewed that is no array of the model as it was passed in: inside a loop over stacked "
    "layers, or after an operation on it. Keep one module for each layer."
)

MAPPED = (
    "a layer with running statistics, such as BatchNorm, is mapped within the loss, by jax.vmap or in a "
    "branch that depends on the example: each would have statistics of its own. Call the model once for an "
    "example; of several views of it make one array [views, ...] and pass that."
)


class Found(NamedTuple):
    """Results of a program, what was sown in it, and by the number of an argument how it is renewed."""

    results: list[Any]
    sown: Sown
    renewed: dict[int, list[tuple[Any, float]]]


def interpret(jaxpr: "Jaxpr", consts: Sequence[Any], args: Sequence[Any], values: Sown) -> Found:
    """Run a program operation by operation, with `values` in place of what it sows under their names."""
    known: dict[Any, Any] = dict(zip([*jaxpr.constvars, *jaxpr.invars], [*consts, *args], strict=True))
    # An argument is known by its variable, and so is what merely passes it on: a buffer may be renewed
    # through any number of calls.
    places: dict[Any, int] = {var: i for i, var in enumerate(jaxpr.invars)}
    sown: Sown = {}
    new: dict[int, list[tuple[Any, float]]] = {}

    def read(atom: Any) -> Any:
        return atom.val if hasattr(atom, "val") else known[atom]

    def place(atom: Any) -> int | None:
        return None if hasattr(atom, "val") else places.get(atom)

    for equation in jaxpr.eqns:
        inputs = [read(atom) for atom in equation.invars]
        if equation.primitive is renew_p():
            if equation.params["each"]:
                raise ValueError(MAPPED)
            if (at := place(equation.invars[0])) is None:
                raise ValueError(NO_BUFFER)
            new.setdefault(at, []).append((inputs[1], equation.params["share"]))
            results = [inputs[1]]
        else:
            found = _applied(equation, inputs, values)
            results = found.results
            _add(sown, found.sown)
            for i, moves in found.renewed.items():
                if (at := place(equation.invars[i])) is None:
                    raise ValueError(NO_BUFFER)
                new.setdefault(at, []).extend(moves)
            if equation.primitive.name == "convert_element_type" and place(equation.invars[0]) is not None:
                places[equation.outvars[0]] = places[equation.invars[0]]
        known |= dict(zip(equation.outvars, results, strict=True))
    return Found([read(atom) for atom in jaxpr.outvars], sown, new)


def _add(sown: Sown, more: Sown) -> None:
    if twice := sorted(sown.keys() & more.keys()):
        raise ValueError(
            f"{twice[0]!r} is sown twice in this function. Give each its own name, such as "
            f"f'{twice[0]} {{i}}'."
        )
    sown.update(more)


def _applied(equation: "JaxprEqn", inputs: list[Any], values: Sown) -> Found:
    if equation.primitive is sow_p():
        return _sown(equation, inputs, values)
    if not _holds_marks(equation):
        return Found(bind(equation, *inputs), {}, {})
    name = equation.primitive.name
    match name:
        case "scan":
            return _scan(equation, inputs, values)
        case "while":
            return _while(equation, inputs, values)
        case "cond":
            return _cond(equation, inputs, values)
        case "custom_jvp_call" | "custom_vjp_call" | "custom_vjp_call_jaxpr":
            return _custom(equation, inputs, values)
    if (inside := called(equation)) is None:
        raise ValueError(
            f"a value is sown inside {name}, which can't be opened to reap it. Sow it outside."
        )
    if name.startswith(("remat", "checkpoint")):
        return _remat(equation, inputs, values)
    return interpret(*inside, inputs, values)


def _holds_marks(equation: "JaxprEqn") -> bool:
    """Whether something is sown or renewed within an operation."""
    return any(holds(part, sow_p(), renew_p()) for part in parts(equation))


def _sown(equation: "JaxprEqn", inputs: list[Any], values: Sown) -> Found:
    name, tree = equation.params["name"], equation.params["tree"]
    if name in values:
        leaves, given = jax.tree.flatten(values[name])
        wrong = given != tree or any(
            jnp.shape(a) != jnp.shape(b) for a, b in zip(leaves, inputs, strict=True)
        )
        if wrong:
            wanted = jax.tree.unflatten(tree, [jnp.shape(value) for value in inputs])
            came = jax.tree.map(jnp.shape, values[name])
            raise ValueError(f"what is planted for {name!r} has the shape {came}; {wanted} is sown.")
        for a, b in zip(leaves, inputs, strict=True):
            if not jnp.can_cast(jnp.result_type(a), b.dtype, "same_kind"):
                raise ValueError(f"{jnp.result_type(a)} is planted for {name!r}, and {b.dtype} is sown.")
        inputs = [jnp.asarray(a, b.dtype) for a, b in zip(leaves, inputs, strict=True)]
    return Found(inputs, {name: jax.tree.unflatten(tree, inputs)}, {})


def _scan(equation: "JaxprEqn", inputs: list[Any], values: Sown) -> Found:
    body, (fixed, carry, xs) = equation.params["jaxpr"], scan_parts(equation, inputs)
    inner = {name: value for name, value in values.items() if name in _names(body.jaxpr)}

    def turn(carry: list[Any], x: Any) -> Any:
        x, planted = x
        found = interpret(body.jaxpr, body.consts, [*fixed, *carry, *x], planted)
        _check_not_renewed(found)
        return found.results[: len(carry)], (found.results[len(carry) :], found.sown)

    settings = {name: equation.params[name] for name in ("length", "reverse", "unroll")}
    carry, (ys, sown) = jax.lax.scan(turn, carry, (xs, inner), **settings)
    return Found([*carry, *ys], sown, {})


def _while(equation: "JaxprEqn", inputs: list[Any], values: Sown) -> Found:
    test, body = equation.params["cond_jaxpr"], equation.params["body_jaxpr"]
    tested, fixed, carry = while_parts(equation, inputs)
    if holds(test.jaxpr, sow_p(), renew_p()):
        raise ValueError(
            "a value is sown in the condition of a while loop, of which it can't be taken out."
        )

    def once(carry: list[Any]) -> tuple[list[Any], Sown]:
        found = interpret(body.jaxpr, body.consts, [*fixed, *carry], values)
        _check_not_renewed(found)
        return found.results, found.sown

    def goes_on(state: Any) -> Any:
        return interpret(test.jaxpr, test.consts, [*tested, *state[0]], values).results[0]

    nothing = _zeros(jax.eval_shape(once, carry)[1])
    results, sown = jax.lax.while_loop(goes_on, lambda state: once(state[0]), (carry, nothing))
    return Found(results, sown, {})


def _cond(equation: "JaxprEqn", inputs: list[Any], values: Sown) -> Found:
    index, *operands = inputs

    def of(branch: Any) -> Callable[..., tuple[list[Any], Sown]]:
        def run(*args: Any) -> tuple[list[Any], Sown]:
            found = interpret(branch.jaxpr, branch.consts, args, values)
            _check_not_renewed(found)
            return found.results, found.sown

        return run

    branches = [of(branch) for branch in equation.params["branches"]]
    all_sown: Sown = {}
    for branch in branches:
        all_sown |= jax.eval_shape(branch, *operands)[1]
    nothing = _zeros(all_sown)

    def filled(branch: Any) -> Callable[..., Any]:
        def run(*args: Any) -> Any:
            results, sown = branch(*args)
            return results, nothing | sown

        return run

    results, sown = jax.lax.switch(index, [filled(branch) for branch in branches], *operands)
    return Found(results, sown, {})


def _remat(equation: "JaxprEqn", inputs: list[Any], values: Sown) -> Found:
    inside = called(equation)
    assert inside is not None
    settings = {
        name: equation.params[name] for name in ("prevent_cse", "policy") if name in equation.params
    }
    found = jax.checkpoint(lambda *args: tuple(interpret(*inside, args, values)), **settings)(*inputs)
    return Found(*found)


def _custom(equation: "JaxprEqn", inputs: list[Any], values: Sown) -> Found:
    """A call with derivatives of its own: they stay those of its results, and what is sown has JAX's.

    With a value planted in it, it is another function, and has JAX's derivatives.
    """
    inside = called(equation)
    assert inside is not None
    if not _names(inside[0]).isdisjoint(values):
        return interpret(*inside, inputs, values)

    @jax.custom_jvp
    def run(*args: Any) -> tuple[Any, ...]:
        return tuple(interpret(*inside, args, values))

    @run.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        found = Found(*run(*primals))
        _, slopes = jax.jvp(lambda *args: bind(equation, *args), primals, tangents)
        _, others = jax.jvp(lambda *args: tuple(interpret(*inside, args, values))[1:], primals, tangents)
        return tuple(found), (slopes, *others)

    return Found(*run(*inputs))


def _check_not_renewed(found: Found) -> None:
    if found.renewed:
        raise ValueError(
            "a buffer is renewed inside a loop or a branch, where it can't be said which turn counts. Keep "
            "layers with running statistics, such as BatchNorm, outside of scan, while and cond."
        )


def _names(jaxpr: "Jaxpr") -> set[str]:
    names = {e.params["name"] for e in jaxpr.eqns if e.primitive is sow_p()}
    return names.union(*(_names(part) for equation in jaxpr.eqns for part in parts(equation)))


def _zeros(shapes: PyTree) -> PyTree:
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
