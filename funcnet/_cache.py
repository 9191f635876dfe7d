"""Compiled programs kept on disk, so that the next process need not compile them again."""

import os
from pathlib import Path

import jax


def cache_compilations(directory: str | os.PathLike[str] | None = None) -> Path:
    """Keep what JAX compiles on disk: a later process that runs the same program starts at once.

    Call it before the first training. It sets JAX's own options and holds for the whole process;
    the command `funcnet` does so by itself. Programs are found again by their code, shapes, dtypes,
    compiler and machine, so a stale one is never taken. The folder may be deleted at any time.

    Args:
        directory: where to keep them; by default `funcnet` in the user's cache folder
            ($XDG_CACHE_HOME, else ~/.cache). It is made if it is missing.

    Returns:
        The folder.

    Raises:
        OSError: if the folder can't be made.

    Example:
        >>> import jax, tempfile, funcnet as fn
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fn.cache_compilations(folder).is_dir()
        ...     jax.config.update("jax_compilation_cache_dir", None)  # and off again
        True
    """
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(directory) if directory is not None else Path(home, "funcnet")
    folder.mkdir(parents=True, exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    # JAX keeps what took a second; a small network's programs take less, and there are many of them.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return folder
