"""Figures of studies: learning rates, sweeps, folds and the spread of an ensemble."""

import textwrap
from typing import Any

import numpy as np

from funcnet import _check
from funcnet.data import Scaler
from funcnet.report import _canvas, _examples
from funcnet.report._epochs import draw_curve
from funcnet.study import (
    CrossValidationResult,
    Ensemble,
    HalvingResult,
    LearningRateRangeResult,
    SweepResult,
)

CURVE_POINTS = 400
"""Points along a curve."""


def learning_rates(result: LearningRateRangeResult, axes: Any = None) -> Any:
    """Training loss by learning rate, with the suggested rate and the range that diverges.

    Args:
        result: the result of `fn.study.learning_rate_range`.
        axes: matplotlib axes; a new figure if None.

    Returns:
        The axes. The vertical axis ends at twice the loss before training.

    Raises:
        ValueError: if every rate diverges.

    Example:
        >>> import numpy as np, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> losses = np.array([[0.9], [0.5], [0.2], [np.inf]])
        >>> rates, losses_at_init = np.array([0.01, 0.1, 1.0, 2.0]), np.array([1.0])
        >>> result = fn.study.LearningRateRangeResult(rates, losses, losses_at_init)
        >>> ax = fn.report.learning_rates(result, Figure().subplots())
        >>> ax.get_xscale(), ax.get_xlabel()
        ('log', 'learning rate')
    """
    _check_result("learning_rates", result, LearningRateRangeResult, "learning_rate_range")
    ax = _canvas.panel(axes, "learning_rates")
    loss_at_init = float(np.median(result.losses_at_init))
    shown = np.asarray(result.losses).T  # a run that diverged counts as infinite in the median
    draw_curve(ax, shown, f"last epoch, {shown.shape[0]} starts", _canvas.BLUE, "-", result.rates)
    ax.axhline(loss_at_init, color=_canvas.GREY, linestyle=":", linewidth=1.2, label="before training")
    if np.isfinite(result.min_diverging_rate):
        low, high = result.min_diverging_rate, result.rates[-1]
        label = f"diverges from {low:.2g}"
        ax.axvspan(low, high, color=_canvas.VERMILLION, alpha=0.15, label=label)
    label = f"suggestion {result.suggestion:.2g}"
    ax.axvline(result.suggestion, color=_canvas.GREEN, linestyle="--", linewidth=1.8, label=label)
    low, high = min(0.0, _examples.finite_range(result.losses)[0]), loss_at_init + abs(loss_at_init)
    ax.set(xscale="log")
    if np.isfinite(loss_at_init) and high > low:
        ax.set_ylim(low, max(high, loss_at_init + 0.1 * abs(loss_at_init)))
    return _canvas.finish(ax, "learning rate", "training loss")


def sweep(result: SweepResult, axes: Any = None) -> Any:
    """Scores of a sweep: a line for one setting, a heat map for two, with the best trial marked.

    Args:
        result: the result of `fn.study.sweep` over all combinations of one or two settings.
        axes: matplotlib axes; a new figure if None.

    Returns:
        The axes. Trials that diverged are blank.

    Raises:
        ValueError: if there are more than two settings, or only a sample of their combinations.

    Example:
        >>> import numpy as np, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> trials = [{"rate": r, "width": w} for r in (0.1, 1.0) for w in (4, 8)]
        >>> scores = np.array([0.4, 0.3, 0.2, 0.5])
        >>> result = fn.study.SweepResult(trials, scores, "min", [], [])
        >>> ax = fn.report.sweep(result, Figure().subplots())
        >>> ax.get_title()
        'best 0.2: rate=1.0, width=4'
    """
    _check_result("sweep", result, SweepResult, "sweep")
    if not result.trials:
        raise ValueError("result must hold at least one trial, got none.")
    names = list(result.trials[0])
    values = [list(dict.fromkeys(trial[name] for trial in result.trials)) for name in names]
    if len(names) > 2 or len(result.trials) != np.prod([len(v) for v in values]):
        raise ValueError(
            f"result must hold all combinations of one or two settings, got {len(result.trials)} trials of "
            f"{', '.join(names)}. Print result.trials and result.scores instead, sorted by result.order."
        )
    title = _title(result)
    scores = np.where(np.isfinite(result.scores), result.scores, np.nan)
    if len(names) == 1:
        return _line(axes, names[0], values[0], scores, int(result.order[0]), title)
    return _heat_map(axes, names, values, scores.reshape(len(values[0]), -1), result, title)


