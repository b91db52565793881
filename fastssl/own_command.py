"""A process that is one of our own commands: its import path, its environment, its --help.

All of it is done before the command's module is imported, and nothing of it in a program of the user's that
imports our packages.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

HOUSES = ("pipelines", "fastssl", "launchers", "benchmarks")


def module_to_run(argv: Sequence[str], original: Sequence[str]) -> str:
    """The module of ours that ``python -m`` is looking for; "" if it does not, or looks for another.

    Args:
        argv: ``sys.argv``: -m and the command's words, as long as the module is looked for.
        original: ``sys.orig_argv``: Python, its own words, -m, the module, the command's words.
    """
    if argv[:1] != ["-m"] or len(original) < len(argv):
        return ""
    name = original[-len(argv)].removeprefix("-m")
    return name if name.split(".")[0] in HOUSES else ""


def find_pipelines(is_own_command: bool) -> None:
    """Refuse to run where another ``pipelines`` hides ours, such as a folder of the user's of that name.

    Args:
        is_own_command: ``python -m`` runs a module of ours: the current folder, which it searches first, is
            left out then.

    Raises:
        ImportError: another one would be imported.
    """
    ours = Path(__file__).resolve().parents[1] / "pipelines"

    def found() -> list[Path]:
        spec = find_spec("pipelines")
        return [Path(place).resolve() for place in (spec and spec.submodule_search_locations) or ()]

    if is_own_command and ours not in found():
        del sys.path[0]
    if ours not in found():
        hides = found()[0] if found() else "something"
        raise ImportError(f"{hides} hides {ours}: rename it, or run from another folder")


def start(module: str, words: Sequence[str]) -> None:
    """Prepare this process for a command of ``module``, with the words behind it.

    Raises:
        SystemExit: status 0, where the words ask for a page that needs no import of the command.
    """
    prepare_environment()
    from fastssl.help_pages import page, show  # of pipelines, which is ours now

    text = page(module, words)
    if text is not None:
        show(text)
        raise SystemExit(0)


def prepare_environment() -> None:
    """Set what torch reads as it is loaded, here and in child processes; the user's own settings stay."""
    # torch's CPU threads sleep while they wait for each other instead of spinning: the loader's threads need
    # the cores
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Several processes: torch would warn that the search for unused parameters found none; see
    # fastssl.distributed.collectives.wrap_ddp. Its errors are still shown.
    if {"WORLD_SIZE", "SLURM_STEP_NUM_TASKS"} & os.environ.keys():
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
