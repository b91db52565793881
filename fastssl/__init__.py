"""Views to weights to measurements of those weights."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastssl.export.load import embed as embed
    from fastssl.export.load import load_encoder as load_encoder

__version__ = "0.1.0"

# torch's CPU threads sleep while they wait for each other instead of spinning: the loader's threads need the
# cores. It must be set before torch is imported; an own setting is left alone.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# Several processes: torch would warn that the search for unused parameters found none; see
# fastssl.distributed.collectives.wrap_ddp. Its errors are still shown.
if {"WORLD_SIZE", "SLURM_STEP_NUM_TASKS"} & os.environ.keys():
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")


def __getattr__(name: str) -> Any:
    """``fastssl.load_encoder`` and ``fastssl.embed``, imported when asked for: they load torch."""
    if name not in ("embed", "load_encoder"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from fastssl.export import load

    return getattr(load, name)
