"""An ensemble: many trainings of one network as one program, and their mean as a model."""

import dataclasses
import functools
from typing import Any, Literal, TypeAlias

import jax
import jax.numpy as jnp

from funcnet import _check, _keys, _mesh, _tree
from funcnet._module import Module, call
from funcnet._types import Array, Key, PyTree
from funcnet.data import Dataset, bootstrap
from funcnet.study._members import Progress, check_blocks, compiled, each_member, is_small, start
from funcnet.train import Fit, Run
from funcnet.train._evaluate import checked_data
from funcnet.train._swift import swift_run

Average: TypeAlias = Literal["values", "classes", "binary"]


class Ensemble(Module):
    """The mean prediction of several models of one kind.

    "values" are averaged as they are. For "classes" the members' probabilities softmax(logits) are
    averaged, for "binary" sigmoid(logits), and the mean is given as log-probability or log-odds: logits
    again, that every loss and metric takes.

    Args:
        members: a model whose arrays have a leading axis [members, ...].
        average: what is averaged.

    Returns:
        When called on x: one prediction of a member's shape.

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

    def __len__(self) -> int:
        return jax.tree.leaves(self.members)[0].shape[0]

    def __call__(self, x: PyTree, key: Key | None = None) -> Any:
        each = self.predictions(x, key)
        if self.average == "values":
            return jnp.mean(each, axis=0)
        if self.average == "classes":
            return jax.nn.logsumexp(jax.nn.log_softmax(each), axis=0) - jnp.log(len(each)).astype(
                each.dtype
            )
        yes, no = (jax.nn.logsumexp(jax.nn.log_sigmoid(z), axis=0) for z in (each, -each))
        return yes - no

    def predictions(self, x: PyTree, key: Key | None = None) -> Array:
        """Each member's own prediction, [members, ...]."""
        if key is None:
            return jax.vmap(lambda member: call(member, x, None))(self.members)
        keys = jax.random.split(key, len(self))
        return jax.vmap(lambda member, k: call(member, x, k))(self.members, keys)

    def spread(self, x: PyTree) -> Array:
        """The members' standard deviation: of values, or of the probabilities of classes."""
        return jnp.std(self._averaged(x), axis=0)

    def disagreement(self, x: PyTree) -> Array:
        """The share of members whose class is not the ensemble's, in 0 .. 1, without the classes' axis."""
        mean, each = self(x), self.predictions(x)
        if self.average == "values":
            raise ValueError("disagreement is about classes: Ensemble(members, average='classes').")
        if self.average == "classes":
            chosen, found = jnp.argmax(mean, axis=-1), jnp.argmax(each, axis=-1)
        else:
            chosen, found = mean > 0, each > 0
        differs = (found != jnp.broadcast_to(chosen, found.shape)).astype(mean.dtype)
        unknown = jnp.isnan(each).any(axis=-1) if self.average == "classes" else jnp.isnan(each)
        return jnp.mean(jnp.where(unknown, jnp.nan, differs), axis=0)

    def mutual_information(self, x: PyTree) -> Array:
        """Entropy of the mean prediction less the mean entropy of the members', in nats: what they don't
        know together, apart from what none of them can know. Source: Houlsby et al., 2011.
        """
        if self.average == "values":
            raise ValueError("mutual_information is about classes: Ensemble(members, average='classes').")
        each = self._averaged(x)
        if self.average == "binary":
            each = jnp.stack([each, 1 - each], axis=-1)
        return jnp.maximum(_entropy(jnp.mean(each, axis=0)) - jnp.mean(_entropy(each), axis=0), 0)

    def _averaged(self, x: PyTree) -> Array:
        each = self.predictions(x)
        if self.average == "values":
            return each
        return jax.nn.softmax(each) if self.average == "classes" else jax.nn.sigmoid(each)


def _entropy(p: Array) -> Array:
    return -jnp.sum(jax.scipy.special.xlogy(p, p), axis=-1)


@_tree.node
class EnsembleResult:
    """Many trainings at once.

    Args:
        model: the `Ensemble` of their models.
        runs: the members' `Run`s, each array with a leading axis [members, ...].

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(-1.0, 1.0, 32)[:, None]
        >>> train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.adam(1e-2), epochs=3)
        >>> run = fn.study.ensemble(train, 5)(fn.MLP((1, 8, "scalar")), (x, x[:, 0]), jax.random.key(0))
        >>> run.runs.history["loss"].shape, run.model(x).shape
        ((5, 3), (32,))
    """

    model: Any
    runs: Run


