"""The operations on a view, and their order: one line each in ``Operations``; all else follows from it."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import get_args, get_type_hints

import numpy as np
import tyro

from pipelines.ops.center_crop import CenterCrop as CenterCrop
from pipelines.ops.channel_jitter import ChannelJitter as ChannelJitter
from pipelines.ops.channel_mean import ChannelMean as ChannelMean
from pipelines.ops.color_jitter import ColorJitter as ColorJitter
from pipelines.ops.cutout import Cutout as Cutout
from pipelines.ops.flip import Flip as Flip
from pipelines.ops.gaussian_blur import GaussianBlur as GaussianBlur
from pipelines.ops.grayscale import Grayscale as Grayscale
from pipelines.ops.lighting import Lighting as Lighting
from pipelines.ops.op import ChannelOp as ChannelOp
from pipelines.ops.op import Op as Op
from pipelines.ops.op import PlaceOp as PlaceOp
from pipelines.ops.op import PointOp as PointOp
from pipelines.ops.padded_crop import PaddedCrop as PaddedCrop
from pipelines.ops.random_resized_crop import RandomResizedCrop as RandomResizedCrop
from pipelines.ops.shift import Shift as Shift
from pipelines.ops.solarize import Solarize as Solarize
from pipelines.ops.whole_image import WholeImage as WholeImage


@dataclass(frozen=True, kw_only=True)
class Operations:
    """Operations on a view, in this order."""

    crop: tyro.conf.AvoidSubcommands[RandomResizedCrop | PaddedCrop | CenterCrop | WholeImage] = (
        RandomResizedCrop()
    )
    flip: Flip = Flip(p=0.5)
    jitter: ColorJitter = ColorJitter()
    grayscale: Grayscale = Grayscale()
    blur: GaussianBlur = GaussianBlur()
    solarize: Solarize = Solarize()
    lighting: Lighting = Lighting()
    channel_jitter: ChannelJitter = ChannelJitter()
    channel_mean: ChannelMean = ChannelMean()
    shift: Shift = Shift()
    cutout: Cutout = Cutout()


def _kinds(name: str) -> tuple[type[Op], ...]:
    hint = get_type_hints(Operations)[name]
    return get_args(hint) or (hint,)


# For each field of Operations the specs that it can hold: one, but for the kinds of crops.
KINDS: dict[str, tuple[type[Op], ...]] = {field.name: _kinds(field.name) for field in fields(Operations)}
# One spec for each field, in order: the kinds of one field share their fields of a row, and all but the draw.
OPS: tuple[type[Op], ...] = tuple(kinds[0] for kinds in KINDS.values())

# The drawn parameters of a view. Every field is 4 bytes wide: a table of rows is also an int32 matrix, which
# one copy takes to a device.
_FIELDS = [field for op in sorted(OPS, key=lambda op: op.streams) for field in op.fields]
VIEW_PARAMETERS = np.dtype([(field.name, field.kind, np.shape(field.neutral)) for field in _FIELDS])
# The row that changes nothing but has no box yet: VIEW_PARAMETERS [].
NEUTRAL = np.array(tuple(field.neutral for field in _FIELDS), VIEW_PARAMETERS)

# The operations on each pixel by itself, between color jitter and blur, and after blur.
_BLUR = OPS.index(GaussianBlur)
BEFORE_BLUR = tuple(op for op in OPS[:_BLUR] if issubclass(op, PointOp))
AFTER_BLUR = tuple(op for op in OPS[_BLUR:] if issubclass(op, PointOp))
# Those on the finished view, after ChannelJitter, which is folded into the normalization.
CHANNEL_OPS = tuple(op for op in OPS if issubclass(op, ChannelOp))
PLACE_OPS = tuple(op for op in OPS if issubclass(op, PlaceOp))
