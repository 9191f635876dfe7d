"""How many seeds does a comparison of two networks need?

    python experiments/how_many_seeds.py

The test accuracy of an MLP with 32 hidden units on digits, a thousand runs for each source of variation:
initial weights, order of the rows, and which rows are training rows. All splits are of one table, so
their test rows overlap.

The split varies it most, as Bouthillier et al. (2021) found: a standard deviation of 0.0058, nearly the
standard error of an accuracy on 719 rows, beside 0.0044 by the initial weights and 0.0017 by the order of
the rows. A thousand runs each show that 48 hidden units are better by 0.0032 ± 0.0006. With three seeds
each, a t-test finds that in 6 % of cases, and the worse network looks better in 27 %. A power of 0.8
takes about 65 seeds of each network, or 30 if both are trained on the same splits and compared in pairs.
From three seeds on, the formulas (Colas, Sigaud, Oudeyer, 2018) are within 0.02 of what the runs show.

Source: Bouthillier et al., "Accounting for variance in machine learning benchmarks", 2021; Colas, Sigaud,
Oudeyer, "How many random seeds? Statistical power analysis in deep reinforcement learning experiments",
2018.
"""

import warnings
from pathlib import Path

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from scipy import stats

import funcnet as fn

RUNS, BLOCK, TRAIN_ROWS = 1000, 100, 1078  # 60 % of the digits
digits = fn.data.load("digits").data
digits = fn.data.Scaler.fit(digits).transform(digits)
loss = fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
train = fn.fit(loss, optax.adam(3e-3), epochs=20, batch_size=32, eval_every=20)


# 1. A run has three keys: for the initial weights, for the order of the rows, and for the split of the
#    table into training and test rows. The test accuracies of many runs are one program.
def test_accuracies(net):
    def member(init_key, order_key, split_key):
        order = jax.random.permutation(split_key, len(digits))
        rows, test = (fn.data.take(digits, part) for part in jnp.split(order, [TRAIN_ROWS]))
        run = train(net.init(init_key), rows, order_key)
        return fn.evaluate(loss, run.model, test)["accuracy"]

    program = jax.jit(jax.vmap(member))

    def of_runs(**varied):
        """1,000 runs in which the named keys differ, each split from its seed; the others are one key."""
        keys = [
            jax.random.split(jax.random.key(varied[name]), RUNS)
            if name in varied
            else jnp.repeat(jax.random.key(i)[None], RUNS)
            for i, name in enumerate(("init", "order", "split"))
        ]
        blocks = [[part[i : i + BLOCK] for part in keys] for i in range(0, RUNS, BLOCK)]
        return np.concatenate([np.asarray(program(*block), float) for block in blocks])

    return of_runs


# 2. What makes accuracies differ? One key varies, or all do.
narrow, wide = test_accuracies(fn.MLP((64, 32, 10))), test_accuracies(fn.MLP((64, 48, 10)))
sources = {
    "initial weights": {"init": 10},
    "order of the rows": {"order": 11},
    "weights and order": {"init": 10, "order": 11},
    "split of the table": {"split": 12},
    "all three": {"init": 10, "order": 11, "split": 12},
}
samples = {name: narrow(**varied) for name, varied in sources.items()}
low, high = stats.chi2.ppf([0.975, 0.025], RUNS - 1)
print(f"test accuracy of 32 hidden units, {RUNS} runs for each source of variation")
print("varied              mean    standard deviation (95 %)    lowest  highest")
deviations = {}
for name, values in samples.items():
    deviation = values.std(ddof=1)
    lower, upper = (deviation * ((RUNS - 1) / limit) ** 0.5 for limit in (low, high))
    deviations[name] = deviation, lower, upper
    interval = f"{deviation:.5f} ({lower:.5f} to {upper:.5f})"
    print(
        f"{name:18s}  {values.mean():.4f}  {interval}  {values.min():.4f}  {values.max():.4f}", flush=True
    )
rows = len(digits) - TRAIN_ROWS
accuracy = samples["all three"].mean()
print(f"standard error of an accuracy on {rows} test rows: {(accuracy * (1 - accuracy) / rows) ** 0.5:.5f}")