def ensemble(
    train: Fit,
    size: int,
    *,
    bootstrap: bool = False,
    average: Average = "values",
    block: int | None = None,
    progress: Progress | None = None,
) -> "EnsembleTraining":
    """Many trainings of one network, as one program: `train_all(net, data, key, valid=None)`.

    Each member has an initialisation, an order of rows and a dropout of its own, and stops by itself.
    Member i depends on `key` and i only, not on the size of the ensemble: it is the training that
    `train_all.member(net, data, key, i, valid)` runs alone. Small networks are computed side by side
    (`transform.vmap_last`), larger ones by `jax.vmap`, in blocks that fit into memory, and over the
    devices of `with fn.mesh.use():` around the call.

    Args:
        train: a training, as `fit` makes it.
        size: the number of members.
        bootstrap: whether each member sees rows drawn with replacement (bagging).
        average: what the ensemble averages; see `Ensemble`.
        block: members computed side by side; chosen when left out. It never changes a number beyond
            rounding.
        progress: called on the host with how many more members are done, after each block.

    Returns:
        The training of all; its result is an `EnsembleResult`.

    Raises:
        TypeError: if `train` is no training.
        ValueError: if `size` or `block` is below 1, or `average` unknown.

    Example:
        >>> import jax, optax, funcnet as fn
        >>> iris = fn.data.load("iris").data
        >>> loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
        >>> train = fn.fit(loss, optax.adam(1e-2), epochs=20, batch_size=16)
        >>> many = fn.study.ensemble(train, 10, average="classes")
        >>> run = many(fn.MLP((4, 16, 3)), iris, jax.random.key(0))
        >>> bool(fn.evaluate(loss, run.model, iris)["accuracy"] > 0.9)
        True

    Source: Breiman, "Bagging predictors", 1996.
    """
    _check.train_function(train)
    _check.positive("size", size)
    _check.boolean("bootstrap", bootstrap)
    _check.choice("average", average, ("values", "classes", "binary"))
    check_blocks(block, progress)
    return EnsembleTraining(train, size, bootstrap, average, block, progress)


@dataclasses.dataclass(frozen=True, eq=False)
class EnsembleTraining:
    """The trainings that `ensemble` made. Call it; its settings are its fields."""

    train: Fit
    size: int
    bootstrap: bool
    average: Average
    block: int | None
    progress: Progress | None

    def __call__(self, net: Module, data: PyTree, key: Key, valid: PyTree = None) -> EnsembleResult:
        """Train all members.

        Args:
            net: an architecture, before `init`; parameters that it has already are every member's start.
            data: a Dataset, or a tuple of arrays [n, ...].
            key: a typed key.
            valid: rows for `val_loss` and early stopping.

        Returns:
            An EnsembleResult.

        Raises:
            TypeError: if `net` is no module with an `init`, or the key is none.
            ValueError: if the data is unfit.
        """
        data, valid = self._checked(net, data, key, valid)
        arguments = net, data, key, valid, _mesh.num_devices()
        if _tree.is_traced():
            return self._carefully(*arguments, True)
        run, sound = self._swiftly[self._is_small(net, key)](*arguments)
        return run if sound else self._carefully(*arguments, False)

    def member(self, net: Module, data: PyTree, key: Key, number: int, valid: PyTree = None) -> Run:
        """The training of one member alone, as the ensemble has it."""
        data, valid = self._checked(net, data, key, valid)
        return self._alone((net, data, key, valid), jnp.int32(number))

    def _checked(self, net: Any, data: PyTree, key: Key, valid: PyTree) -> tuple[Dataset, Dataset | None]:
        _check.architecture(net)
        _check.key(key)
        model = start(net, key)
        checked = checked_data(self.train.loss, model, data)
        return checked, None if valid is None else checked_data(self.train.loss, model, valid)

    def _arguments(self, shared: tuple[Module, Dataset, Key, Dataset | None], number: Array) -> Any:
        """What the training of a member is called with."""
        net, data, key, valid = shared
        own = jax.random.fold_in(_keys.named(key, "member"), number)
        if self.bootstrap:
            data = bootstrap(data, _keys.named(own, "bootstrap"))
        return start(net, _keys.named(own, "init")), data, _keys.named(own, "train"), valid

    def _one(self, shared: tuple[Module, Dataset, Key, Dataset | None], number: Array) -> Run:
        return self.train(*self._arguments(shared, number))

    def _one_swiftly(self, shared: Any, number: Array) -> tuple[Run, Array]:
        model, data, key, valid = self._arguments(shared, number)
        return swift_run(self.train, model, data, key, valid, alone=False)

    def _each(self, one: Any, shared: Any, progress: Progress | None) -> Any:
        small = self._is_small(shared[0], shared[2])
        return each_member(one, shared, self.size, self.block, small, progress)

    def _is_small(self, net: Module, key: Key) -> bool:
        return is_small(jax.eval_shape(start, net, key))

    def _together(self, runs: Run) -> EnsembleResult:
        return EnsembleResult(Ensemble(runs.model, self.average), runs)

    @functools.cached_property
    def _alone(self) -> Any:
        return jax.jit(self._one)

    @functools.cached_property
    def _swiftly(self) -> dict[bool, Any]:
        """For members that are small and for those that are not."""

        def run(net: Any, data: Any, key: Any, valid: Any, devices: int) -> tuple[EnsembleResult, Array]:
            del devices  # a part of what is compiled: see `mesh.use`
            runs, sound = self._each(self._one_swiftly, (net, data, key, valid), self.progress)
            return self._together(runs), jnp.all(sound)

        return {small: compiled(run, 4, small) for small in (False, True)}

    @functools.cached_property
    def _carefully(self) -> Any:
        def run(net: Any, data: Any, key: Any, valid: Any, devices: int, told: bool) -> EnsembleResult:
            del devices
            progress = self.progress if told else None
            return self._together(self._each(self._one, (net, data, key, valid), progress))

        return jax.jit(run, static_argnums=(4, 5))
