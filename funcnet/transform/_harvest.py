"""Take sown values and buffer updates out of a program, and put other values into it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from funcnet._module import frozen_leaves
from funcnet._sow import sow_p, update_buffer_p
from funcnet._types import PyTree
from funcnet.transform._jaxpr import (
    bind,
    called_program,
    cond_parts,
    contains,
    equations,
    evaluate,
    scan_parts,
    subprograms,
    while_parts,
)

if TYPE_CHECKING:
    from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn

Sown = dict[str, Any]

NOT_A_BUFFER = (
    "update_buffer must be called with an array of the model as it was passed in, got another one: inside "
    "a loop over stacked layers, or after an operation on it. Keep one module for each layer."
)

MAPPED = (
    "a layer with running statistics, such as BatchNorm, is mapped within the loss, by jax.vmap or in a "
    "branch that depends on the example: each call would have its own statistics. Call the model once for "
    "each example; stack several views of it into one array [views, ...] and pass that. A loss marked by "
    "losses.batchwise calls it on all rows: model(x, key=key). In a layer of your own, new must be the "
    "same for all examples: jax.lax.pmean(x, fn.BATCH_AXIS)."
)

IN_CONTROL_FLOW = (
    "a buffer is updated inside a loop or a branch, where it is ambiguous which update to keep. Keep "
    "layers with running statistics, such as BatchNorm, outside of scan, while and cond."
)


CALLED_TWICE = (
    "a buffer was set twice in one step: a layer or a network of another library that updates a state was "
    "called twice on the same batch. Call it once on both inputs: in a loss marked by losses.batchwise, on "
    "jnp.concatenate([a, b])."
)


class Harvest(NamedTuple):
    """A program's results, the values it sows, and buffer updates (new, step size) by argument index."""

    results: list[Any]
    sown: Sown
    updates: dict[int, list[tuple[Any, float | None]]]


class Value(NamedTuple):
    """An array, and the index of the argument that it is equal to, if any.

    An array that is passed on unchanged keeps its index, so a buffer may be updated inside any number of
    calls.
    """

    array: Any
    argument: int | None = None


def harvest(program: "ClosedJaxpr", args: Sequence[Any], planted: Sown) -> Harvest:
    """Run a program equation by equation, with the `planted` values in place of what it sows."""
    sown: Sown = {}
    updates: dict[int, list[tuple[Any, float | None]]] = {}

    def rule(equation: "JaxprEqn", inputs: list[Value]) -> list[Value]:
        arrays = [value.array for value in inputs]
        if equation.primitive.name == "convert_element_type":
            (array,) = bind(equation, *arrays)
            return [Value(array, inputs[0].argument)]
        inner = _harvest_equation(equation, arrays, planted)
        for name, value in inner.sown.items():
            if name in sown:
                raise ValueError(
                    f"{name!r} is sown twice in this function. Give each its own name, such as "
                    f"f'{name} {{i}}'."
                )
            sown[name] = value
        for i, steps in inner.updates.items():
            argument = inputs[i].argument
            if argument is None:
                raise ValueError(NOT_A_BUFFER)
            updates.setdefault(argument, []).extend(steps)
        return [Value(array) for array in inner.results]

    values = [Value(array, i) for i, array in enumerate(args)]
    results = evaluate(program, values, rule, lift=Value, open_call=_open_call)
    return Harvest([value.array for value in results], sown, updates)


def update_buffers(program: "ClosedJaxpr", rest: PyTree, share: Any = None) -> tuple[list[Any], PyTree]:
    """The results of a program of one pytree `rest`, and `rest` with the buffers that it updates.

    Frozen buffers stay. With `share`, it replaces the step size of running means, those with a step size
    below 1.
    """
    leaves, tree = jax.tree.flatten(rest)
    results, _, updates = harvest(program, leaves, {})
    is_frozen = frozen_leaves(rest)
    for index, steps in updates.items():
        if is_frozen[index]:
            continue
        if any(step_size is None for _, step_size in steps) and len(steps) > 1:
            raise ValueError(CALLED_TWICE)
        if share is not None and all(step_size is not None and step_size < 1 for _, step_size in steps):
            steps = [(sum(new for new, _ in steps) / len(steps), share)]
        for new, step_size in steps:
            old, new = leaves[index], jnp.asarray(new)
            new = new if new.dtype == old.dtype else new.astype(old.dtype)
            step = None if step_size is None else jnp.asarray(step_size, old.dtype)
            leaves[index] = new if step is None else old + step * (new - old)
    return results, jax.tree.unflatten(tree, leaves)


def _has_marks(equation: "JaxprEqn") -> bool:
    return any(contains(program, sow_p(), update_buffer_p()) for program in subprograms(equation))


def _open_call(equation: "JaxprEqn") -> "ClosedJaxpr | None":
    """The program to evaluate in place of a call; None to keep a call with remat or custom derivatives."""
    keeps_its_call = equation.primitive.name.startswith(("custom_", "remat", "checkpoint"))
    return None if keeps_its_call or not _has_marks(equation) else called_program(equation)


