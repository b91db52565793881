"""``njit`` for the kernels of our packages. All copies of the same kernels share their compiled code.

Numba keeps compiled code by the path of its source: each sweep's snapshot, each clone and each installed copy
would compile for a minute what another one has compiled. Kernels of others are kept as numba keeps them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba import config
from numba.core.caching import CacheImpl, UserProvidedCacheLocator

from pipelines.files.cache_folder import code_folder
from pipelines.files.kernel_cache import kernels_digest

_PIPELINES = Path(__file__).resolve().parents[1]
_compiling = threading.Lock()


def njit(*function: Any, **options: Any) -> Any:
    """``numba.njit``; with ``cache=True`` the compiled code is kept in ``compiled_folder()``."""
    if not function:
        return lambda function: njit(function, **options)
    with _own_locator():
        return numba.njit(*function, **options)


def compile_once(kernel: Any, signature: Any) -> None:
    """Compile a kernel for one signature, or load it from numba's cache: once a process.

    Arguments of another kind, such as read-only images, are converted from then on, not compiled for.
    """
    with _compiling:
        if not kernel.overloads:
            kernel.compile(signature)
            kernel.disable_compile()


@cache
def compiled_folder() -> Path:
    """``$NUMBA_CACHE_DIR`` where the user has set it, else a folder of this version in the cache."""
    if config.CACHE_DIR:  # type: ignore[attr-defined]
        return Path(config.CACHE_DIR)  # type: ignore[attr-defined]
    return code_folder(f"compiled-{_digest(_PIPELINES)}")


def are_compiled() -> bool:
    """True if this or an earlier process has left compiled kernels."""
    return any(compiled_folder().glob("*/*.nbi"))


@cache
def _digest(package: Path) -> str:
    return kernels_digest(*dict.fromkeys((_PIPELINES, package)))


class KernelLocator(UserProvidedCacheLocator):
    """A folder in ``compiled_folder()`` named after a file's folder in our packages and the kernels' version.

    The version stands in the name as several versions may share ``$NUMBA_CACHE_DIR``.
    """

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        # not the parent's: it asks for $NUMBA_CACHE_DIR
        self._py_file = file
        self._lineno = function.__code__.co_firstlineno
        folder = Path(file).resolve().parent.relative_to(_PIPELINES.parent)
        package = _PIPELINES.with_name(folder.parts[0])
        self._cache_path = str(compiled_folder() / "-".join((*folder.parts, _digest(package))))

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> KernelLocator | None:
        """The locator of a function; None for one outside our packages, such as of a user's file."""
        folder = Path(file).resolve().parent
        if folder == _PIPELINES.parent or not folder.is_relative_to(_PIPELINES.parent):
            return None
        return super(UserProvidedCacheLocator, cls).from_function(function, file)  # type: ignore[no-untyped-call]


@contextlib.contextmanager
def _own_locator() -> Iterator[None]:
    """Inside, numba asks ``KernelLocator`` first. A user's $NUMBA_CACHE_LOCATOR_CLASSES come before all."""
    others = CacheImpl._locator_classes
    CacheImpl._locator_classes = [KernelLocator, *others]
    try:
        yield
    finally:
        CacheImpl._locator_classes = others
