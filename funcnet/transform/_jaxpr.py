"""Programs as JAX writes them: what all who read them have in common."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jax.extend.core import Jaxpr, JaxprEqn


def primitives_of(*names: str) -> list[Any]:
    """JAX's primitives of these names."""
    from jax.extend.core import primitives

    return [getattr(primitives, f"{name}_p") for name in names]


def bind(equation: "JaxprEqn", *arrays: Any, **changes: Any) -> list[Any]:
    """The results of an operation on these arrays, with some of its settings changed."""
    params = equation.primitive.get_bind_params(equation.params | changes)
    found = equation.primitive.bind(*arrays, **params)
    return list(found) if equation.primitive.multiple_results else [found]


def called(equation: "JaxprEqn") -> tuple["Jaxpr", Sequence[Any]] | None:
    """The program that an operation calls once, and its constants; None if it calls none."""
    for name in ("jaxpr", "call_jaxpr"):
        if name in equation.params:
            program = equation.params[name]
            return getattr(program, "jaxpr", program), getattr(program, "consts", ())
    return None


def parts(equation: "JaxprEqn") -> list["Jaxpr"]:
    """All programs within an operation: bodies of loops, branches, what it calls."""
    found: list[Any] = []
    for value in equation.params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns"):
                found.append(part)
    return found


def scan_parts(equation: "JaxprEqn", inputs: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """What belongs to the inputs of a `scan`: its constants, its carry, what it goes over."""
    consts, carry = equation.params["num_consts"], equation.params["num_carry"]
    return inputs[:consts], inputs[consts : consts + carry], inputs[consts + carry :]


def while_parts(equation: "JaxprEqn", inputs: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """What belongs to the inputs of a `while` loop: constants of its test and of its body, its carry."""
    test, body = equation.params["cond_nconsts"], equation.params["body_nconsts"]
    return inputs[:test], inputs[test : test + body], inputs[test + body :]


def holds(jaxpr: "Jaxpr", *primitives: Any) -> bool:
    """Whether one of these primitives stands anywhere in a program."""
    return any(
        equation.primitive in primitives or any(holds(part, *primitives) for part in parts(equation))
        for equation in jaxpr.eqns
    )
