"""Views to weights to measurements of those weights."""

import os
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastssl.export.load import embed as embed
    from fastssl.export.load import load_encoder as load_encoder

__version__ = "0.1.0"


def _check_pipelines() -> None:
    """Refuse to run where another ``pipelines`` hides ours, such as a folder of the user's of that name.

    ``python -m`` searches the current folder first: for it that folder is left out.

    Raises:
        ImportError: another one would be imported.
    """
    ours = Path(__file__).resolve().parents[1] / "pipelines"

    def found() -> list[Path]:
        spec = find_spec("pipelines")
        return [Path(place).resolve() for place in (spec and spec.submodule_search_locations) or ()]

    if ours not in found() and sys.argv[:1] == ["-m"]:  # while python -m looks for its module
        del sys.path[0]
    if ours not in found():
        raise ImportError(
            f"{found()[0] if found() else 'something'} hides {ours}: rename it, or run from another folder"
        )


_check_pipelines()

# torch's CPU threads sleep while they wait for each other instead of spinning: the loader's threads need the
# cores. It is set here and not by the commands' ``main``, since their modules import torch, which reads it as
# it is loaded; an own setting is left alone.
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
