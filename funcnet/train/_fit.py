"""`fit`: turn a loss into a training function, a pure function of model, data and key."""

import dataclasses
import functools
import weakref
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, Never

import jax
import numpy as np

from funcnet import _check, _parts, _processes, _shard, _tree
from funcnet._jit import PROGRAMS, bounded_jit
from funcnet._module import as_module, restore
from funcnet._types import Array, Key, Loss, PyTree
from funcnet.data import Dataset
from funcnet.train._chunks import Chunks
from funcnet.train._digest import check_equal, digest_call
from funcnet.train._early_stopping import EarlyStopping
from funcnet.train._evaluate import check_data
from funcnet.train._fingerprint import PROGRAM, arguments, program_of_step
from funcnet.train._loop import run, start
from funcnet.train._own_step import EXPECTED, OwnStep
from funcnet.train._plan import Plan, Probe, Settings
from funcnet.train._replay import raise_if_not_finite
from funcnet.train._resolve_optimizer import Optimizer, of_steps, resolve_optimizer
from funcnet.train._result import Run
from funcnet.train._step import OnNaN, check_accumulate, check_no_zero_weight, check_step


@_check.usage("train = fn.fit(loss, optax.adam(1e-3), epochs=20); run = train(model, (x, y), key)")
def fit(
    loss: Loss,
    optimizer: Optimizer | Mapping[str, Optimizer],
    *,
    epochs: int,
    batch_size: int = 32,
    shuffle: bool = True,
    stopping: EarlyStopping | None = None,
    eval_every: int = 1,
    accumulate: int = 1,
    ema: float | Array | None = None,
    on_nan: OnNaN | Literal["raise"] = "stop",
    remat: bool = False,
    step: OwnStep | None = None,
) -> "Fit":
    """Turn a loss into its training, a pure function `train(model, data, key, valid=None) -> Run`.

    `train` compiles itself and returns when the run has ended; `fn.Trainer(train)` is called like it and
    shows its progress. Inside jit, vmap or grad `train` becomes part of the transformed function.
    Hyperparameters of the optimizer may be traced, so a sweep compiles once.

    Args:
        loss: of one example, `loss(model, example, key) -> scalar` or `(scalar, {name: scalar})`.
        optimizer: any optax GradientTransformation; or a function `lambda steps: ...` that returns one for
            the number of optimizer steps in the run, for schedules that end with it. For
            `fn.losses.players`, a dictionary with an optimizer for each player, whose steps are its own.
        epochs: passes over the data, at least 1.
        batch_size: rows in a batch, at least 1; a short last batch is padded and masked.
        shuffle: whether to shuffle the rows in each epoch; if False, they stay in the order of the data.
        stopping: when to stop early; if None, the run can be differentiated in reverse mode.
        eval_every: epochs between evaluations; the last epoch is always evaluated.
        accumulate: batches per optimizer update; the update is that of one large batch.
        ema: decay of a moving average of the weights, in [0, 1); the average is then evaluated and
            returned.
        on_nan: what to do if the loss or a gradient is not finite: "stop" with the weights before that
            step, "skip" the update, "ignore" it, or "raise" a FloatingPointError that names step, rows,
            leaf and operation. Inside jit and vmap, where errors can't be raised, "raise" means "stop".
        remat: recompute the epochs between two evaluations in a backward pass instead of storing them.
        step: a custom step in place of the gradient of `loss`, which then only evaluates:
            `(state, batch) -> (state, values)`, a pure function of a `TrainState` and a `fn.data.Batch`. Of
            the state that it returns, `model` and `opt_state` are used; `state.apply_gradients` makes them.
            `values` are means over the batch by name, with a "loss", or a `StepInfo`. Random numbers come
            from `jax.random.fold_in(state.key, state.step)`; a second `fn.step` within it needs a key of
            its own, or it draws the numbers of the next step: `dataclasses.replace(state,
            key=jax.random.fold_in(state.key, 1))`. A step whose loss or parameters are not finite
            is treated as `on_nan` says.

    Returns:
        The training function.

    Raises:
        TypeError: if `loss` is not a function, `optimizer` not an optax transformation, or a setting has
            the wrong type.
        ValueError: if a setting is out of range, or is one that a custom `step` would ignore.

    Example:
        >>> import jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(-1.0, 1.0, 64)[:, None]
        >>> data = (x, jnp.sin(3 * x[:, 0]))
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> train = fn.fit(loss, optax.adam(1e-2), epochs=200, batch_size=16)
        >>> net = fn.MLP((1, 32, "scalar"))
        >>> run = train(net.init(jax.random.key(0)), data, jax.random.key(1))
        >>> bool(run.history["loss"][-1] < 0.01)
        True
        >>> keys = jax.random.split(jax.random.key(2), 5)
        >>> runs = jax.vmap(train, in_axes=(0, None, 0))(jax.vmap(net.init)(keys), data, keys)
        >>> runs.history["loss"].shape
        (5, 200)
    """
    epochs = _check.positive("epochs", epochs)
    batch_size = _check.positive("batch_size", batch_size)
    eval_every = _check.count("eval_every", eval_every)
    _check.boolean("shuffle", shuffle)
    _check.choice("on_nan", on_nan, ("stop", "skip", "ignore", "raise"))
    _check.boolean("remat", remat)
    if stopping is not None and not isinstance(stopping, EarlyStopping):
        raise TypeError(
            f"stopping must be a funcnet.EarlyStopping or None, got {_check.describe(stopping)}. Try "
            "stopping=fn.EarlyStopping(patience=5)."
        )
    if ema is not None:
        ema = _check.setting("ema", ema, 0.0, 1.0, low_included=True)
        if np.ndim(ema):
            raise ValueError(f"ema must be one number, got shape {np.shape(ema)}. Try ema=0.99.")
    check_step(loss, optimizer, accumulate)
    if step is not None:
        _check_own_step(step, accumulate, ema)
    return Fit(
        loss=loss,
        optimizer=resolve_optimizer(optimizer, loss, ema),
        epochs=epochs,
        batch_size=batch_size,
        shuffle=shuffle,
        stopping=stopping,
        eval_every=eval_every,
        accumulate=accumulate,
        on_nan=on_nan,
        remat=remat,
        step=step,
    )