def halving(result: HalvingResult, axes: Any = None) -> Any:
    """Scores of successive halving: a line for each trial, from rung to rung, as far as it got.

    Args:
        result: the result of `fn.study.halving`.
        axes: matplotlib axes; a new figure if None.

    Returns:
        The axes. Trials that were much worse than all that continued lie outside of the vertical axis.

    Raises:
        ValueError: if no trial has a finite score.

    Example:
        >>> import numpy as np, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> trials, scores = [{"rate": r} for r in (0.01, 0.1, 1.0)], np.array([0.8, 0.2, 0.9])
        >>> rungs = [fn.study.Rung(2, np.arange(3), np.array([0.8, 0.5, 0.9]))]
        >>> rungs += [fn.study.Rung(6, np.array([1]), np.array([0.2]))]
        >>> result = fn.study.HalvingResult(trials, scores, "min", [], [], rungs)
        >>> ax = fn.report.halving(result, Figure().subplots())
        >>> ax.get_title(), [label.get_text() for label in ax.get_xticklabels()]
        ('best 0.2: rate=0.1', ['2\\n3', '6\\n1'])
    """
    _check_result("halving", result, HalvingResult, "halving")
    title = textwrap.fill(_title(result), 46)
    ends = [rung.epochs for rung in result.rungs]
    scores = np.full((len(result.trials), len(ends)), np.nan)
    for i, rung in enumerate(result.rungs):
        scores[rung.trials, i] = np.where(np.isfinite(rung.scores), rung.scores, np.nan)
    ax = _canvas.panel(axes, "halving")
    best, finalists = int(result.order[0]), np.flatnonzero(np.isfinite(scores[:, -1]))
    others = np.setdiff1d(np.arange(len(scores)), [best])
    small = {"marker": "o", "markersize": 2.5, "linewidth": 0.7, "alpha": 0.5}
    for label, trials, style in (
        ("ended early", np.setdiff1d(others, finalists), {"color": _canvas.GREY, **small}),
        (
            "trained to the end",
            np.intersect1d(others, finalists),
            {"color": _canvas.BLUE, "marker": "s", "markersize": 4},
        ),
        ("best", [best], {"color": _canvas.VERMILLION, "marker": "D", "linewidth": 2}),
    ):
        for number, trial in enumerate(trials):
            ax.plot(ends, scores[trial], label=label if number == 0 else f"_{label}", **style)
    _limit_to(ax, scores[(np.isfinite(scores).sum(1) > 1) | (np.arange(len(scores)) == best)])
    if len(ends) > 1:
        ax.set_xscale("log")
    ax.set_xticks(ends, [f"{rung.epochs}\n{len(rung.trials)}" for rung in result.rungs])
    ax.set_xticks([], minor=True)
    return _canvas.finish(ax, "epochs\ntrials", "score", title)


def _limit_to(ax: Any, scores: np.ndarray) -> None:
    """Vertical limits around some scores."""
    low, high = np.nanmin(scores), np.nanmax(scores)
    margin = 0.2 * (high - low) or 0.1 * abs(high) or 1.0
    ax.set_ylim(low - margin, high + margin)


def _title(result: SweepResult | HalvingResult) -> str:
    best = ", ".join(f"{name}={_format(value)}" for name, value in result.best.items())
    return f"best {result.scores[result.order[0]]:.4g}: {best}"


