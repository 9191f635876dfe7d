"""The names of a package, loaded on first use."""

from collections.abc import Callable
from typing import Any

import lazy_loader


def attach_stub(package: str, file: str) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """`lazy_loader.attach_stub`, where a name that does not exist ends in a sentence.

    Returns:
        `__getattr__`, `__dir__` and `__all__` of the package.
    """
    load, list_names, names = lazy_loader.attach_stub(package, file)

    def __getattr__(name: str) -> Any:
        if name in names or name.startswith("_"):
            return load(name)
        from funcnet import _check

        raise _check.missing_name(package, name, names)

    return __getattr__, list_names, names
