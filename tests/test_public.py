"""The public names: their signatures, and what their docstrings must hold."""

import inspect

import funcnet as fn
import funcnet.sklearn

ROOMS = [
    fn,
    fn.data,
    fn.interop,
    fn.layers,
    fn.losses,
    fn.mesh,
    fn.metrics,
    fn.models,
    fn.report,
    fn.sklearn,
    fn.study,
    fn.tabular,
    fn.train,
    fn.transform,
]
BY_CALL = {"Fit"}  # documented by the function that returns it
OF_THE_COMMAND = {"StudyReport", "num_runs"}  # what `funcnet` calls

CONVOLUTION = (
    "in_channels out_channels kernel_size * stride padding dilation groups use_bias weight_init weight bias"
)

MLP_PARAMETERS = (
    "hidden_layer_sizes activation * alpha batch_size learning_rate_init max_iter early_stopping "
    "validation_fraction n_iter_no_change members"
)
NET_PARAMETERS = "net loss optimizer * epochs batch_size stopping validation_fraction"
LAST_PARAMETERS = "preprocessing random_state warm_start"

# Names and order are the contract.
SIGNATURES = {
    "fn.fit": "loss optimizer * epochs batch_size shuffle stopping eval_every accumulate ema on_nan remat "
    "step",
    "fn.step": "loss optimizer * accumulate on_nan",
    "fn.evaluate": "loss model data batch_size",
    "fn.predict": "model x batch_size",
    "fn.summary": "net x",
    "fn.count": "model * trainable",
    "fn.trainable": "model",
    "fn.freeze": "model paths",
    "fn.unfreeze": "model paths",
    "fn.label": "rule",
    "fn.save": "model path",
    "fn.load": "path custom_objects",
    "fn.save_weights": "model path",
    "fn.load_weights": "net path which where",
    "fn.interop.load_torch": "net path_or_state_dict rename channels",
    "fn.interop.to_torch": "model rename channels",
    "fn.TrainState": "model opt_state step epoch key stopping history",
    "fn.TrainState.create": "model optimizer key",
    "fn.EarlyStopping": "monitor min_delta patience mode restore_best start_from_epoch stopping_threshold "
    "divergence_threshold",
    "fn.train.Fit.__call__": "self model data key valid **_unknown",
    "fn.Trainer": "train directory callbacks * progress sync_every save_every keep keep_best resume "
    "max_time limit_batches evaluate_first",
    "fn.Trainer.__call__": "self model data key valid",
    "fn.Trainer.dry_run": "self model data key valid",
    "fn.Trainer.overfit_one_batch": "self model data key steps",
    "fn.train.Every": "epochs steps seconds",
    "fn.train.Request": "stop save hyperparams values",
    "fn.train.StudyContext": "done total",
    "fn.train.IncompleteStudyError": "message done total",
    "fn.train.Pictures": "functions path every",
    "fn.train.ReduceOnPlateau": "monitor factor patience min_delta mode cooldown min_lr name",
    "fn.train.AverageWeights": "start every",
    "fn.train.replay": "train state data",
    "fn.transform.find_nan": "f",
    "fn.data.Stream": "source * prefetch",
    "fn.data.Stream.npy": "paths * prefetch",
    "fn.data.Stream.csv": "path features target * separator decimal encoding prefetch",
    "fn.data.Stream.parquet": "path features target * window prefetch",
    "fn.data.Stream.from_map": "dataset * prefetch",
    "fn.data.Stream.from_batches": "factory num_batches * prefetch",
    "fn.cache_compilations": "directory",
    "fn.Precision": "param compute output",
    "fn.Module.init": "self key",
    "fn.Linear": "in_features out_features * use_bias weight_init weight bias",
    "fn.Dropout": "rate",
    "fn.MLP": "sizes * activation dropout weight_init layers",
    "fn.layers.Conv1d": CONVOLUTION,
    "fn.layers.Conv2d": CONVOLUTION,
    "fn.layers.Conv3d": CONVOLUTION,
    "fn.layers.ConvTranspose1d": CONVOLUTION,
    "fn.layers.ConvTranspose2d": CONVOLUTION,
    "fn.layers.ConvTranspose3d": CONVOLUTION,
    "fn.layers.Reshape": "shape num_axes",
    "fn.layers.Upsample": "scale method num_spatial_dims",
    "fn.layers.MaxPool2d": "window stride * padding",
    "fn.layers.AvgPool1d": "window stride * padding",
    "fn.layers.GlobalAvgPool": "num_spatial_dims",
    "fn.layers.Flatten": "num_axes",
    "fn.layers.LayerNorm": "features * eps use_scale use_bias scale bias",
    "fn.layers.RMSNorm": "features * eps use_scale scale",
    "fn.layers.GroupNorm": "channels groups num_spatial_dims * eps use_scale use_bias scale bias",
    "fn.layers.ChannelDropout": "rate num_spatial_dims",
    "fn.layers.Residual": "layer projection",
    "fn.layers.SpectralNorm": "layer * iterations eps u v",
    "fn.models.ConvNet": "input_shape classes * channels kernel_size padding activation dropout "
    "weight_init convolutions out",
    "fn.models.ResMLP": "in_features out_features * width depth activation dropout weight_init embed "
    "blocks norm out",
    "fn.layers.Embedding": "num_embeddings features * weight",
    "fn.layers.NumberEmbedding": "features * num_frequencies embedding_size frequency phase weight bias",
    "fn.layers.MultiHeadAttention": "features num_heads * causal qkv_bias project out",
    "fn.layers.MultiHeadAttention.__call__": "self x key * mask",
    "fn.layers.GRU": "in_features features * input recurrent scan_unroll return_sequences",
    "fn.layers.GRU.__call__": "self x key * state mask length",
    "fn.layers.LSTM": "in_features features * input recurrent bias scan_unroll return_sequences",
    "fn.layers.LSTM.__call__": "self x key * state mask length",
    "fn.layers.GRU.unroll": "self x state * mask length",
    "fn.layers.LSTM.unroll": "self x state * mask length",
    "fn.layers.Bidirectional.__call__": "self x key * mask length",
    "fn.layers.Bidirectional.unroll": "self x state * mask length",
    "fn.layers.Bidirectional": "forward * backward",
    "fn.models.SIREN": "sizes * omega hidden_omega layers",
    "fn.models.FourierMLP": "sizes * num_frequencies scale activation frequencies mlp",
    "fn.models.Transformer": "out_features * vocab_size in_features max_length features num_heads depth "
    "hidden_features positions dropout activation qkv_bias pad_token embed position_embedding blocks "
    "norm head",
    "fn.models.Transformer.__call__": "self x key * mask",
    "fn.models.LinearRegression": "in_features out_features * linear",
    "fn.models.Perceptron": "in_features out_features * weight_init linear",
    "fn.losses.squared_error": "prediction target",
    "fn.losses.binary_cross_entropy": "logits target * smoothing",
    "fn.losses.cross_entropy": "logits target * smoothing",
    "fn.losses.penalized": "loss l1 l2 where",
    "fn.losses.huber": "prediction target * delta",
    "fn.losses.quantile": "prediction target * q",
    "fn.losses.focal": "logits target * gamma alpha",
    "fn.metrics.measure": "metric predictions targets weight",
    "fn.metrics.f1": "* average classes",
    "fn.metrics.confusion_matrix": "classes",
    "fn.metrics.roc_auc": "scores targets weight",
    "fn.metrics.r2": "* offset",
    "fn.losses.scheduled": "make_loss * end_values **schedules",
    "fn.losses.players": "* order updates **losses",
    "fn.TrainState.apply_gradients": "self gradients optimizer **extra",
    "fn.losses.supervised": "per_example_loss * shares class_weight **metrics",
    "fn.losses.weighted": "loss weight",
    "fn.metrics.whole": "metric",
    "fn.losses.batchwise": "loss",
    "fn.metrics.accuracy": "prediction target",
    "fn.metrics.absolute_error": "prediction target",
    "fn.study.Ensemble": "members average",
    "fn.study.cross_validate": "train folds * block progress",
    "fn.study.sweep": "make_train settings * monitor mode num_samples block progress",
    "fn.study.halving": "make_train settings * monitor mode num_samples factor min_epochs block progress",
    "fn.study.hyper_gradient": "make_train metric * mode",
    "fn.study.tune": "make_train metric * steps optimizer log mode",
    "fn.study.learning_rate_range": "make_train * min_lr max_lr num_rates num_repeats block progress",
    "fn.report.learning_rates": "result axes",
    "fn.report.halving": "result axes",
    "fn.report.sweep": "result axes",
    "fn.report.folds": "result axes",
    "fn.report.spread": "ensemble data axes * margin scaler feature_name target_name",
    "fn.study.ensemble": "train size * bootstrap average block progress",
    "fn.study.monitor": "train quantities * rows data",
    "fn.study.SweepResult": "trials scores mode runs run_indices",
    "fn.study.sweep_sizes": "make_net train sizes num_repeats * monitor mode block progress",
    "fn.study.SweepSizesResult": "curve monitor mode nets runs",
    "fn.study.HalvingResult": "trials scores mode runs run_indices rungs",
    "fn.study.Rung": "epochs trials scores",
    "fn.study.LearningRateRangeResult": "rates losses losses_at_init",
    "fn.study.TuneResult": "best best_value path values",
    "fn.study.diagnose": "run * target baseline tolerance",
    "fn.study.Estimate": "value standard_error num_members",
    "fn.study.bias_variance": "train size * loss epochs block progress",
    "fn.study.BiasVarianceResult": "mean standard_error per_row predictions epochs",
    "fn.study.Curve": "x_name x scores",
    "fn.study.learning_curve": "train train_sizes num_repeats * block progress",
    "fn.study.capacity_curve": "make_train capacities num_repeats * block progress",
    "fn.data.Dataset.from_process_local_data": "arrays * weight",
    "fn.mesh.cpu_devices": "count",
    "fn.mesh.initialize": "coordinator_address num_processes process_id * timeout",
    "fn.mesh.use": "devices data_axis member_axis",
    "fn.mesh.shard": "model rule axis",
    "fn.mesh.shard_members": "tree",
    "fn.transform.vmap_last": "f in_axes",
    "fn.transform.decompose_primitives": "f",
    "fn.transform.graph": "f",
    "fn.transform.Graph.save": "self path * batch platforms",
    "fn.transform.load_graph": "path",
    "fn.data.Dataset": "arrays * weight rows",
    "fn.data.batches": "data batch_size key epoch * pad",
    "fn.data.split": "data sizes key * stratify",
    "fn.data.take": "data rows",
    "fn.data.kfold": "data folds key * stratify groups",
    "fn.data.bootstrap": "data key samples",
    "fn.data.out_of_bag": "data sample",
    "fn.data.pad": "arrays * length value",
    "fn.data.one_hot": "labels classes",
    "fn.data.class_weights": "labels weights",
    "fn.data.augmented": "loss transform",
    "fn.data.mixup": "loss alpha",
    "fn.data.noise": "scale",
    "fn.data.flip": "axis probability",
    "fn.data.shift": "pixels",
    "fn.data.Dataset.axes": "arrays weight rows",
    "fn.data.load": "name target task * separator encoding decimal missing",
    "fn.data.Table.encode": "self rows",
    "fn.data.Scaler.fit": "data kind * per_feature",
    "fn.data.Shuffle.draw": "key n",
    "fn.data.exact_linear": "rows features noise seed",
    "fn.data.friedman1": "rows features noise seed",
    "fn.data.gaussians": "rows features distance seed",
    "fn.data.noisy_line": "rows slope intercept noise seed",
    "fn.data.two_classes": "rows flip_y class_sep seed",
    "fn.data.two_moons": "rows noise seed",
    "fn.sklearn.MLPClassifier": f"{MLP_PARAMETERS} cv class_weight calibrate {LAST_PARAMETERS} verbose",
    "fn.sklearn.MLPClassifier.fit": "self X y sample_weight",
    "fn.sklearn.MLPClassifier.partial_fit": "self X y classes sample_weight",
    "fn.sklearn.MLPClassifier.predict": "self X",
    "fn.sklearn.MLPClassifier.predict_proba": "self X",
    "fn.sklearn.MLPClassifier.uncertainty": "self X",
    "fn.sklearn.MLPClassifier.report": "self path * X y sample_weight training",
    "fn.sklearn.MLPClassifier.save": "self path",
    "fn.sklearn.MLPClassifier.load": "path",
    "fn.sklearn.MLPRegressor": f"{MLP_PARAMETERS} cv calibrate {LAST_PARAMETERS} verbose",
    "fn.sklearn.MLPRegressor.predict_interval": "self X coverage",
    "fn.sklearn.NetClassifier": f"{NET_PARAMETERS} class_weight {LAST_PARAMETERS}",
    "fn.sklearn.NetClassifier.load": "path net **parameters",
    "fn.sklearn.NetRegressor": f"{NET_PARAMETERS} {LAST_PARAMETERS}",
    "fn.tabular.Schema": "columns is_named target task rows_without_target missing decimal target_read_as",
    "fn.tabular.Schema.fit": "X * roles missing dayfirst",
    "fn.tabular.Schema.encode": "self X",
    "fn.report.bias_variance": "results axes * xlabel",
    "fn.report.calibration": "logits targets axes * bins",
    "fn.report.confusion_matrix": "predictions targets axes * class_names",
    "fn.report.curves": "values axes * x xlabel ylabel title",
    "fn.report.decision_surface": "model data axes * scaler features feature_names class_names",
    "fn.report.diagnosis": "diagnosis axes",
    "fn.report.fitted_curves": "models data axes * valid scaler feature_name target_name",
    "fn.report.history": "run axes",
    "fn.report.learning_curve": "curve axes",
    "fn.report.loss_curves": "losses axes * over targets title",
    "fn.report.pair_plot": "data axes * features feature_names class_names",
    "fn.report.predictions": "model data axes * scaler features feature_names class_names",
    "fn.report.regression_line": "model data axes * valid scaler feature_name target_name title",
    "fn.report.scatter": "data axes * title features feature_names class_names target_name",
    "fn.report.separating_line": "model data axes * scaler feature_names class_names title",
    "fn.report.training_frame": "model history data axes * metric **surface",
}


