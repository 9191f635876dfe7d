"""Names, attributes and settings of Keras, PyTorch, Lightning, flax and scikit-learn, and what to write.

The tables are searched only when a name, an attribute or an argument does not exist. Keys are in lower
case and without underscores; values are code that runs, with these names in scope: model, net, loss, train,
run, data, valid, x, y, labels, key, trainer, context.
"""

_SUPERVISED = "loss = fn.losses.supervised(fn.losses.{})"
_TRAINER = 'fn.Trainer(train, callbacks=[fn.train.CSV("history.csv")], progress="bar")(model, data, key)'
_DIRECTORY = 'fn.Trainer(train, "runs/a")(model, data, key)'
_KEEP_BEST = 'fn.Trainer(train, keep_best="val_loss")(model, data, key, valid)'
_OWN_STEP = "train = fn.fit(loss, optax.adam(1e-3), epochs=20, step=fn.step(loss, optax.adam(1e-3)))"
_SAVE, _LOAD = 'fn.save(model, "model.safetensors")', 'model = fn.load("model.safetensors")'
_SAVE_WEIGHTS, _LOAD_WEIGHTS = (
    'fn.save_weights(model, "model.safetensors")',
    'fn.load_weights(net, "model.safetensors")',
)
_CLIP_NORM = "optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-3))"
_SHARES = (
    "loss = fn.losses.supervised(dict(a=fn.losses.cross_entropy, b=fn.losses.huber), "
    "shares=dict(a=1.0, b=0.2))"
)
_FIT = "train = fn.fit(loss, optax.adam(1e-3), epochs=20{})"
_TRAIN = f"{_FIT.format('')}; run = train(model, data, key)"
_CALL = "run = train(model, data, key, valid=valid)"
_MODES = "model(x) for inference and model(x, key) for training: a model has no modes"
_TWO_PARTS = "data, valid = fn.data.split(data, (0.8, 0.2), key); train(model, data, key, valid)"


def _rows(text: str) -> dict[str, str]:
    """A table from lines `name name ...: code`."""
    pairs = (line.split(": ", 1) for line in text.strip().splitlines())
    return {name: code for names, code in pairs for name in names.split()}


