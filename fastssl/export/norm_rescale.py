"""NormRescale: the norm of each tensor from an anchor, its direction as it was; its effect on features.

Huang et al., Revisiting the critical factors of augmentation-invariant representation learning (2022), eq. 3.

Networks trained by LARS have weights of several times the norm of those trained by SGD, and fine-tuning with
settings made for the latter moves them too little. The rescaled tensor is ``|anchor| * weight / |weight|``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from fastssl.distributed.device import choose_device
from fastssl.evaluate.features import FeatureConfig, extract, require_finite
from fastssl.export.load import open_encoder
from fastssl.metrics.cka import linear_cka
from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages, default_limit
from pipelines.plan.order import keyed_sample
from pipelines.sources import open_source
from pipelines.sources.subset import Subset
from pipelines.views import ViewSpec

Which = Literal["weights-and-biases", "all"]
_CONSTANT = "constant="
_MOST_IMAGES = 2048


@dataclass(frozen=True, kw_only=True)
class Rescaled:
    """Effect of a rescaling: how many tensors, and by which ratios."""

    tensors: int
    """Tensors that have a new norm."""
    zeros: int
    """Tensors of norm zero, which have no direction: they stay zero."""
    smallest: float
    """Smallest ratio of a tensor's norm after to before; NaN where none was rescaled."""
    largest: float
    """Largest such ratio."""

    def __str__(self) -> str:
        kept = f"; {self.zeros} of norm zero stay" if self.zeros else ""
        return f"{self.tensors} tensors, their norms times {self.smallest:.3g} to {self.largest:.3g}{kept}"


def anchor_of(anchor: str) -> Mapping[str, Tensor] | float:
    """The anchor that an option names, in the form that ``rescale`` takes.

    Args:
        anchor: ``constant=FACTOR``, or a run, checkpoint or file of weights.

    Raises:
        UserError: the factor is not positive and finite, or there is no such encoder.
    """
    if not anchor.startswith(_CONSTANT):
        return open_encoder(Path(anchor).expanduser()).encoder.state_dict()
    try:
        factor = float(anchor.removeprefix(_CONSTANT))
    except ValueError:
        factor = math.nan
    if not 0 < factor < math.inf:
        raise UserError(f"--norm-rescale {anchor}: the constant is a positive number, such as constant=0.1")
    return factor


@torch.no_grad()
def rescale(encoder: nn.Module, anchor: Mapping[str, Tensor] | float, which: Which) -> Rescaled:
    """Give each tensor of an encoder the norm of its namesake in the anchor, in place.

    Args:
        encoder: its tensors are changed.
        anchor: state_dict of a network of the same architecture; or the factor of every norm.
        which: weights and biases, batch norms' included; or also the running means and variances, as the
            authors' code does.

    Raises:
        UserError: the anchor is of another architecture.
    """
    own = dict(encoder.named_parameters()) if which == "weights-and-biases" else encoder.state_dict()
    own = {name: value for name, value in own.items() if value.is_floating_point()}
    if not isinstance(anchor, float):
        astray = [name for name, value in own.items() if getattr(anchor.get(name), "shape", 0) != value.shape]
        if astray:
            raise UserError(
                f"--norm-rescale: the anchor has another architecture ({len(astray)} of {len(own)} tensors "
                f"are missing or have another shape, first {astray[0]}): give one of the same"
            )
    ratios, zeros = [], 0
    for name, value in own.items():
        norm = value.double().norm().item()
        if norm == 0:
            zeros += 1
            continue
        ratio = anchor if isinstance(anchor, float) else anchor[name].double().norm().item() / norm
        value.copy_(value.double() * ratio)
        ratios.append(ratio)
    smallest, largest = min(ratios, default=math.nan), max(ratios, default=math.nan)
    return Rescaled(tensors=len(ratios), zeros=zeros, smallest=smallest, largest=largest)


def rescale_effect(before: nn.Module, after: nn.Module, spec: ViewSpec, where: str) -> tuple[float, int]:
    """Compare two encoders by the features of at most 2048 training images, drawn by key, in float32.

    Args:
        before, after: [B, 3, S, S] to [B, D], on the CPU, where they stay.
        spec: the view of an image.
        where: images, as ``--data`` of the training names them; labels are not read.

    Returns:
        linear CKA of the pooled features, exact (NaN where all of one are equal), and the number of images.

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
    return linear_cka(*rows), len(chosen)
