"""Layouts: the names that other libraries and codes give to the tensors of a ResNet.

Ours are torchvision's. A layout renames them, behind one of its prefixes.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from pipelines.command.errors import UserError
from pipelines.command.suggest import suggest

COUNTER = "num_batches_tracked"  # end of a name: missing in many files, nothing is computed from it
TIMM_MODEL = "timm:"  # and a name of ``timm.list_models()``: its own network, whatever it is


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Names of a ResNet's tensors in files of one origin."""

    prefixes: tuple[str, ...] = ("", "module.")
    """What may stand before each name; ``module.`` is DistributedDataParallel's."""
    rename: Callable[[str], str] = str
    """Our name (torchvision's) to theirs, without the prefix."""


def _behind(*parts: str) -> Layout:
    """torchvision's names behind the name of the encoder in a whole method."""
    return Layout(prefixes=tuple(module + part for part in parts for module in ("", "module.")))


def _detectron2(name: str) -> str:
    """Names of detectron2, by the map of MoCo's and torchvision's converters to it."""
    name = name if name.startswith("layer") else f"stem.{name}"
    name = re.sub(r"^layer(\d)", lambda stage: f"res{int(stage[1]) + 1}", name)
    name = re.sub(r"\bbn(\d)", r"conv\1.norm", name)
    return name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")


def _transformers(name: str) -> str:
    """Names of ``transformers.ResNetModel``."""
    name = re.sub(r"^(conv|bn)1", r"embedder.embedder.\1", name)
    name = re.sub(r"^layer(\d)\.(\d+)", lambda at: f"encoder.stages.{int(at[1]) - 1}.layers.{at[2]}", name)
    name = re.sub(r"\b(conv|bn)(\d)", lambda at: f"layer.{int(at[2]) - 1}.{at[1]}", name)
    name = name.replace("downsample.0", "shortcut.conv").replace("downsample.1", "shortcut.bn")
    return re.sub(r"\bbn\b", "normalization", re.sub(r"\bconv\b", "convolution", name))


LAYOUTS = {
    "torchvision": Layout(),
    "timm": Layout(),  # its plain ResNets have torchvision's names
    "moco": _behind("encoder_q."),  # versions 1 and 2
    "moco-v3": _behind("base_encoder.", "momentum_encoder."),
    "simsiam": _behind("encoder."),
    "detectron2": Layout(prefixes=("", "backbone.", "backbone.bottom_up."), rename=_detectron2),
    "transformers": Layout(prefixes=("", "resnet."), rename=_transformers),
}
"""Layouts by name, in the order in which they are tried where none is given."""


def chosen_layout(name: str | None) -> str | None:
    """The layout of a name, a key of ``LAYOUTS`` or ``timm:MODEL``; None (the one that fits) for ``auto``.

    Raises:
        UserError: there is none of this name.
    """
    if name is None or name == "auto":
        return None
    if name not in LAYOUTS and not name.startswith(TIMM_MODEL):
        known = f"{', '.join(LAYOUTS)} or timm:MODEL"
        raise UserError(f"no layout {name}: {suggest(name, LAYOUTS, otherwise=f'give {known}')}")
    return name