NAMES = _rows(
    f"""
dense: fn.Linear(2, 3)
batchnormalization batchnorm1d batchnorm2d: fn.layers.BatchNorm(8)
layernormalization: fn.layers.LayerNorm(8)
groupnormalization: fn.layers.GroupNorm(8, 4, 2)
instancenorm1d: fn.layers.GroupNorm(8, 8, 1)
instancenorm2d: fn.layers.GroupNorm(8, 8, 2)
maxpooling1d: fn.layers.MaxPool1d(2)
maxpooling2d: fn.layers.MaxPool2d(2)
averagepooling1d avgpooling1d: fn.layers.AvgPool1d(2)
averagepooling2d avgpooling2d: fn.layers.AvgPool2d(2)
globalaveragepooling1d adaptiveavgpool1d: fn.layers.GlobalAvgPool(1)
globalaveragepooling2d adaptiveavgpool2d: fn.layers.GlobalAvgPool(2)
globalmaxpooling1d globalmaxpool1d adaptivemaxpool1d: fn.layers.GlobalMaxPool(1)
globalmaxpooling2d globalmaxpool2d adaptivemaxpool2d: fn.layers.GlobalMaxPool(2)
conv: fn.layers.Conv2d(3, 16, 3)
conv1dtranspose: fn.layers.ConvTranspose1d(3, 16, 3)
conv2dtranspose convtranspose: fn.layers.ConvTranspose2d(3, 16, 3)
conv3dtranspose: fn.layers.ConvTranspose3d(3, 16, 3)
upsampling1d: fn.layers.Upsample(2, num_spatial_dims=1)
upsampling2d upsamplingnearest2d: fn.layers.Upsample(2)
upsampling3d: fn.layers.Upsample(2, num_spatial_dims=3)
unflatten: fn.layers.Reshape((7, 7, 64))
concatenate: jax.numpy.concatenate([x, x], axis=-1)
input inputlayer: fn.Sequential(fn.Linear(2, 3), jax.nn.relu)
padsequence padsequences: fn.data.pad([[5, 2, 7], [4]])
spatialdropout1d dropout1d: fn.layers.ChannelDropout(0.1, 1)
spatialdropout2d dropout2d: fn.layers.ChannelDropout(0.1, 2)
rnn simplernn grucell: fn.layers.GRU(3, 8)
lstmcell: fn.layers.LSTM(3, 8)
transformerencoder transformerencoderlayer: fn.models.Transformer(3, vocab_size=10, max_length=8)
relu gelu silu elu softplus tanh sigmoid softmax: jax.nn.{{name}}
leakyrelu: jax.nn.leaky_relu
nn: fn.layers.Conv2d(3, 16, 3)
keras: fn.Sequential(fn.Linear(2, 3), jax.nn.relu)
lightningmodule: fn.Module
model: fn.Module
optim optimizers optimizer adam: optax.adam(1e-3)
adamw sgd rmsprop lion adagrad: optax.{{name}}(1e-3)
mse mseloss meansquarederror l2loss: {_SUPERVISED.format("squared_error")}
mae l1loss meanabsoluteerror: {_SUPERVISED.format("absolute_error")}
huberloss smoothl1loss: {_SUPERVISED.format("huber")}
crossentropyloss nllloss: {_SUPERVISED.format("cross_entropy")}
sparsecategoricalcrossentropy categoricalcrossentropy: {_SUPERVISED.format("cross_entropy")}
softmaxcrossentropy softmaxcrossentropywithintegerlabels: {_SUPERVISED.format("cross_entropy")}
bce bceloss bcewithlogitsloss sigmoidbinarycrossentropy: {_SUPERVISED.format("binary_cross_entropy")}
kldivloss: {_SUPERVISED.format("kl_divergence")}
poissonnllloss: {_SUPERVISED.format("poisson")}
gaussiannllloss: {_SUPERVISED.format("gaussian_nll")}
hingeloss: {_SUPERVISED.format("hinge")}
focalloss binaryfocalcrossentropy: {_SUPERVISED.format("focal")}
accuracyscore binaryaccuracy categoricalaccuracy sparsecategoricalaccuracy: fn.metrics.accuracy
auc auroc rocaucscore: fn.metrics.roc_auc(scores=x[:, 0], targets=labels > 0)
f1score: fn.metrics.f1()
r2score: fn.metrics.r2()
rootmeansquarederror: fn.metrics.rmse()
topkaccuracy topkcategoricalaccuracy: fn.metrics.top_k(5)
modelcheckpoint checkpoint checkpoints checkpointmanager: fn.Trainer(train, "runs/a", keep_best="val_loss")
csvlogger: fn.train.CSV("history.csv")
tensorboardlogger summarywriter: fn.train.TensorBoard()
reducelronplateau: fn.train.ReduceOnPlateau("loss")
learningratescheduler lrscheduler schedule: optax.adam(optax.cosine_decay_schedule(1e-3, 1000))
learningratemonitor: fn.train.Monitor()
lambdacallback printcallback: fn.Trainer(train, callbacks=[lambda context: print(context.metrics)])
progbar progressbar tqdmprogressbar richprogressbar tqdmcallback: fn.Trainer(train, progress="bar")
stochasticweightaveraging swa: fn.train.AverageWeights()
terminateonnan: {_FIT.format(', on_nan="stop"')}
trainingargs trainingarguments: {_FIT.format(", batch_size=32")}
compile: {_TRAIN}
dataloader: fn.data.batches(data, batch_size=32, key=key)
tensordataset fromtensorslices arraydataset: fn.data.Dataset((x, y))
subset: fn.data.take(data, [0, 1, 2])
traintestsplit randomsplit: parts = fn.data.split(data, (0.8, 0.2), key)
standardscaler normalizer normalization: fn.data.Scaler.fit(data)
minmaxscaler: fn.data.Scaler.fit(data, "minmax")
tocategorical onehotencoder: fn.data.one_hot(labels, 3)
stratifiedkfold groupkfold: fn.data.kfold(data, 5, key)
save savemodel: {_SAVE}
saveweights statedict: {_SAVE_WEIGHTS}
load loadmodel: {_LOAD}
loadstatedict restore: {_LOAD_WEIGHTS}
manualseed seedeverything setrandomseed prngkey: key = jax.random.key(0)
tensor array variable: jax.numpy.asarray([1.0, 2.0])
grad: jax.grad(lambda model: fn.evaluate(loss, model, data)["loss"])(model)
jit vmap: jax.{{name}}(lambda x: model(x))(x)
sklearn: import funcnet.sklearn
nograd inferencemode stopgradient detach: jax.lax.stop_gradient(x)
autocast gradscaler amp mixedprecision: loss = fn.Precision(compute="bfloat16")(loss)
device cuda todevice: jax.device_put(x, jax.devices()[0])
"""
)
"""Names of packages: layers, losses, metrics, optimizers, callbacks, data."""

