"""A table of all transformations of optax: how `fit` trains with them, or the sentence that refuses them.

`tests/train/test_optimizers.py` compares each with a loop as optax documents it, and the table with the
public names of `optax` and `optax.contrib`, so that a new one is one line here.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import optax
from optax import contrib

# Arguments that optax's documentation passes to `update`, and per-example gradients.
VALUE, SEARCH, HESSIAN, ASCENT = {"value"}, {"value", "grad", "value_fn"}, {"obj_fn"}, {"grad_fn"}
EXAMPLES = {"examples"}


@dataclasses.dataclass(frozen=True)
class Transformation:
    """How to make one, what its update needs, a part of the sentence if it is refused, and which model."""

    make: Callable[[], Any]
    needs: set[str] = dataclasses.field(default_factory=set)
    refused: str = ""
    matrices_only: bool = False


def _rates(names: str, module: Any = optax) -> dict[str, Transformation]:
    """Optimizers of a learning rate."""
    return {name: Transformation(functools.partial(getattr(module, name), 0.01)) for name in names.split()}


def _scalings(settings: Mapping[str, tuple[Any, ...]], module: Any = optax) -> dict[str, Transformation]:
    """Transformations that need a step size after them."""
    parts = {name: functools.partial(getattr(module, name), *args) for name, args in settings.items()}
    return {name: Transformation(functools.partial(_then_scale, part)) for name, part in parts.items()}


def _then_scale(make: Callable[[], Any]) -> Any:
    return optax.chain(make(), optax.scale(-0.05))


def _sgd() -> Any:
    return optax.sgd(0.05)


def _polyak() -> Any:
    return optax.polyak_sgd(0.5)


def _ascent() -> Any:
    return optax.chain(contrib.normalize(), _sgd())


def _even(step: Any) -> Any:
    return step % 2 == 0


def _matrices(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf.ndim > 1, tree)


def _muon_axes(tree: Any) -> Any:
    return jax.tree.map(lambda _: contrib.MuonDimensionNumbers(), tree)


def _labels(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: "matrix" if leaf.ndim > 1 else "vector", tree)


KEY = 0  # a seed
ALIASES = (
    "adabelief adadelta adafactor adagrad adam adamax adamaxw adamw adan amsgrad fromage lamb lars lion "
    "nadam nadamw novograd optimistic_adam optimistic_adam_v2 optimistic_gradient_descent radam rmsprop "
    "rprop scale_by_learning_rate sgd sign_sgd signum sm3 yogi"
)
OPTAX: dict[str, Transformation] = {
    **_rates(ALIASES),
    **_scalings(
        {
            **{"adaptive_grad_clip": (0.1,), "add_decayed_weights": (0.1,), "add_noise": (0.1, 0.5, KEY)},
            **{"apply_every": (2,), "centralize": (), "clip": (0.1,), "clip_by_block_rms": (0.1,)},
            **{"clip_by_global_norm": (0.1,), "ema": (0.9,), "identity": (), "keep_params_nonnegative": ()},
            **{"normalize_by_update_norm": (), "scale": (0.5,), "scale_by_adadelta": ()},
            **{"scale_by_adam": (), "scale_by_adamax": (), "scale_by_adan": (), "scale_by_amsgrad": ()},
            **{"scale_by_belief": (), "scale_by_distance_over_gradients": (), "scale_by_factored_rms": ()},
            **{"scale_by_lbfgs": (), "scale_by_lion": (), "scale_by_novograd": ()},
            **{"scale_by_optimistic_gradient": (), "scale_by_param_block_norm": ()},
            **{"scale_by_param_block_rms": (), "scale_by_radam": (), "scale_by_rms": ()},
            **{"scale_by_rprop": (0.01,), "scale_by_rss": (), "scale_by_sign": (), "scale_by_sm3": ()},
            **{"scale_by_stddev": (), "scale_by_trust_ratio": (), "scale_by_yogi": (), "set_to_zero": ()},
            **{"trace": (0.9,), "zero_nans": ()},
        }
    ),
    "MultiSteps": Transformation(lambda: optax.MultiSteps(_polyak(), 2), VALUE),
    "apply_if_finite": Transformation(lambda: optax.apply_if_finite(_polyak(), 3), VALUE),
    "chain": Transformation(lambda: optax.chain(optax.clip(1.0), _polyak()), VALUE),
    "conditionally_mask": Transformation(lambda: optax.conditionally_mask(_polyak(), _even), VALUE),
    "conditionally_transform": Transformation(
        lambda: optax.chain(optax.conditionally_transform(optax.scale_by_adam(), _even), optax.scale(-0.05))
    ),
    "flatten": Transformation(lambda: optax.flatten(optax.adam(0.01))),
    "freeze": Transformation(lambda: optax.chain(_sgd(), optax.freeze(_matrices))),
    "inject_hyperparams": Transformation(
        lambda: optax.inject_hyperparams(optax.polyak_sgd)(max_learning_rate=0.5), VALUE
    ),
    "inject_stateful_hyperparams": Transformation(lambda: optax.inject_hyperparams(optax.adam)(0.05)),
    "lbfgs": Transformation(optax.lbfgs, SEARCH),
    "lookahead": Transformation(lambda: optax.lookahead(optax.adam(0.01), 2, 0.5)),
    "masked": Transformation(lambda: optax.chain(_sgd(), optax.masked(optax.scale(0.5), _matrices))),
    "measure_with_ema": Transformation(
        lambda: optax.measure_with_ema(optax.tree.norm, 0.9), refused="one update in the shape of each"
    ),
    "monitor": Transformation(
        lambda: optax.chain(_sgd(), optax.monitor({"norm": optax.tree.norm})), refused="use optax.snapshot"
    ),
    "multi_transform": Transformation(
        lambda: optax.multi_transform({"matrix": _sgd(), "vector": _polyak()}, _labels), VALUE
    ),
    "named_chain": Transformation(
        lambda: optax.named_chain(("a", optax.clip(1.0)), ("b", _polyak())), VALUE
    ),
    "noisy_sgd": Transformation(lambda: optax.noisy_sgd(0.01, key=KEY)),
    "partition": Transformation(lambda: optax.partition({"matrix": _sgd(), "vector": _sgd()}, _labels)),
    "polyak_sgd": Transformation(_polyak, VALUE),
    "scale_by_backtracking_linesearch": Transformation(
        lambda: optax.chain(optax.sgd(1.0), optax.scale_by_backtracking_linesearch(8)), SEARCH
    ),
    "scale_by_polyak": Transformation(
        lambda: optax.chain(optax.scale_by_polyak(), optax.scale(-0.5)), VALUE
    ),
    "scale_by_schedule": Transformation(
        lambda: optax.scale_by_schedule(optax.linear_schedule(-0.1, -0.01, 5))
    ),
    "scale_by_zoom_linesearch": Transformation(
        lambda: optax.chain(optax.sgd(1.0), optax.scale_by_zoom_linesearch(8)), SEARCH
    ),
    "selective_transform": Transformation(lambda: optax.selective_transform(_sgd(), freeze_mask=_matrices)),
    "snapshot": Transformation(lambda: optax.chain(_sgd(), optax.snapshot("norm", optax.tree.norm))),
    "stateless": Transformation(
        lambda: optax.stateless(lambda updates, _: optax.tree.scale(-0.1, updates))
    ),
    "stateless_with_tree_map": Transformation(lambda: optax.stateless_with_tree_map(lambda u, _: -0.1 * u)),
    "with_extra_args_support": Transformation(lambda: optax.with_extra_args_support(_sgd())),
}
CONTRIB: dict[str, Transformation] = {
    **_rates("acprop ademamix adopt galore madgrad muon simplified_ademamix", contrib),
    **_rates("cocob dadapt_adamw dog dowg prodigy schedule_free_adamw schedule_free_sgd", contrib),
    **_scalings(
        {
            **{"normalize": (), "scale_by_acprop": (), "scale_by_ademamix": (), "scale_by_adopt": ()},
            **{"scale_by_cocob": (), "scale_by_galore": (), "scale_by_madgrad": (0.01,)},
            **{"scale_by_simplified_ademamix": ()},
        },
        contrib,
    ),
    "differentially_private_aggregate": Transformation(
        lambda: optax.chain(contrib.differentially_private_aggregate(0.1, 0.1, KEY), _sgd()), EXAMPLES
    ),
    "dpsgd": Transformation(
        lambda: optax.chain(contrib.differentially_private_aggregate(0.1, 0.0, KEY), optax.adam(0.05)),
        EXAMPLES,
    ),
    "hutchinson_estimator_diag_hessian": Transformation(
        lambda: optax.chain(contrib.hutchinson_estimator_diag_hessian(), optax.scale(-0.05)), HESSIAN
    ),
    "mechanize": Transformation(lambda: contrib.mechanize(_sgd())),
    "momo": Transformation(lambda: contrib.momo(0.05), VALUE),
    "momo_adam": Transformation(lambda: contrib.momo_adam(0.05), VALUE),
    "reduce_on_plateau": Transformation(
        lambda: optax.chain(_sgd(), contrib.reduce_on_plateau(patience=1)), VALUE
    ),
    "sam": Transformation(lambda: contrib.sam(_sgd(), _ascent())),
    "schedule_free": Transformation(lambda: contrib.schedule_free(_sgd(), 0.05)),
    "scale_by_muon": Transformation(
        lambda: optax.chain(contrib.scale_by_muon(weight_dimension_numbers=_muon_axes), optax.scale(-0.05)),
        matrices_only=True,
    ),
    "sophia": Transformation(lambda: contrib.sophia(0.01, update_interval=2), HESSIAN),
    "split_real_and_imaginary": Transformation(lambda: contrib.split_real_and_imaginary(optax.adam(0.01))),
}
COMBINED: dict[str, Transformation] = {
    "sam-opaque": Transformation(lambda: contrib.sam(_sgd(), _ascent(), opaque_mode=True), ASCENT),
    "sam-in-a-chain": Transformation(
        lambda: optax.chain(optax.clip(1.0), contrib.sam(_sgd(), _ascent(), opaque_mode=True)), ASCENT
    ),
    "sam-of-polyak": Transformation(
        lambda: contrib.sam(_polyak(), _ascent()),
        refused="missing 1 required keyword-only argument: 'value'",
    ),
    "split-of-polyak": Transformation(
        lambda: contrib.split_real_and_imaginary(_polyak()),
        refused="take its arguments from value",
    ),
    "masked-sophia": Transformation(
        lambda: optax.chain(optax.masked(contrib.sophia(0.01), True), optax.scale(0.5)), HESSIAN
    ),
    "lookahead-inside": Transformation(
        lambda: optax.chain(optax.clip(1.0), optax.lookahead(_sgd(), 2, 0.5)),
        refused="optax.lookahead inside another transformation",
    ),
    "schedule-free-flattened": Transformation(
        lambda: optax.flatten(contrib.schedule_free(_sgd(), 0.05)), refused="that reshapes parameters"
    ),
}
NOT_TRANSFORMATIONS = {
    *(
        "bias_correction",
        "matrix_inverse_pth_root",
        "sigmoid_binary_cross_entropy",
        "update_infinity_moment",
    ),
    *("update_moment", "update_moment_per_elem_norm", "schedule_free_eval_params"),
}
