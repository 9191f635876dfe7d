"""What is each ingredient of the recipe for tables worth?

python experiments/tables_ablation.py --out runs/tables-ablation

Each ingredient is switched off in turn, on the tables of benchmarks/public_tables.py. Its worth is the
geometric mean over tables of error and loss without it over those with it, with the standard error over
tables: 1.03 ± 0.01 means that errors rise by 3 % without it.
"""

import argparse
import json
import math
import sys
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).parent / "benchmarks"))

import public_tables as tables
from funcnet.tabular import Schema
from funcnet.tabular._choices import Recipe, Settings
from funcnet.tabular._recipe import train_members

QUICK = {"hidden_layer_sizes": (128,) * 3, "batch_size": 128, "max_iter": 48, "members": 1}

INGREDIENTS = {
    "all": {},
    "no embedding of numbers": {"recipe": Recipe(number_size=0)},
    "no embedding of categories": {"recipe": Recipe(max_one_hot=10**6)},
    "inputs without a learned scale": {"recipe": Recipe(scale_factor=0.0)},
    "no dropout": {"recipe": Recipe(dropout=0.0)},
    "no weight decay": {"recipe": Recipe(decay=0.0)},
    "no label smoothing": {"recipe": Recipe(smoothing=0.0)},
    "one cycle of the rate": {"recipe": Recipe(cycles=1.0)},
    "best epoch by the loss": {"recipe": Recipe(loss_share=1e6)},
    "no temperature": {"settings": {"calibrate": False}},
    "relu": {"settings": {"activation": "relu"}},
    "one fold of five": {"folds": 1},
}


def measure(name, split, quick, folds=5, settings=None, **arguments):
    """Error and loss of the test rows of a table."""
    arguments["settings"] = Settings(**{**(QUICK if quick else {}), **(settings or {})})

    def train(task, x, y, new, classes):
        from sklearn.model_selection import KFold, StratifiedKFold

        schema = Schema.fit(x)
        rows, test = schema.encode(x), schema.encode(new)
        target = np.searchsorted(classes, y) if task == "classes" else y
        splitter = (StratifiedKFold if task == "classes" else KFold)(5, shuffle=True, random_state=0)
        parts = list(splitter.split(rows.numbers, target))[:folds]
        key = jax.random.key(0)
        return train_members(rows, target, task, folds=parts, key=key, **arguments).predict(test)

    tables.METHODS["ablation"] = train
    return tables.measure(name, split, "ablation")


def worth(results, ingredient, metric):
    """The geometric mean of ratios without / with over tables, and its relative standard error."""
    logs = []
    for name in {row["table"] for row in results}:
        rows = [row for row in results if row["table"] == name]
        base = {row["split"]: row[metric] for row in rows if row["ingredient"] == "all"}
        without = {row["split"]: row[metric] for row in rows if row["ingredient"] == ingredient}
        both = base.keys() & without.keys()
        if both:
            logs.append(np.mean([math.log(max(without[s], 1e-4) / max(base[s], 1e-4)) for s in both]))
    error = np.std(logs, ddof=1) / math.sqrt(len(logs)) if len(logs) > 1 else math.nan
    return math.exp(np.mean(logs)), error


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--out", default="runs/tables-ablation")
    parser.add_argument("--tables", default=",".join(tables.TABLES))
    parser.add_argument("--splits", default="0")
    parser.add_argument("--quick", action="store_true", help="small networks: a fifth of the time")
    parser.add_argument("--only", default=",".join(INGREDIENTS), help="ingredients, separated by commas")
    arguments = parser.parse_args()
    out = Path(arguments.out)
    out.mkdir(parents=True, exist_ok=True)
    results = []
    with (out / "results.jsonl").open("a") as file:
        for name in arguments.tables.split(","):
            for split in arguments.splits.split(","):
                for ingredient in dict.fromkeys(["all", *arguments.only.split(",")]):
                    row = measure(name, int(split), arguments.quick, **INGREDIENTS[ingredient])
                    results.append(row | {"ingredient": ingredient})
                    print(json.dumps(results[-1]), file=file, flush=True)
                    print(json.dumps(results[-1]), flush=True)
    print("\n| without | error | loss |\n|---|---|---|")
    for ingredient in list(INGREDIENTS)[1:]:
        if any(row["ingredient"] == ingredient for row in results):
            cells = ("{:.3f} ± {:.3f}".format(*worth(results, ingredient, m)) for m in ("error", "loss"))
            print(f"| {ingredient} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
