"""Models of other libraries where a module is expected: which function of `fn.interop` takes them."""

from typing import Any

LIFT = {
    "flax.linen": "fn.interop.from_linen(module, example)",
    "flax.nnx": "fn.interop.from_nnx(lambda rngs: Net(rngs))",
    "equinox": "fn.interop.from_equinox(lambda key: Net(key))",
    "keras": "fn.interop.from_keras(lambda: keras.Sequential([...]))",
    "torch": "fn.interop.load_torch(net, module.state_dict()), with a net of funcnet",
}


def library(value: Any) -> str | None:
    """The library of a model, a key of `LIFT`; None for anything else."""
    for base in type(value).__mro__[:-1]:
        if base.__name__ in ("Module", "Model"):
            for name in LIFT:
                if f"{base.__module__}.".startswith(f"{name}."):
                    return name
    return None


def not_lifted(value: Any) -> None:
    """Check that a value is not a model of another library that must be lifted."""
    if (name := library(value)) is not None:
        raise TypeError(
            f"a model of {name} must be lifted here, got {type(value).__name__}. Write net = {LIFT[name]}."
        )