def _harvest_equation(equation: "JaxprEqn", inputs: list[Any], planted: Sown) -> Harvest:
    if equation.primitive is sow_p():
        return _sow(equation, inputs, planted)
    if equation.primitive is update_buffer_p():
        if equation.params["per_example"]:
            raise ValueError(MAPPED)
        return Harvest([inputs[1]], {}, {0: [(inputs[1], equation.params["step_size"])]})
    if not _has_marks(equation):
        return Harvest(bind(equation, *inputs), {}, {})
    match equation.primitive.name:
        case "scan":
            return _scan(equation, inputs, planted)
        case "while":
            return _while(equation, inputs, planted)
        case "cond":
            return _cond(equation, inputs, planted)
    program = called_program(equation)
    if program is None:
        raise ValueError(
            f"a value is sown inside {equation.primitive.name}, from which it can't be reaped. Sow it "
            "outside of it."
        )
    if equation.primitive.name.startswith("custom_"):
        return _custom(equation, program, inputs, planted)
    settings = {name: equation.params[name] for name in ("prevent_cse", "policy")}
    return jax.checkpoint(lambda *args: harvest(program, args, planted), **settings)(*inputs)


def _sow(equation: "JaxprEqn", inputs: list[Any], planted: Sown) -> Harvest:
    name, tree = equation.params["name"], equation.params["tree"]
    if name in planted:
        leaves, structure = jax.tree.flatten(planted[name])
        if structure != tree or list(map(jnp.shape, leaves)) != list(map(jnp.shape, inputs)):
            expected = jax.tree.unflatten(tree, list(map(jnp.shape, inputs)))
            shapes = jax.tree.map(jnp.shape, planted[name])
            raise ValueError(
                f"the value planted for {name!r} must have the shape {expected}, got {shapes}. "
                "reap(f)(*args)[1] returns values of the right shapes."
            )
        for leaf, old in zip(leaves, inputs, strict=True):
            if not jnp.can_cast(jnp.result_type(leaf), old.dtype, "same_kind"):
                raise ValueError(
                    f"the value planted for {name!r} must be {old.dtype}, got {jnp.result_type(leaf)}. "
                    "reap(f)(*args)[1] returns values of the right dtypes."
                )
        inputs = [jnp.asarray(leaf, old.dtype) for leaf, old in zip(leaves, inputs, strict=True)]
    return Harvest(inputs, {name: jax.tree.unflatten(tree, inputs)}, {})


def _scan(equation: "JaxprEqn", inputs: list[Any], planted: Sown) -> Harvest:
    scan = scan_parts(equation, inputs)
    names = _names(scan.body.jaxpr)
    stacked = {name: value for name, value in planted.items() if name in names}

    def body(carry: list[Any], x: Any) -> Any:
        x, planted = x
        results, sown = _without_updates(scan.body, [*scan.consts, *carry, *x], planted)
        return results[: len(carry)], (results[len(carry) :], sown)

    carry, (ys, sown) = jax.lax.scan(body, scan.carry, (scan.xs, stacked), **scan.settings)
    return Harvest([*carry, *ys], sown, {})


def _while(equation: "JaxprEqn", inputs: list[Any], planted: Sown) -> Harvest:
    loop = while_parts(equation, inputs)
    if contains(loop.cond.jaxpr, sow_p(), update_buffer_p()):
        raise ValueError(
            "a value is sown in the condition of a while loop, from which it can't be reaped. Sow it in "
            "the loop's body."
        )

    def body(carry: list[Any]) -> tuple[list[Any], Sown]:
        return _without_updates(loop.body, [*loop.body_consts, *carry], planted)

    def cond(state: Any) -> Any:
        return harvest(loop.cond, [*loop.cond_consts, *state[0]], planted).results[0]

    zeros = _zeros(jax.eval_shape(body, loop.carry)[1])
    results, sown = jax.lax.while_loop(cond, lambda state: body(state[0]), (loop.carry, zeros))
    return Harvest(results, sown, {})


def _cond(equation: "JaxprEqn", inputs: list[Any], planted: Sown) -> Harvest:
    index, branches, operands = cond_parts(equation, inputs)

    def run(branch: "ClosedJaxpr", not_sown: Sown) -> Callable[..., tuple[list[Any], Sown]]:
        def of_branch(*args: Any) -> tuple[list[Any], Sown]:
            results, sown = _without_updates(branch, args, planted)
            return results, not_sown | sown

        return of_branch

    shapes: Sown = {}
    for branch in branches:
        shapes |= jax.eval_shape(run(branch, {}), *operands)[1]
    zeros = _zeros(shapes)
    results, sown = jax.lax.switch(index, [run(branch, zeros) for branch in branches], *operands)
    return Harvest(results, sown, {})


def _custom(equation: "JaxprEqn", program: "ClosedJaxpr", inputs: list[Any], planted: Sown) -> Harvest:
    """A call with custom derivatives: its results keep them, and sown values get JAX's own derivatives.

    If a value is planted in it, it is a different function, and all its derivatives are JAX's own.
    """
    if not _names(program.jaxpr).isdisjoint(planted):
        return harvest(program, inputs, planted)

    @jax.custom_jvp
    def run(*args: Any) -> Harvest:
        return harvest(program, args, planted)

    @run.defjvp
    def _(primals: Any, tangents: Any) -> Any:
        primal = run(*primals)
        _, of_results = jax.jvp(lambda *args: bind(equation, *args), primals, tangents)
        _, of_others = jax.jvp(lambda *args: tuple(harvest(program, args, planted))[1:], primals, tangents)
        return primal, Harvest(of_results, *of_others)

    return run(*inputs)


def _without_updates(program: "ClosedJaxpr", args: Sequence[Any], planted: Sown) -> tuple[list[Any], Sown]:
    results, sown, updates = harvest(program, args, planted)
    if updates:
        raise ValueError(IN_CONTROL_FLOW)
    return results, sown


def _names(jaxpr: "Jaxpr") -> set[str]:
    return {equation.params["name"] for equation in equations(jaxpr) if equation.primitive is sow_p()}


def _zeros(shapes: PyTree) -> PyTree:
    return jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)
