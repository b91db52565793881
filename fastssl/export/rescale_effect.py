"""Effect of NormRescale on features: their linear CKA before and after, on images."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass

import numpy as np
from torch import nn

from fastssl.distributed.device import choose_device
from fastssl.evaluate.features import FeatureConfig, extract, require_finite
from fastssl.metrics.cka import linear_cka
from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages, default_limit
from pipelines.plan.order import keyed_sample
from pipelines.sources import open_source
from pipelines.sources.subset import Subset
from pipelines.views import ViewSpec

_MOST_IMAGES = 2048


@dataclass(frozen=True, kw_only=True)
class Effect:
    """Similarity of an encoder's pooled features before and after."""

    cka: float
    """Linear CKA, exact; NaN where all features of one are equal."""
    images: int
    """Images that it is of."""
    data: str
    """The images as they were named."""

    def __str__(self) -> str:
        value = "undefined (all features are equal)" if math.isnan(self.cka) else f"{self.cka:.4f}"
        return f"linear CKA of the features before and after: {value}, {self.images} images of {self.data}"


def rescale_effect(before: nn.Module, after: nn.Module, spec: ViewSpec, where: str) -> Effect:
    """Compare two encoders by the features of at most 2048 training images, drawn by key, in float32.

    Args:
        before, after: [B, 3, S, S] to [B, D], on the CPU, where they stay.
        spec: the view of an image.
        where: images, as ``--data`` of the training names them; labels are not read.

    Raises:
        UserError: the images cannot be read, there is one alone, or a feature is not finite.
    """
    source = open_source(where, "train")
    count = len(source.index)
    if count < 2:
        raise UserError(f"--data {where} has one image, and CKA needs two: give more")
    chosen = np.sort(keyed_sample("norm-rescale", count, _MOST_IMAGES))
    device = choose_device("auto")
    config = FeatureConfig(spec=spec, device=device, bad_images=BadImages(None, default_limit(count)))
    rows = []
    for name, encoder in (("before", before), ("after", after)):
        encoder = copy.deepcopy(encoder).to(device)
        found, _ = extract(encoder, Subset(source, chosen), config, f"features {name}")
        require_finite(found, f"features {name} NormRescale")
        rows.append(found)
    return Effect(cka=linear_cka(*rows), images=len(chosen), data=where)
