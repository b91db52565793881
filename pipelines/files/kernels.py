"""``njit`` for the kernels of this package. All copies of the same kernels share their compiled code.

Numba keeps compiled code by the path of its source: each sweep's snapshot, each clone and each installed copy
would compile for a minute what another one has compiled.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from numba import config
from numba import njit as njit
from numba.core.caching import CacheImpl, UserProvidedCacheLocator

from pipelines.files.kernel_cache import kernels_digest

_PACKAGE = Path(__file__).resolve().parents[1]


@cache
def _digest() -> str:
    return kernels_digest(_PACKAGE)


class KernelLocator(UserProvidedCacheLocator):
    """A folder in ``$NUMBA_CACHE_DIR`` named after a file's folder in this package and the kernels' version.

    The version stands in the name as a process may inherit ``$NUMBA_CACHE_DIR`` from one of another version.
    """

    def __init__(self, function: Callable[..., Any], file: str) -> None:
        super().__init__(function, file)  # type: ignore[no-untyped-call]
        folder = Path(file).resolve().parent.relative_to(_PACKAGE.parent)
        cache_dir: str = config.CACHE_DIR  # type: ignore[attr-defined]
        self._cache_path = str(Path(cache_dir) / "-".join((*folder.parts, _digest())))

    @classmethod
    def from_function(cls, function: Callable[..., Any], file: str) -> KernelLocator | None:
        """The locator of a function; None for one outside this package, or where no cache folder is set."""
        if not Path(file).resolve().is_relative_to(_PACKAGE):
            return None
        return super().from_function(function, file)  # type: ignore[no-untyped-call]


if getattr(config, "CACHE_LOCATOR_CLASSES", None) == "":  # numba before 0.62 has none; a user may have set it
    _others = (locator.__name__ for locator in CacheImpl._locator_classes)
    _all = ",".join((f"{__name__}.{KernelLocator.__name__}", *_others))
    config.CACHE_LOCATOR_CLASSES = _all  # type: ignore[attr-defined]