# 3. How many seeds does it take to see that 48 hidden units are better than 32?
a, b = samples["all three"], wide(init=20, order=21, split=22)
effect = (b.mean() - a.mean()) / np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
error = np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / RUNS)
print(f"48 units: accuracy higher by {b.mean() - a.mean():.5f} ± {1.96 * error:.5f} (95 %), ", end="")
print(f"{effect:.2f} standard deviations")


def predicted_power(effect, n, scale=2.0):
    """The power of a two-sided t-test at 5 %: of two groups of n, or of n pairs with scale 1."""
    freedom = scale * (n - 1)
    limit = stats.t.ppf(0.975, freedom)
    shift = effect * (n / scale) ** 0.5
    # The other tail is NaN where it is too small to be computed.
    return stats.nct.sf(limit, freedom, shift) + np.nan_to_num(stats.nct.cdf(-limit, freedom, shift))


def measured_power(test, a, b, n, rng, pairs=False):
    """The shares of 4,000 draws of n seeds in which the test finds a difference, and b has the lower mean.

    Accuracies are multiples of 1 / 719: where all differences are equal, there is no test.
    """
    first = rng.integers(RUNS, size=(4000, n))
    second = first if pairs else rng.integers(RUNS, size=(4000, n))
    x, y = a[first], b[second]
    varies = np.ptp(y - x, axis=1) > 1e-6 if pairs else np.ptp(x, axis=1) + np.ptp(y, axis=1) > 1e-6
    with warnings.catch_warnings(action="ignore"):
        found = varies & (test(y, x).pvalue < 0.05)
    return found.mean(), (y.mean(axis=1) < x.mean(axis=1)).mean()


def welch(x, y):
    return stats.ttest_ind(x, y, axis=1, equal_var=False)


def paired(x, y):
    return stats.ttest_rel(x, y, axis=1)


rng = np.random.default_rng(0)
same_split = wide(init=20, order=21, split=12)
differences = same_split - a
paired_effect = differences.mean() / differences.std(ddof=1)
counts = (2, 3, 5, 10, 20, 30, 50, 100)
print("       other splits                            same splits, paired     no difference")
print("seeds  power, formula  wrong sign              power, formula          found nevertheless")
power = {"own splits": [], "own splits, formula": [], "same splits, paired": [], "paired, formula": []}
for n in counts:
    found, wrong = measured_power(welch, a, b, n, rng)
    together, _ = measured_power(paired, a, same_split, n, rng, pairs=True)
    nothing, _ = measured_power(welch, a, a, n, rng)
    formulas = predicted_power(effect, n), predicted_power(paired_effect, n, scale=1.0)
    for name, value in zip(power, (found, formulas[0], together, formulas[1]), strict=True):
        power[name].append(value)
    print(
        f"{n:5d}  {found:.3f}, {formulas[0]:.3f}    {wrong:.3f}                   {together:.3f}, "
        f"{formulas[1]:.3f}            {nothing:.3f}"
    )
print("seeds for a power of 0.8 at 5 %, by the difference of two accuracies:")
for difference in (0.002, 0.005, 0.01, 0.02):
    effects = {name: difference / values.std(ddof=1) for name, values in samples.items()}
    needed = {
        name: next(n for n in range(2, 10_000) if predicted_power(e, n) >= 0.8)
        for name, e in effects.items()
    }
    print(f"  {difference:.3f}: {needed['all three']}; for one given split {needed['weights and order']}")

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.2), layout="constrained")
names = list(deviations)[::-1]
centers, lows, highs = np.array([deviations[name] for name in names]).T
left.errorbar(centers, names, xerr=(centers - lows, highs - centers), fmt="o", color="#0072b2", capsize=4)
left.set(
    xlabel="standard deviation of the test accuracy, 95 %", xlim=(0, None), ylim=(-0.5, len(names) - 0.5)
)
fn.report.curves(power, right, x=counts, xlabel="seeds of each network", ylabel="power at 5 %")
right.set(xscale="log", xticks=counts, xticklabels=counts)
right.minorticks_off()
picture = Path("runs/how_many_seeds.png")
picture.parent.mkdir(exist_ok=True)
figure.savefig(picture, dpi=150)
print(f"picture in {picture}")
