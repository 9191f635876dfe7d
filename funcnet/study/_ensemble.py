"""An ensemble: many runs of one network as one program, and their mean prediction as a model."""

import dataclasses
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp

from funcnet import _check, _keys, _tree
from funcnet._module import Module, call, is_complete
from funcnet._types import Array, Key, PyTree
from funcnet.data import bootstrap
from funcnet.layers._dtype import wide
from funcnet.study._members import (
    ProgressCallback,
    check_start_is_drawn,
    init_if_incomplete,
    model_of_shapes,
)
from funcnet.study._study import MemberStudy, to_rows
from funcnet.train import Fit, Run
from funcnet.train._loop import run as run_plan
from funcnet.train._step import check_accumulate, check_no_zero_weight
from funcnet.transform._arguments import to_arrays

Average: TypeAlias = Literal["values", "classes", "binary"]


class Ensemble(Module):
    """The mean prediction of several models with the same structure.

    "values" averages predictions. "classes" averages the probabilities softmax(logits) and "binary"
    averages sigmoid(logits); both return the mean as logits (log-probabilities or log-odds), which every
    loss and metric accepts.

    Args:
        members: a model whose arrays have a leading axis [members, ...].
        average: "values", "classes" or "binary".

    Returns:
        When called on x: one prediction with the shape of a member's prediction.

    Raises:
        ValueError: if `average` is unknown.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> keys = jax.random.split(jax.random.key(0), 10)
        >>> ensemble = fn.study.Ensemble(jax.vmap(fn.Linear(2, "scalar").init)(keys))
        >>> x = jnp.ones((5, 2))
        >>> ensemble(x).shape, ensemble.predictions(x).shape, len(ensemble)
        ((5,), (10, 5), 10)

    Source: Hansen, Salamon, "Neural network ensembles", 1990; Lakshminarayanan, Pritzel, Blundell,
    "Simple and scalable predictive uncertainty estimation using deep ensembles", 2017.
    """

    members: Module | PyTree
    average: Average = "values"

    def __post_init__(self) -> None:
        _check.choice("average", self.average, ("values", "classes", "binary"))
        object.__setattr__(self, "members", to_arrays("members", self.members, structs=True))
        sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(self.members)}
        holds_nothing = not sizes and not isinstance(self.members, Module)
        if len(sizes) > 1 or holds_nothing or sizes & {(), (0,)} or not is_complete(self.members):
            raise ValueError(
                "members must be a model whose arrays have a leading axis [members, ...], got "
                f"{_check.describe(self.members)}. Try jax.vmap(net.init)(jax.random.split(key, 10))."
            )

    def __len__(self) -> int:
        return jax.tree.leaves(self.members)[0].shape[0]

    def __call__(self, x: PyTree, key: Key | None = None) -> Any:
        each = self.predictions(x, key)
        return self._mean(each).astype(each.dtype)

    def _mean(self, each: Array) -> Array:
        """The mean prediction, in at least float32, from the predictions [members, ...]."""
        each = wide(each)
        if self.average == "values":
            return jnp.mean(each, axis=0)
        if self.average == "classes":
            return jax.nn.logsumexp(_log_softmax(each), axis=0) - jnp.log(len(each)).astype(each.dtype)
        log_p, log_not_p = (jax.nn.logsumexp(jax.nn.log_sigmoid(z), axis=0) for z in (each, -each))
        return log_p - log_not_p

    def predictions(self, x: PyTree, key: Key | None = None) -> Array:
        """The prediction of each member, [members, ...]."""
        if key is not None:
            _check.key(key)
        if key is None:
            return jax.vmap(lambda member: call(member, x, None))(self.members)
        keys = jax.random.split(key, len(self))
        return jax.vmap(lambda member, k: call(member, x, k))(self.members, keys)

    def spread(self, x: PyTree) -> Array:
        """The standard deviation over members: of values, or of class probabilities."""
        each = self.predictions(x)
        values = self._values_or_probabilities(each)
        # Differences from the first member keep the digits that a mean near 1e6 would lose.
        return jnp.std(values - values[:1], axis=0).astype(each.dtype)

    def disagreement(self, x: PyTree) -> Array:
        """The share of members, 0 to 1, whose class differs from the ensemble's; without a class axis."""
        each = self.predictions(x)
        mean = self._mean(each)
        if self.average == "values":
            raise ValueError("disagreement needs classes: Ensemble(members, average='classes').")
        if self.average == "classes":
            ensemble_class, classes = jnp.argmax(mean, axis=-1), jnp.argmax(each, axis=-1)
        else:
            ensemble_class, classes = mean > 0, each > 0
        differs = (classes != jnp.broadcast_to(ensemble_class, classes.shape)).astype(mean.dtype)
        unknown = jnp.isnan(each).any(axis=-1) if self.average == "classes" else jnp.isnan(each)
        return jnp.mean(jnp.where(unknown, jnp.nan, differs), axis=0)

    def mutual_information(self, x: PyTree) -> Array:
        """Entropy of the mean prediction minus the mean entropy of the members, in nats: the epistemic
        part of the uncertainty. Source: Houlsby et al., 2011.
        """
        if self.average == "values":
            raise ValueError("mutual_information needs classes: Ensemble(members, average='classes').")
        logits = self.predictions(x)
        each = self._values_or_probabilities(logits)
        if self.average == "binary":
            each = jnp.stack([each, jax.nn.sigmoid(-wide(logits))], axis=-1)  # 1 - each has no digits left
        information = _entropy(jnp.mean(each, axis=0)) - jnp.mean(_entropy(each), axis=0)
        return jnp.maximum(information, 0).astype(logits.dtype)

    def _values_or_probabilities(self, each: Array) -> Array:
        """The predictions [members, ...], or the probabilities that they stand for, in at least float32."""
        each = wide(each)
        if self.average == "values":
            return each
        return jnp.exp(_log_softmax(each)) if self.average == "classes" else jax.nn.sigmoid(each)


