"""A cache of compiled programs on disk, so that the next process need not compile them again."""

import os
from pathlib import Path

import jax

from funcnet import _check, _files


def cache_compilations(directory: str | os.PathLike[str] | None = None) -> Path:
    """Cache compiled programs on disk, so that a later process does not compile the same program again.

    Call it once at the top of a script, before the first run. The command `funcnet`, whose process is its
    own, calls it by default; importing funcnet and fitting estimators do not, since it sets JAX's options
    for the whole process: programs of other libraries would be written to disk, too. The key of a cached
    program includes its code, shapes, dtypes, compiler and machine, so a stale one is never used. The
    directory may be deleted at any time.

    Args:
        directory: the directory of the cache; by default `funcnet` in the user's cache directory
            ($XDG_CACHE_HOME, or ~/.cache if it is not set). It is created if it does not exist.

    Returns:
        The directory.

    Raises:
        OSError: if the directory can't be created.

    Example:
        >>> import jax, tempfile, funcnet as fn
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     fn.cache_compilations(folder).is_dir()
        ...     jax.config.update("jax_compilation_cache_dir", None)  # disable it again
        True
    """
    path = user_cache() if directory is None else _check.path("directory", directory, str(user_cache()))
    _files.make_folder(path)
    jax.config.update("jax_compilation_cache_dir", str(path))
    # By default JAX caches programs that took a second to compile; those of small networks take less.
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    return path


def user_cache() -> Path:
    """The directory of funcnet's caches of this user, which may not exist."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "funcnet")