def public():
    seen = {}
    for room in ROOMS:
        names = room.__all__ if hasattr(room, "__all__") else vars(room)
        for name in names:
            value = getattr(room, name)
            if name.startswith("_") or inspect.ismodule(value) or not callable(value):
                continue
            if (
                getattr(value, "__module__", "").startswith("funcnet")
                and name not in BY_CALL | OF_THE_COMMAND
            ):
                seen[value] = name
    return sorted(((name, value) for value, name in seen.items()), key=lambda pair: pair[0])


def test_a_public_name_says_what_it_takes_gives_and_raises():
    wrong = [fault for name, value in public() for fault in faults(name, value)]
    assert not wrong, "\n".join(wrong)


def faults(name, value):
    """What the docstring of a public name lacks."""
    text = inspect.getdoc(value) or ""
    if "." not in text.split("\n\n")[0] and not text.split("\n\n")[0].endswith(":"):
        yield f"{name}: the first line must be a sentence"
    if "Example:" not in text or ">>> " not in text:
        yield f"{name} has no example that runs"
    takes = [p for p in inspect.signature(value).parameters if p != "self" and not p.startswith("_")]
    if takes and name not in {"Module", "Outcome"}:
        if "Args:" not in text:
            yield f"{name} does not say what it takes"
        for parameter in takes:
            if f"{parameter}:" not in text and f"{parameter}," not in text:
                yield f"{name} does not explain {parameter}"
    if inspect.isfunction(value):
        nothing = inspect.signature(value).return_annotation is None
        if "Returns:" not in text and not nothing:
            yield f"{name} does not say what it returns"
    elif issubclass(value, fn.Module) and value is not fn.Module and "Returns:" not in text:
        yield f"{name} does not say what it returns when called"


def test_signatures_are_the_contract():
    wrong = [
        f"{path}: {signature(path)}, the contract has {names}"
        for path, names in SIGNATURES.items()
        if signature(path) != names
    ]
    assert not wrong, "\n".join(wrong)


def signature(path):
    """The names of the parameters of a public name, with `*` before those that are keyword-only."""
    value = fn
    for part in path.split(".")[1:]:
        value = getattr(value, part)
    names, keyword_only = [], False
    for parameter in inspect.signature(value).parameters.values():
        if parameter.kind == parameter.KEYWORD_ONLY and not keyword_only:
            names.append("*")
            keyword_only = True
        names.append(("**" if parameter.kind == parameter.VAR_KEYWORD else "") + parameter.name)
    return " ".join(names)
