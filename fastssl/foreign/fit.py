"""The ResNet and the layout that a file's tensors fit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from fastssl.foreign.layouts import COUNTER, LAYOUTS, Layout
from fastssl.models import Backbone, ResNet
from fastssl.models.backbone import build_backbone
from pipelines.command.errors import UserError

_DEPTHS: tuple[Literal[18, 50, 101], ...] = (18, 50, 101)


@dataclass(frozen=True, kw_only=True)
class _Fit:
    """Names of a file against those of one ResNet in one layout."""

    layout: str
    depth: Literal[18, 50, 101]
    names: Mapping[str, str]
    """Their name of each of ours."""
    missing: tuple[str, ...]
    """Their names that the file lacks."""
    unknown: tuple[str, ...]
    """Names in the file, among those of the encoder, that the ResNet lacks."""

    @property
    def misfits(self) -> int:
        return len(self.missing) + len(self.unknown)


def fit_resnet(
    tensors: Mapping[str, Tensor], path: Path, layout: str | None = None
) -> tuple[str, ResNet.Config, dict[str, Tensor]]:
    """The ResNet of a file.

    Args:
        tensors: by the names of the file; those outside the encoder (classifier, projector, teacher, queue)
            are left out.
        path: of the file, for messages.
        layout: key of ``LAYOUTS``; None: the one that fits.

    Returns:
        the layout, the config of the backbone, and its state_dict.

    Raises:
        UserError: it is none, or not in this layout.
    """
    best = _closest(tensors, (layout,) if layout else tuple(LAYOUTS))
    if best.misfits:
        raise UserError(_misfit_line(path, best, _closest(tensors, tuple(LAYOUTS)), layout))
    state = {ours: tensors[theirs] for ours, theirs in best.names.items() if theirs in tensors}
    config = _config(best.depth, state["conv1.weight"])
    shapes = {name: value.shape for name, value in on_meta(config).state_dict().items()}
    astray = [name for name, value in state.items() if value.shape != shapes[name]]
    if astray:
        ours, theirs = list(shapes[astray[0]]), list(state[astray[0]].shape)
        raise UserError(
            f"{path} has the names of a {config.label}, but {len(astray)} of {len(state)} tensors have other "
            f"shapes, first {best.names[astray[0]]}: {theirs}, not {ours}; another model of timm loads by "
            "--layout timm:MODEL"
        )
    zero = torch.zeros((), dtype=torch.int64)
    return best.layout, config, {name: state.get(name, zero) for name in shapes}


def _closest(tensors: Mapping[str, Tensor], layouts: tuple[str, ...]) -> _Fit:
    """The layout, prefix and depth whose names differ least from a file's; the first of equals."""
    return min(
        (
            _compare(tensors, name, LAYOUTS[name], prefix, depth)
            for name in layouts
            for prefix in LAYOUTS[name].prefixes
            for depth in _DEPTHS
        ),
        key=lambda fit: fit.misfits,
    )


def _compare(
    tensors: Mapping[str, Tensor], name: str, layout: Layout, prefix: str, depth: Literal[18, 50, 101]
) -> _Fit:
    names = {ours: prefix + layout.rename(ours) for ours in _names(depth)}
    expected = set(names.values())
    rooms = {theirs.removeprefix(prefix).split(".")[0] for theirs in expected}
    inside = (there for there in tensors if there.startswith(prefix) and ".fc." not in f".{there}")
    return _Fit(
        layout=name,
        depth=depth,
        names=names,
        missing=tuple(n for n in names.values() if n not in tensors and not n.endswith(COUNTER)),
        unknown=tuple(n for n in inside if n not in expected and n[len(prefix) :].split(".")[0] in rooms),
    )


def _config(depth: Literal[18, 50, 101], stem: Tensor) -> ResNet.Config:
    """The width is read from the channels of the stem's weight, the kind of stem from its kernel."""
    width = stem.shape[0] / 64 if stem.dim() == 4 else 1.0
    return ResNet.Config(depth=depth, width=width, stem="cifar" if stem.shape[-1:] == (3,) else "imagenet")


def on_meta(config: ResNet.Config) -> Backbone:
    """A network without memory for its weights."""
    with torch.device("meta"):
        return build_backbone(config)


@cache
def _names(depth: Literal[18, 50, 101]) -> tuple[str, ...]:
    return tuple(on_meta(ResNet.Config(depth=depth)).state_dict())


def _misfit_line(path: Path, best: _Fit, closest: _Fit, layout: str | None) -> str:
    if layout is not None and not closest.misfits:
        return f"{path} is not in the layout {layout} but in {closest.layout}: give that, or leave it out"
    if len(best.missing) >= sum(not name.endswith(COUNTER) for name in best.names.values()):
        return (
            f"{path} is in no known layout of a ResNet ({', '.join(LAYOUTS)}): rename its tensors to "
            "torchvision's, or load a model of timm by --layout timm:MODEL"
        )
    parts = (("missing", best.missing), ("unknown", best.unknown))
    said = " and ".join(f"{len(names)} {kind} (first {names[0]})" for kind, names in parts if names)
    return (
        f"{path} is closest to the layout {best.layout} of a ResNet-{best.depth}, but tensors are {said}: "
        "the ResNets known are 18, 50 and 101, another model of timm loads by --layout timm:MODEL"
    )