def _log_softmax(logits: Array) -> Array:
    """log(softmax), also of infinite logits: classes at +inf share the probability."""
    certain = jnp.isposinf(logits)
    finite = jnp.where(certain, 0, jnp.where(certain.any(axis=-1, keepdims=True), -jnp.inf, logits))
    return jax.nn.log_softmax(finite)


def _entropy(p: Array) -> Array:
    return -jnp.sum(jax.scipy.special.xlogy(p, p), axis=-1)


@_tree.node
class EnsembleResult:
    """The runs of an ensemble and the model that averages them.

    Args:
        model: the `Ensemble` of the trained models.
        runs: a `Run` whose arrays have a leading axis [members, ...].

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(-1.0, 1.0, 32)[:, None]
        >>> train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.adam(1e-2), epochs=3)
        >>> study = fn.study.ensemble(train, 5)
        >>> result = study(fn.MLP((1, 8, "scalar")), (x, x[:, 0]), jax.random.key(0))
        >>> result.runs.history["loss"].shape, result.model(x).shape
        ((5, 3), (32,))
    """

    model: Any
    runs: Run

    def _repr_html_(self) -> str:
        """How the runs ended, and their curves, for notebooks."""
        return self.runs._repr_html_()


def ensemble(
    train: Fit,
    size: int,
    *,
    bootstrap: bool = False,
    average: Average = "values",
    block: int | None = None,
    progress: ProgressCallback | None = None,
) -> "EnsembleStudy":
    """Many runs of one network as one program: `study(net, data, key, valid=None)`.

    Each member has its own initialization, order of rows and dropout masks, and stops early on its own.
    Member i depends on `key` and i only, not on the size of the ensemble;
    `study.member(net, data, key, i, valid)` computes the same run alone. Small networks are computed side
    by side by `transform.vmap_last`, larger ones by `jax.vmap`, in blocks that fit into memory, and over
    the devices of an enclosing `with fn.mesh.use():`.

    Args:
        train: a training function, from `fn.fit`.
        size: the number of members.
        bootstrap: whether each member is trained on rows drawn with replacement (bagging).
        average: what the ensemble averages; see `Ensemble`.
        block: the number of members computed side by side; chosen by memory if None. It changes results
            by rounding only.
        progress: called on the host after each block with the number of members it finished.

    Returns:
        The study; its result is an `EnsembleResult`.

    Raises:
        TypeError: if `train` is not a training function.
        ValueError: if `size` or `block` is below 1, or `average` unknown.

    Example:
        >>> import jax, optax, funcnet as fn
        >>> iris = fn.data.load("iris").data
        >>> loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
        >>> train = fn.fit(loss, optax.adam(1e-2), epochs=20, batch_size=16)
        >>> study = fn.study.ensemble(train, 10, average="classes")
        >>> result = study(fn.MLP((4, 16, 3)), iris, jax.random.key(0))
        >>> bool(fn.evaluate(loss, result.model, iris)["accuracy"] > 0.9)
        True

    Source: Breiman, "Bagging predictors", 1996.
    """
    _check.train_function(train)
    size = _check.repeats("size", size)
    _check.boolean("bootstrap", bootstrap)
    _check.choice("average", average, ("values", "classes", "binary"))
    return EnsembleStudy(train, size, bootstrap, average, block=block, progress=progress)


