"""The studies, by the names that ``python -m launchers.sweep`` takes; each file names what it rebuilds.

A study is a file here with a function ``study(scale)``, and its name in the tuple: ``moco-ladder`` is that of
``moco_ladder.py``.
"""

from __future__ import annotations

from collections.abc import Callable
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

STUDIES: dict[str, Callable[[Scale], Study]] = {
    name: import_module(f"{__name__}.{name.replace('-', '_')}").study for name in _NAMES
}
