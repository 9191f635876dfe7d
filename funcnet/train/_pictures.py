"""Pictures of a run: drawn from time to time, and written as PNG files and to TensorBoard."""

import io
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from funcnet import _check, _files, _processes
from funcnet.train._callbacks import Callback, CallbackContext, resolve_path
from funcnet.train._loggers import TensorBoard


class Pictures(Callback):
    """Draw pictures at the end of epochs: `path/name/0012.png`, and TensorBoard's images.

    A picture is written to TensorBoard if the Trainer has a `TensorBoard`, too.

    Args:
        functions: functions of a `CallbackContext` by name, which return an image, an array [height, width]
            or [height, width, 3] of floats in [0, 1] or uint8, or a figure of matplotlib.
        path: the folder; a relative path is in the Trainer's directory, if it has one.
        every: epochs between two pictures, at least 1; the last of the planned epochs is drawn, too.

    Raises:
        TypeError: if `functions` is not a mapping of functions, or a function returns something else.
        ValueError: if a name is not a plain name of a file, or an image is not finite or out of range.

    Example:
        >>> import pathlib, tempfile, jax, jax.numpy as jnp, optax, funcnet as fn
        >>> x = jnp.linspace(0.0, 1.0, 8)[:, None]
        >>> train = fn.fit(fn.losses.supervised(fn.losses.squared_error), optax.sgd(0.1), epochs=3)
        >>> model = fn.models.LinearRegression(1).init(jax.random.key(0))
        >>> draw = lambda context: jnp.outer(x[:, 0], jax.nn.sigmoid(context.model(x)))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     pictures = fn.train.Pictures({"product": draw}, folder, every=2)
        ...     run = fn.Trainer(train, callbacks=[pictures])(model, (x, x[:, 0]), jax.random.key(1))
        ...     sorted(path.name for path in pathlib.Path(folder, "product").iterdir())
        ['0002.png', '0003.png']
    """

    def __init__(
        self,
        functions: Mapping[str, Callable[[CallbackContext], Any]],
        path: str | os.PathLike[str] = "pictures",
        every: int = 1,
    ) -> None:
        if not isinstance(functions, Mapping) or not functions:
            raise TypeError(
                f"functions must map names to functions of a CallbackContext, got "
                f"{_check.describe(functions)}. Try fn.train.Pictures({{'weights': lambda context: "
                "context.model.layers[0].weight})."
            )
        for name, function in functions.items():
            if not isinstance(name, str) or not _files.is_plain_name(name):
                raise ValueError(f"the name of a picture must be that of a folder, got {name!r}.")
            _check.takes(f"functions[{name!r}]", function, "a function of a CallbackContext", None)
        self.functions, self.every = dict(functions), _check.positive("every", every)
        self.path = _check.path("path", path, "pictures")

    def on_epoch_end(self, context: CallbackContext) -> None:
        if context.epoch % self.every and context.epoch < context._snapshot.epochs:
            return
        boards = [board for board in context._snapshot.callbacks if isinstance(board, TensorBoard)]
        for name, function in self.functions.items():
            png = _to_png(name, function(context))
            if not _processes.is_first():
                continue
            _files.write(resolve_path(self.path / name / f"{context.epoch:04d}.png", context), png)
            for board in boards:
                board.add_png(name, png, context.epoch - 1)


def _to_png(name: str, picture: Any) -> bytes:
    figure, buffer = getattr(picture, "figure", picture), io.BytesIO()  # the figure of axes
    if callable(getattr(figure, "savefig", None)):
        figure.savefig(buffer, format="png")
        return buffer.getvalue()
    is_array = hasattr(picture, "dtype")
    image: Any = np.asarray(_check.array(f"the picture {name!r}", picture)) if is_array else np.zeros(())
    if not (image.ndim == 2 or (image.ndim == 3 and image.shape[-1] == 3)) or not image.size:
        raise TypeError(
            f"the picture {name!r} must be an array [height, width] or [height, width, 3] or a figure of "
            f"matplotlib, got {_check.describe(picture)}."
        )
    from PIL import Image

    Image.fromarray(image if image.dtype == np.uint8 else _to_bytes(name, image)).save(buffer, "png")
    return buffer.getvalue()


def _to_bytes(name: str, image: np.ndarray) -> np.ndarray:
    values = image.astype(np.float32)
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= 1):
        raise ValueError(
            f"the picture {name!r} must have values from 0 to 1, or be uint8, got {low:.4g} to {high:.4g}. "
            "Try jnp.clip(image, 0, 1)."
        )
    return np.round(255 * values).astype(np.uint8)
