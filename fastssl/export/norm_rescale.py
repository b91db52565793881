"""NormRescale: the norm of each tensor from an anchor, its direction as it was.

Huang et al., Revisiting the critical factors of augmentation-invariant representation learning (2022), eq. 3.

Networks trained by LARS have weights of several times the norm of those trained by SGD, and fine-tuning with
settings made for the latter moves them too little. The rescaled tensor is ``|anchor| * weight / |weight|``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from fastssl.export.load import open_encoder
from pipelines.command.errors import UserError

Which = Literal["weights-and-biases", "all"]
_CONSTANT = "constant="


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