@dataclasses.dataclass(frozen=True, eq=False)
class EnsembleStudy(MemberStudy):
    """The study returned by `ensemble`. Call it; its settings are its fields."""

    SHARED = ("net", "data", "key", "valid")

    train: Fit
    size: int
    bootstrap: bool
    average: Average

    @property
    def num_members(self) -> int:
        return self.size

    def __call__(self, net: Module, data: PyTree, key: Key, valid: PyTree = None) -> EnsembleResult:
        """Train all members.

        Args:
            net: an architecture, before `init`; if it has parameters, every member starts from them.
            data: a Dataset, or a tuple of arrays [n, ...].
            key: a typed key.
            valid: rows for `val_loss` and early stopping.

        Returns:
            An EnsembleResult.

        Raises:
            TypeError: if `net` is not a module with an `init`, or `key` is not a PRNG key.
            ValueError: if the data is unfit.
        """
        model, data, valid = self._check_arguments(net, data, key, valid)
        shared = net, data, key, valid
        if _tree.is_traced():
            return self._run_members(model, self.size, shared, "every_step")[0]
        result, finite = self._run_members(model, self.size, shared, "deferred", wide=True)
        if not finite:  # run again, each member up to its first bad step; progress is already reported
            result, _ = self._run_members(model, self.size, shared, "every_step", report=False)
        return result

    def member(self, net: Module, data: PyTree, key: Key, number: int, valid: PyTree = None) -> Run:
        """The run of one member, computed alone."""
        _, data, valid = self._check_arguments(net, data, key, valid)
        run, _ = self._run_member(number, (net, data, key, valid), "every_step")
        return run

    def _check_arguments(self, net: Any, data: PyTree, key: Key, valid: PyTree) -> tuple[Any, Any, Any]:
        """The model that decides on shapes, and the data as Datasets."""
        _check.architecture(net)
        check_start_is_drawn(net)
        _check.key(key)
        model = model_of_shapes(net, key)
        data = to_rows("data", data, self.train.loss, model)
        check_accumulate(model, self.train.accumulate)
        check_no_zero_weight(model, data)
        return model, data, None if valid is None else to_rows("valid", valid, self.train.loss, model)

    def _member(self, static: Literal["deferred", "every_step"], shared: Any, number: Array) -> Any:
        """The run, and whether it is finite, as far as the check was deferred."""
        net, data, key, valid = shared
        own = jax.random.fold_in(_keys.fold_in_name(key, "member"), number)
        if self.bootstrap:
            data = bootstrap(data, _keys.fold_in_name(own, "bootstrap"))
        model = init_if_incomplete(net, _keys.fold_in_name(own, "init"))
        own_key = _keys.fold_in_name(own, "train")
        per_epoch = self.train._plan.steps_per_epoch(len(data))
        plan = self.train._for_steps(self.train.epochs * per_epoch)._plan
        return run_plan(plan, model, data, own_key, valid, check=static)

    def _combine(self, static: str, shared: Any, results: Any) -> tuple[EnsembleResult, Array]:
        runs, finite = results
        return EnsembleResult(Ensemble(runs.model, self.average), runs), jnp.all(finite)
