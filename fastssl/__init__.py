"""Views to weights to measurements of those weights."""

import sys
from typing import TYPE_CHECKING, Any

from fastssl.own_command import find_pipelines, module_to_run, start

if TYPE_CHECKING:
    from fastssl.export.load import embed as embed
    from fastssl.export.load import load_encoder as load_encoder

__version__ = "0.2.0"


_module = module_to_run(sys.argv, sys.orig_argv)
find_pipelines(is_own_command=bool(_module))
if _module:
    start(_module, sys.argv[1:])


def __getattr__(name: str) -> Any:
    """``fastssl.load_encoder`` and ``fastssl.embed``, imported when asked for: they load torch."""
    if name not in ("embed", "load_encoder"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fastssl.export import load

    return getattr(load, name)