_FITTING = f"fit compile: {_TRAIN}"
_OF_MODEL = _rows(
    f"""
{_FITTING}
train eval: {_MODES}
predict predictstep predictonbatch predictproba: fn.predict(model, x)
forward call apply: model(x[0])
evaluate score teststep validationstep: fn.evaluate(loss, model, data)
summary: fn.summary(model, x[0])
countparams numparameters: fn.count(model)
save savepretrained: {_SAVE}
statedict saveweights: {_SAVE_WEIGHTS}
load: {_LOAD}
loadstatedict loadweights: {_LOAD_WEIGHTS}
getweights weights variables params: jax.tree.leaves(model)
trainable trainablevariables trainableweights: fn.trainable(model)
namedparameters: jax.tree.leaves_with_path(model)
freeze requiresgrad: model = fn.freeze(model, "layers[0]")
unfreeze: model = fn.unfreeze(model)
to cuda cpu: jax.device_put(model, jax.devices()[0])
kernel: model.layers[0].weight
zerograd backward: step = fn.step(loss, optax.adam(1e-3))
trainingstep trainstep: {_OWN_STEP}
modules namedmodules children submodules: print(fn.summary(model, x[0]))
add append addmodule registermodule: fn.Sequential(fn.Linear(2, 3), jax.nn.relu)
"""
)
_OF_RUN = _rows(
    f"""
{_FITTING}
predict predictproba: fn.predict(run.model, x)
evaluate test validate score: fn.evaluate(loss, run.model, data)
save savecheckpoint: {_SAVE.replace("model,", "run.model,")}
saveweights statedict: {_SAVE_WEIGHTS.replace("model,", "run.model,")}
params weights parameters variables: run.model
optstate optimizer optimizerstate: run.state.opt_state
loss valloss trainloss accuracy valaccuracy: run.history["{{name}}"]
losses metrics log logs: run.history["loss"]
bestmodel bestweights: {_KEEP_BEST}.best
step: run.state.step
epoch: run.state.epoch
"""
)
_OF_HISTORY = _rows(
    """
loss valloss trainloss accuracy valaccuracy: run.history["{name}"]
history losses metrics: run.history["loss"]
epoch epochs: run.state.epoch
plot: run.plot()
topandas todataframe dataframe: run.history.to_pandas()
"""
)
_OF_STATE = _rows(
    """
params variables: run.state.model
applyfn: run.state.model(x[0])
replace: import dataclasses; state = dataclasses.replace(run.state, epoch=0)
tx trainstep: step = fn.step(loss, optax.sgd(0.1)); state, info = step(run.state, (x, y))
optimizer optimizerstate: run.state.opt_state
"""
)
_OF_TRAIN = _rows(
    f"""
fit run compile: {_CALL}
predict predictproba: fn.predict(run.model, x)
evaluate test validate score: fn.evaluate(loss, run.model, data)
savecheckpoint save: fn.Trainer(train, "runs/a")(model, data, key)
loggedmetrics callbackmetrics history: run.history["loss"]
model: run.model
"""
)
_OF_TRAINER = _OF_TRAIN | _rows("fit run compile: run = trainer(model, data, key, valid)")
_OF_CONTEXT = _rows(
    """
logs log metric callbackmetrics loggedmetrics: context.metrics
stoptraining shouldstop stop: fn.train.Request(stop=True)
trainer callbacks: fn.Trainer(train, callbacks=[fn.train.CSV("history.csv")])
currentepoch: context.epoch
globalstep iteration batch: context.step
optstate optimizer optimizerstate: context.state.opt_state
params variables weights: context.model
history: run.history["loss"]
"""
)
ATTRIBUTES = {
    "model": _OF_MODEL,
    "Run": _OF_RUN,
    "History": _OF_HISTORY,
    "TrainState": _OF_STATE,
    "training function": _OF_TRAIN,
    "Trainer": _OF_TRAINER,
    "CallbackContext": _OF_CONTEXT,
}
"""Attributes and methods of objects."""