def folds(result: CrossValidationResult, axes: Any = None) -> Any:
    """The scores of each fold, with their mean and its standard error.

    Args:
        result: the result of `fn.study.cross_validate`.
        axes: matplotlib axes, one for the loss and one for each metric; a new figure if None.

    Returns:
        The axes, as a numpy array [1 + metrics].

    Raises:
        ValueError: if the number of axes is wrong.

    Example:
        >>> import jax, optax, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> problem = fn.data.noisy_line(30)
        >>> splits = fn.data.kfold(problem.data, 3, jax.random.key(0))
        >>> loss = fn.losses.supervised(fn.losses.squared_error)
        >>> study = fn.study.cross_validate(fn.fit(loss, optax.sgd(0.1), epochs=3), splits)
        >>> result = study(fn.models.LinearRegression(1), jax.random.key(1))
        >>> (ax,) = fn.report.folds(result, Figure().subplots())
        >>> ax.get_xlabel(), len(ax.lines[0].get_xdata())
        ('fold', 3)
    """
    _check_result("folds", result, CrossValidationResult, "cross_validate")
    names = sorted(result.scores, key=lambda name: (name != "loss", name))
    axes = _canvas.panels(axes, names, "folds")
    for ax, name in zip(axes, names, strict=True):
        scores = result.scores[name]
        fold, mean, error = np.arange(1, len(scores) + 1), result.mean[name], result.standard_error[name]
        ax.plot(fold, scores, "o", color=_canvas.BLUE, label="validation rows")
        label = f"mean {mean:.4g} ± {error:.2g}"
        ax.axhline(mean, color=_canvas.VERMILLION, linewidth=1.8, label=label)
        ax.axhspan(mean - error, mean + error, color=_canvas.VERMILLION, alpha=0.2, linewidth=0)
        _canvas.use_integer_ticks(ax)
        _canvas.finish(ax, "fold", name.replace("_", " "))
    return axes


def spread(
    ensemble: Ensemble,
    data: Any,
    axes: Any = None,
    *,
    margin: float = 0.3,
    scaler: Scaler | None = None,
    feature_name: str = "feature",
    target_name: str = "target",
) -> Any:
    """The mean of an ensemble over one feature with a band of ±2 standard deviations, and the data.

    Args:
        ensemble: an `fn.study.Ensemble` whose members return one number.
        data: a Dataset or tuple (x, y): x [n] or [n, 1] in its own units, y [n] or [n, 1].
        axes: matplotlib axes; a new figure if None.
        margin: how far the curve extends beyond the data at each end, as a fraction of their range.
        scaler: applied to x before the ensemble; none by default.
        feature_name: label of the horizontal axis, with its unit.
        target_name: label of the vertical axis, with its unit.

    Returns:
        The axes.

    Raises:
        ValueError: if x has more than one feature, or the members don't return one number.

    Example:
        >>> import jax, jax.numpy as jnp, funcnet as fn
        >>> from matplotlib.figure import Figure
        >>> keys = jax.random.split(jax.random.key(0), 10)
        >>> ensemble = fn.study.Ensemble(jax.vmap(fn.MLP((1, 8, "scalar")).init)(keys))
        >>> x = jnp.linspace(0.0, 1.0, 5)[:, None]
        >>> ax = fn.report.spread(ensemble, (x, x[:, 0]), Figure().subplots())
        >>> [text.get_text() for text in ax.get_legend().get_texts()]
        ['mean of 10', '± 2 standard deviations', 'data']
    """
    if not isinstance(ensemble, Ensemble):
        raise TypeError(
            f"ensemble must be an fn.study.Ensemble, got {_check.describe(ensemble)}. Try result.model of "
            "fn.study.ensemble(train, 10)(net, data, key)."
        )
    margin = _check.between("margin", margin, 0, float("inf"))
    _check.strings(feature_name=feature_name, target_name=target_name)
    _examples.check_scaler(scaler)
    x, y = _examples.line_data("spread", data)
    low, high = _examples.finite_range(x)
    width = (high - low) or max(1.0, 0.1 * abs(high))
    grid = np.linspace(low - margin * width, high + margin * width, CURVE_POINTS)
    inputs = _examples.to_inputs(grid, x)
    scaled = inputs if scaler is None else np.asarray(scaler.transform(inputs))
    predictions = np.asarray(ensemble.predictions(scaled))
    if predictions.size != len(ensemble) * CURVE_POINTS:
        raise ValueError(
            "the members of ensemble must return one number for each example, got shape "
            f"{predictions.shape[2:]}."
        )
    predictions = predictions.reshape(len(ensemble), CURVE_POINTS).astype(float)
    with np.errstate(invalid="ignore"):  # NaN, which is not drawn, where predictions are infinite
        mean, width = predictions.mean(axis=0), 2 * predictions.std(axis=0)
    ax = _canvas.panel(axes, "spread")
    ax.plot(grid, mean, color=_canvas.VERMILLION, linewidth=1.8, label=f"mean of {len(ensemble)}")
    band = {"color": _canvas.VERMILLION, "alpha": 0.2, "linewidth": 0}
    ax.fill_between(grid, mean - width, mean + width, label="± 2 standard deviations", **band)
    ax.scatter(x.reshape(-1), y, s=14, color=_canvas.BLUE, label="data", zorder=3)
    return _canvas.finish(ax, feature_name, target_name)


