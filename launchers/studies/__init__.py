"""The studies, by the names that ``python -m launchers.sweep`` takes; each file names what it rebuilds.

A study is a file here with a function ``study(scale)``, and its name in the tuple: ``moco-ladder`` is that of
``moco_ladder.py``, whose docstring the report shows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from importlib import import_module

from launchers.sweeps.study import Scale, Study

_NAMES = (
    "tiny",
    "moco-ladder",
    "moco-ladder-lars",
    "crossover",
    "norm-rescale",
    "symmetric",
    "eqco",
    "mi-bound",
    "batch-size",
    "msbreg",
    "msbreg-coco",
    "simo-coco",
    "norms",
    "uniformity",
    "epochs",
    "class-share",
    "longtail",
    "taxonomies",
    "augmentations",
    "architectures",
    "utility",
    "utility-modern",
    "cross-transfer",
    "pretext-tuning",
    "backbones",
    "probing",
)


def _of_file(name: str) -> Callable[[Scale], Study]:
    """The study of a file, under the file's name and with its docstring."""
    file = import_module(f"{__name__}.{name.replace('-', '_')}")

    def study(scale: Scale) -> Study:
        return replace(file.study(scale), name=name, about=file.__doc__)

    study.__doc__ = file.__doc__
    return study


STUDIES = {name: _of_file(name) for name in _NAMES}