def _check_own_step(step: Any, accumulate: int, ema: Any) -> None:
    """Check a custom step, and that no setting is given that it would ignore."""
    _check.takes("step", step, EXPECTED, None, None)
    for name, is_given in {"accumulate": accumulate != 1, "ema": ema is not None}.items():
        if is_given:
            raise ValueError(
                f"{name} would be ignored by a custom step: do it in the step, and leave {name} out. "
                "fn.train.AverageWeights averages weights from outside."
            )


TRAIN_CALL = "run = train(model, (x, y), jax.random.key(0))"


@dataclasses.dataclass(frozen=True, eq=False)
class Fit(Settings):
    """A training function, returned by `fit`. Call it; its settings are its fields."""

    _probe: Probe | None = None
    if not TYPE_CHECKING:
        __getattr__ = _check.attributes_of_peers("training function")

    def __call__(
        self, model: PyTree, data: PyTree, key: Key, valid: PyTree = None, **_unknown: Never
    ) -> Run:
        """Train.

        Args:
            model: the initial model: any pytree of floating arrays, such as a module after `init`.
            data: a Dataset, or a tuple of arrays [n, ...], usually (x, y).
            key: a typed PRNG key; all randomness of the run comes from it.
            valid: rows for `val_loss`, the metrics and `train_loss` at each evaluation.

        Returns:
            A Run.

        Raises:
            TypeError: if the model lacks parameters or holds integers, or `key` is not a PRNG key.
            ValueError: if the data is empty, has unequal lengths, or contains NaN or labels out of range;
                or if the history will not contain the monitored value.
            FloatingPointError: with on_nan="raise", if the loss or a gradient is not finite; `error.run` is
                the run up to that step.
        """
        _check.refuse_settings("a training function", _unknown, TRAIN_CALL)
        passed, model = model, as_model(model, data)
        with _processes.together():
            data, valid = self._prepare(model, data, key, valid)
        per_epoch = self._plan.steps_per_epoch(len(data))
        _check.num_steps(self.epochs, per_epoch)
        train = self._for_steps(self.epochs * per_epoch)
        if _tree.is_traced():  # inside jit, vmap or grad
            run, _ = train._jit_run(model, data, key, valid)
        else:
            if _processes.count() > 1:
                train._check_equal(model, data, data, key, valid)
            chunks, arguments = train._chunks, (model, data, key, valid)
            train._bound_programs(chunks, _shapes((model, data, valid)))
            with _shard.sharded_like(model):
                run, finite = chunks.whole_run(*arguments)
                if not np.asarray(finite):
                    run = chunks.run_to_bad_step(*arguments, int(run.state.epoch), per_epoch)
            in_parts = _parts.is_spread(model)
            run = _processes.to_local(run, gather=not in_parts)
        if self.on_nan == "raise" and _tree.is_concrete(run.state.step):
            raise_if_not_finite(train._plan, run, data, per_epoch)
        return run if model is passed else dataclasses.replace(run, model=restore(run.model))

    def _check_equal(
        self, model: PyTree, data: Any, like: Dataset, key: Key, valid: Dataset | None
    ) -> None:
        """Check that all processes have called this function with the same arguments.

        `like` is rows with the shapes and dtypes of the data.
        """
        # Hyperparameters in the optimizer's state are a part of its start, not of a step.
        first, progress = digest_call(functools.partial(start, self._plan), model, like, key, valid)
        programs = {
            "program of the start": first,
            PROGRAM: program_of_step(self._plan, progress, like),
        }
        check_equal({**arguments(self._plan, model, data, valid, key), **programs})

    def __getstate__(self) -> dict[str, Any]:
        # Compiled programs and the memory of checked data are made again where they are needed.
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    def _for_steps(self, steps: int) -> "Fit":
        """This function with the optimizer of a run of so many steps."""
        if not of_steps(self.optimizer):
            return self
        if steps not in self._by_steps:
            self._by_steps[steps] = dataclasses.replace(self, optimizer=self.optimizer(steps=steps))
        return self._by_steps[steps]

    @functools.cached_property
    def _by_steps(self) -> dict[int, "Fit"]:
        return {}

    @functools.cached_property
    def _plan(self) -> Plan:
        settings = {field.name: getattr(self, field.name) for field in dataclasses.fields(Settings)}
        return Plan(**settings, probe=self._probe)

    @functools.cached_property
    def _jit_run(self) -> Any:
        return bounded_jit(functools.partial(run, self._plan))

    @functools.cached_property
    def _chunks(self) -> Chunks:
        return Chunks(self._plan)

    @functools.cached_property
    def _checked_shapes(self) -> weakref.WeakKeyDictionary[Dataset, Any]:
        """The structure and the shapes of the model that each Dataset was last checked with."""
        return weakref.WeakKeyDictionary()

    @functools.cached_property
    def _program_shapes(self) -> set[Any]:
        """The structures and shapes that `whole_run` has been compiled for since it was last cleared."""
        return set()

    def _bound_programs(self, chunks: Chunks, shapes: Any) -> None:
        """Forget the programs of all shapes before there are too many. Others are bounded by their traces.

        This one is not, since the frame of `bounded_jit` would be in every traceback from a loss.
        """
        if shapes in self._program_shapes:
            return
        if len(self._program_shapes) == PROGRAMS:
            self._program_shapes.clear()
            chunks.whole_run.clear_cache()
        self._program_shapes.add(shapes)

    def _prepare(
        self, model: PyTree, data: PyTree, key: Key, valid: PyTree
    ) -> tuple[Dataset, Dataset | None]:
        """Check that the arguments match; return the training and validation rows as Datasets."""
        _check.key(key, TRAIN_CALL)
        rows = self._check_data(model, data)
        check_no_zero_weight(model, rows)
        return rows, None if valid is None else self._check_data(model, valid)

    def _check_data(self, model: PyTree, data: PyTree) -> Dataset:
        # Reading all targets takes as long as a small run, so a Dataset is not checked again if it was
        # last checked with a model of the same structure and shapes.
        shapes = _shapes(model)
        if isinstance(data, Dataset) and self._checked_shapes.get(data) == shapes:
            return data
        data = check_data(self.loss, model, data)
        check_accumulate(model, self.accumulate)
        if not _tree.is_traced():
            self._checked_shapes[data] = shapes
        return data


def as_model(model: Any, data: Any) -> PyTree:
    """The model as a pytree of arrays, after a check that it comes first, and is a model."""
    if callable(data) or isinstance(model, Dataset):
        raise TypeError(
            "a training function expects the model first and the data second, got "
            f"{type(model).__name__} and {type(data).__name__}. Write train(model, data, key)."
        )
    if isinstance(model, Run):
        raise TypeError("model must be a model, got a Run: pass run.model.")
    return as_module(model)


def _shapes(tree: PyTree) -> Any:
    """The structure of a tree, and the shapes and dtypes of its leaves."""
    leaves, structure = jax.tree.flatten(tree)
    return structure, tuple([(getattr(a, "shape", None), getattr(a, "dtype", None)) for a in leaves])
