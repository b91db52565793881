"""The shape of a ResNet as other libraries describe it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from fastssl.export.load import OpenedEncoder
from fastssl.models import ResNet
from pipelines.command.errors import UserError


@dataclass(frozen=True, kw_only=True)
class ResNetShape:
    """Layers and channels of a ResNet with the 7x7 stem."""

    depth: int
    """Layers, as in its name."""
    width: float
    """Multiple of torchvision's channels."""
    kind: Literal["basic", "bottleneck"]
    """Kind of its blocks."""
    blocks: tuple[int, ...]
    """Blocks per stage."""
    stem_channels: int
    """Channels of the first convolution."""
    inner_channels: int
    """Channels of the 3x3 convolutions of the first stage."""
    channels: tuple[int, ...]
    """Channels of each stage's map."""


def resnet_shape(opened: OpenedEncoder, library: str) -> ResNetShape:
    """The shape of an encoder for a library whose ResNets have the 7x7 stem and take RGB.

    Raises:
        UserError: the encoder is none of these.
    """
    config, spec = opened.backbone, opened.encoder.transform.spec
    if not isinstance(config, ResNet.Config) or config.stem != "imagenet":
        raise UserError(
            f"{library} has no such network ({_label(opened)}): a ResNet-18, 50 or 101 with the 7x7 stem "
            "fits there; --to safetensors takes every encoder"
        )
    if spec.color_space != "rgb":
        raise UserError(f"{library} shows its networks RGB, not {spec.color_space}: use --to safetensors")
    layers = [getattr(opened.encoder, f"layer{stage}") for stage in (1, 2, 3, 4)]
    kind: Literal["basic", "bottleneck"] = "bottleneck" if hasattr(layers[0][0], "conv3") else "basic"
    last = "conv3" if kind == "bottleneck" else "conv2"
    return ResNetShape(
        depth=config.depth,
        width=config.width,
        kind=kind,
        blocks=tuple(len(layer) for layer in layers),
        stem_channels=opened.encoder.conv1.out_channels,  # type: ignore[union-attr, arg-type]
        inner_channels=layers[0][0].conv2.out_channels,
        channels=tuple(getattr(layer[0], last).out_channels for layer in layers),
    )


def plain_resnet(opened: OpenedEncoder, library: str) -> ResNetShape:
    """The same of a library that builds ResNets by name, at their own width.

    Raises:
        UserError: the encoder is none.
    """
    shape = resnet_shape(opened, library)
    if shape.width != 1:
        raise UserError(f"{library} names no {_label(opened)}: --to safetensors takes every encoder")
    return shape


def _label(opened: OpenedEncoder) -> str:
    stem = getattr(opened.backbone, "stem", "imagenet")
    return opened.backbone.label + (f" with the {stem} stem" if stem != "imagenet" else "")
