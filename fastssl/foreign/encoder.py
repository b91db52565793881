"""Encoders of other libraries as backbones, with the view they are shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from fastssl.foreign.fit import fit_resnet, on_meta
from fastssl.foreign.layouts import LAYOUTS, TIMM_MODEL, chosen_layout
from fastssl.foreign.weight_file import read_weight_file, tensors_by_name
from fastssl.models import Backbone, ResNet, Timm
from fastssl.models.backbone import build_backbone
from pipelines.command.errors import UserError
from pipelines.views import ViewSpec, evaluation_spec

_CENTER_FRACTION = 224 / 256  # of ImageNet's test view in every paper
_CIFAR_SIZE = 32
_RES5 = "roi_heads.res5."  # the fourth stage of detectron2's C4 detectors, which lies in their head


@dataclass(frozen=True, kw_only=True)
class ForeignEncoder:
    """An encoder from a file of weights."""

    encoder: Backbone
    """[B, 3, S, S] to [B, D], in evaluation mode on the CPU."""
    backbone: Backbone.Config
    """Its architecture."""
    spec: ViewSpec
    """The view of an image that it is shown: ImageNet's test view, or what timm's model states."""
    layout: str
    """Key of ``LAYOUTS``, or ``timm:MODEL``."""


def foreign_encoder(
    path: Path, layout: str | None = None, content: Mapping[str, Any] | None = None
) -> ForeignEncoder:
    """Load an encoder from a file of weights that another library or code has written.

    Args:
        path: ``.safetensors``, detectron2's ``.pkl`` (an encoder or a C4 detector), or a file of
            ``torch.save``.
        layout: key of ``LAYOUTS`` or ``timm:MODEL``; None: the one that fits.
        content: of the file, where it has been read already.

    Raises:
        UserError: no such layout, or the file is unfit.
    """
    layout = chosen_layout(layout)
    content = read_weight_file(path) if content is None else content
    if is_checkpoint(content):
        raise UserError(f"{path} is a checkpoint of a run, not foreign weights: name it without a layout")
    tensors = _with_res5_in_backbone(tensors_by_name(content, path))
    if layout is not None and layout.startswith(TIMM_MODEL):
        return _timm_encoder(tensors, path, layout.removeprefix(TIMM_MODEL))
    found, config, state = fit_resnet(tensors, path, layout)
    encoder = on_meta(config)
    encoder.load_state_dict(state, assign=True)
    return ForeignEncoder(encoder=encoder.eval(), backbone=config, spec=_resnet_spec(config), layout=found)


def is_checkpoint(content: Mapping[str, Any]) -> bool:
    """True if a file's content is that of a checkpoint of ours."""
    return {"config", "encoder", "step"} <= content.keys()


def _with_res5_in_backbone(tensors: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """A C4 detector's tensors with its whole encoder under ``backbone.``; other tensors as they are."""
    return {
        name.replace(_RES5, "backbone.res5."): value
        for name, value in tensors.items()
        if not name.startswith(f"{_RES5}norm.")
    }


def _resnet_spec(config: ResNet.Config) -> ViewSpec:
    """ImageNet's test view, 224 pixels of 256; with CIFAR's stem the whole image at 32 pixels."""
    if config.stem == "cifar":
        return evaluation_spec(ViewSpec(size=_CIFAR_SIZE), 1.0)
    return evaluation_spec(ViewSpec(), _CENTER_FRACTION)


def _timm_encoder(tensors: Mapping[str, Tensor], path: Path, name: str) -> ForeignEncoder:
    """A model of timm; the tensors of its classifier are left out.

    Raises:
        UserError: timm is missing or has no such model, or the tensors are another model's.
    """
    config = Timm.Config(name=name)
    encoder = build_backbone(config)
    network: Any = encoder.network
    own = network.state_dict()
    prefixes = {prefix: None for layout in LAYOUTS.values() for prefix in layout.prefixes}
    prefix = min(prefixes, key=lambda prefix: sum(prefix + there not in tensors for there in own))
    theirs = {there[len(prefix) :]: value for there, value in tensors.items() if there.startswith(prefix)}
    astray = [there for there in own if there not in theirs or theirs[there].shape != own[there].shape]
    if astray:
        raise UserError(
            f"{path} does not fit timm's {name}: {len(astray)} of {len(own)} tensors are missing or have "
            f"another shape, first {astray[0]}; choose another model"
        )
    network.load_state_dict({there: theirs[there] for there in own})
    about = network.pretrained_cfg
    size, mean, std = about["input_size"][-1], about["mean"], about["std"]
    spec = evaluation_spec(ViewSpec(size=size, mean=mean, std=std), about.get("crop_pct", 1.0))
    return ForeignEncoder(encoder=encoder.eval(), backbone=config, spec=spec, layout=TIMM_MODEL + name)