def _line(axes: Any, name: str, values: list[Any], scores: np.ndarray, best: int, title: str) -> Any:
    ax = _canvas.panel(axes, "sweep")
    numeric = all(isinstance(value, int | float) for value in values)
    x = np.array(values, float) if numeric else np.arange(len(values))
    ax.plot(x, scores, "o-", color=_canvas.BLUE)
    ax.plot(x[best], scores[best], "D", color=_canvas.VERMILLION, markersize=9, fillstyle="none")
    if not numeric:
        ax.set_xticks(x, [_format(value) for value in values])
    elif x.min() > 0 and x.max() / x.min() > 50:
        ax.set_xscale("log")
    return _canvas.finish(ax, name.replace("_", " "), "score", title)


def _heat_map(
    axes: Any,
    names: list[str],
    values: list[list[Any]],
    scores: np.ndarray,
    result: SweepResult,
    title: str,
) -> Any:
    ax = _canvas.panel(axes, "sweep", (_canvas.PANEL[0] + 0.8, _canvas.PANEL[1]))
    colour_map = _canvas.colour_map(["#FFFFFF", _canvas.BLUE])
    # Darker is better. The 25th percentile limits the range, so that one very bad trial does not fill it.
    sign = 1.0 if result.mode == "max" else -1.0
    low, high = np.nanpercentile(sign * scores, [25, 100])
    low -= 1.5 * (high - low)
    ax.imshow(sign * scores, cmap=colour_map, vmin=low, vmax=high, aspect="auto")
    for (row, column), score in np.ndenumerate(scores):
        dark = sign * score > low + 0.6 * (high - low)
        text = "diverged" if np.isnan(score) else f"{score:.3g}"
        colour = "white" if dark else _canvas.BLACK
        ax.text(column, row, text, ha="center", va="center", fontsize=_canvas.SMALL, color=colour)
    row, column = divmod(int(result.order[0]), scores.shape[1])
    _canvas.outline_cell(ax, column, row)
    ax.set_yticks(range(len(values[0])), [_format(value) for value in values[0]])
    ax.set_xticks(range(len(values[1])), [_format(value) for value in values[1]])
    ax.set(xlabel=names[1].replace("_", " "), ylabel=names[0].replace("_", " "))
    ax.set_title(title, fontsize=_canvas.TITLE)
    ax.spines[["top", "right", "left", "bottom"]].set_visible(False)
    return ax


def _format(value: Any) -> str:
    if isinstance(value, float) and value != round(value, 1):
        return f"{value:.3g}"
    return getattr(value, "__name__", str(value))


def _check_result(function: str, result: Any, kind: type, study: str) -> None:
    """Raise unless `result` is a result of the study."""
    if not isinstance(result, kind):
        raise TypeError(
            f"result must be a result of fn.study.{study}, got {type(result).__name__}. For one run by "
            "epoch: fn.report.history(run)."
        )
