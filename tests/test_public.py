"""The public names: their signatures, and what their docstrings must hold."""

import inspect

import pytest

import funcnet as fn

ROOMS = [fn, fn.data, fn.layers, fn.losses, fn.metrics, fn.models, fn.report, fn.train]
BY_CALL = {"Fit"}  # made by a function that says it all

# Names and order are the contract.
SIGNATURES = {
    "fn.fit": "loss optimizer * epochs batch_size shuffle stopping eval_every accumulate ema on_nan remat",
    "fn.step": "loss optimizer * accumulate on_nan",
    "fn.evaluate": "loss model data batch_size",
    "fn.predict": "model x batch_size",
    "fn.summary": "net x",
    "fn.count": "model",
    "fn.trainable": "model",
    "fn.save_weights": "model path",
    "fn.load_weights": "net path",
    "fn.TrainState": "model opt_state step epoch key stop history",
    "fn.TrainState.create": "model optimizer key",
    "fn.EarlyStopping": "monitor min_delta patience mode restore_best start_from_epoch stopping_threshold "
    "divergence_threshold",
    "fn.train.Fit.__call__": "self model data key valid",
    "fn.cache_compilations": "directory",
    "fn.Precision": "param compute output",
    "fn.Module.init": "self key",
    "fn.Linear": "in_features out_features * use_bias weight_init weight bias",
    "fn.Dropout": "rate",
    "fn.MLP": "sizes * activation dropout weight_init layers",
    "fn.models.LinearRegression": "in_features out_features * linear",
    "fn.models.Perceptron": "in_features out_features * weight_init linear",
    "fn.losses.squared_error": "prediction target",
    "fn.losses.binary_cross_entropy": "logits target",
    "fn.losses.cross_entropy": "logits target",
    "fn.losses.supervised": "per_example_loss **metrics",
    "fn.losses.batchwise": "loss",
    "fn.metrics.accuracy": "prediction target",
    "fn.metrics.absolute_error": "prediction target",
    "fn.data.Dataset": "arrays weight rows",
    "fn.data.batches": "data batch_size key epoch",
    "fn.data.split": "data sizes key * stratify",
    "fn.data.take": "data rows",
    "fn.data.load": "name target task",
    "fn.data.Scaler.fit": "data kind * per_feature",
    "fn.data.Shuffle.draw": "key n",
    "fn.report.decision_surface": "model data axes * feature_names class_names",
    "fn.report.history": "run axes",
}


def public():
    seen = {}
    for room in ROOMS:
        for name, value in vars(room).items():
            if name.startswith("_") or inspect.ismodule(value) or not callable(value):
                continue
            if getattr(value, "__module__", "").startswith("funcnet") and name not in BY_CALL:
                if room in (fn.losses, fn.metrics) and value.__module__ != room.__name__:
                    continue  # what a one-file room imports is not its own
                seen[value] = name
    return sorted(((name, value) for value, name in seen.items()), key=lambda pair: pair[0])


@pytest.mark.parametrize(("name", "value"), public(), ids=[name for name, _ in public()])
def test_a_public_name_says_what_it_takes_gives_and_raises(name, value):
    text = inspect.getdoc(value) or ""
    first = text.split("\n\n")[0]
    assert first.endswith((".", ":")) or "." in first, f"{name}: the first line is a sentence"
    assert "Example:" in text, f"{name} has no example"
    assert ">>> " in text, f"{name}'s example does not run"
    is_function = inspect.isfunction(value)
    takes = [p for p in inspect.signature(value).parameters if p != "self"]
    if takes and name not in {"Module", "Outcome"}:
        assert "Args:" in text, f"{name} does not say what it takes"
        for parameter in takes:
            assert f"{parameter}:" in text or f"{parameter}," in text, (
                f"{name} does not explain {parameter}"
            )
    if is_function:
        nothing = inspect.signature(value).return_annotation is None
        assert "Returns:" in text or nothing, f"{name} does not say what it returns"
        assert "Raises:" in text or name in {"trainable", "count"}, f"{name} does not say what it raises"
    elif issubclass(value, fn.Module) and value is not fn.Module:
        assert "Returns:" in text, f"{name} does not say what it returns when called"


@pytest.mark.parametrize("path", SIGNATURES)
def test_signatures_are_the_contract(path):
    value = fn
    for part in path.split(".")[1:]:
        value = getattr(value, part)
    told, keyword_only = [], False
    for parameter in inspect.signature(value).parameters.values():
        if parameter.kind == parameter.KEYWORD_ONLY and not keyword_only:
            told.append("*")
            keyword_only = True
        told.append(("**" if parameter.kind == parameter.VAR_KEYWORD else "") + parameter.name)
    assert " ".join(told) == SIGNATURES[path]