SETTINGS = _rows(
    f"""
callbacks verbose progress progressbar enableprogressbar logger syncevery: {_TRAINER}
directory checkpoint savedir saveevery keep resume enablecheckpointing: {_DIRECTORY}
ckptpath resumefromcheckpoint defaultrootdir saveto: {_DIRECTORY}
keepbest savebestonly: {_KEEP_BEST}
maxtime: fn.Trainer(train, max_time=3600)
evaluatefirst: fn.Trainer(train, evaluate_first=True)
stepsperepoch limitbatches limittrainbatches: fn.Trainer(train, limit_batches=100)
valid validation validationdata validdata valdata evalset xval valdataloaders testdata: {_CALL}
validationsplit validationfraction testsize valsize: {_TWO_PARTS}
lr learningrate weightdecay momentum schedule scheduler lrscheduler: optax.adamw(1e-3, weight_decay=1e-4)
clipvalue: optax.chain(optax.clip(1.0), optax.adam(1e-3))
gradientclipval clipnorm globalclipnorm maxgradnorm gradclip: {_CLIP_NORM}
metrics: fn.losses.supervised(fn.losses.cross_entropy, accuracy=fn.metrics.accuracy)
evaluate.key: fn.evaluate(loss, model, data) for inference: the loss gets key=None, so `if key is None: ...`
seed randomstate rng rngs prngkey key: train(model, data, jax.random.key(0))
maxepochs numepochs nepochs nbepoch maxiter numtrainepochs: {_FIT.format("")}
epochs batchsize shuffle stopping evalevery ema onnan remat step: {_FIT.format("")}
accumulategradbatches gradientaccumulationsteps accumulate: {_FIT.format(", accumulate=4")}
earlystopping patience niternochange: {_FIT.format(", stopping=fn.EarlyStopping(patience=5)")}
restorebestweights restorebest: fn.EarlyStopping(patience=5, restore_best=True)
checkvaleverynepoch validationfreq: {_FIT.format(", eval_every=5")}
precision dtype mixedprecision amp: loss = fn.Precision(compute="bfloat16")(loss)
device devices accelerator gpus strategy numnodes: jax.device_put(model, jax.devices()[0])
sampleweight weight weights: fn.data.Dataset((x, y), weight=jax.numpy.ones(len(x)))
classweight: loss = fn.losses.supervised(fn.losses.cross_entropy, class_weight=[1.0, 1.0, 10.0])
lossweights: {_SHARES}
strict skipmismatch byname: fn.load_weights(model, "model.safetensors", where="layers[0]")
trainstep trainingstep: {_OWN_STEP}
frozen trainable: model = fn.freeze(model, "layers[0]")
numworkers prefetch: fn.data.Stream.npy(("x.npy", "y.npy"), prefetch=2)
optimizer loss model params applyfn tx: {_TRAIN}
droplast batches.shuffle: fn.data.batches(data, batch_size=32, key=key)
activation: fn.Sequential(fn.Linear(2, 3), jax.nn.relu)
inputshape inputdim units filters: fn.Linear(2, 3)
bias usebias: fn.Linear(2, 3, use_bias=False)
p prob: fn.Dropout(0.1)
reduction: fn.losses.supervised(fn.losses.squared_error)
"""
)
"""Settings of functions: of training, of a Trainer, of layers."""
