"""Heads: projectors and predictors on an encoder, for training only."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from pipelines.command.ranges import Count, FewCount, check_ranges

Norm = Literal["batch", "layer", "none"]
_NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class Head(nn.Sequential):
    """A multi-layer perceptron: features [B, in_dim] to embeddings [B, out_dim].

    Each hidden layer is Linear, normalization, ReLU; the last one is Linear and, with ``out_norm``, one more
    normalization. BYOL's and MoCo v2+'s heads have batch norms in their hidden layers; MoCo v2's have none;
    MoCo v1's is one linear layer. SimCLR's (by its authors' code, but for the last norm's offset, which that
    leaves out) and SiMo's (section 3 of Zhu et al., 2020) have a batch norm at each linear layer and no bias.
    """

    @dataclass(frozen=True, kw_only=True)
    class Config:
        """Shape of a head. The defaults are those of Huang et al., 2022."""

        layers: FewCount = 2
        """Linear layers."""
        hidden_dim: Count = 4096
        """Units of each hidden layer; unused in a head of one layer."""
        out_dim: Count = 256
        """D, of the embeddings."""
        norm: Norm = "batch"
        """Normalization of the hidden layers."""
        out_norm: Norm = "none"
        """Normalization of the output. `batch` centers a teacher's embeddings, nearly all alike in an
        untrained network: a short run cannot wait until training has spread them."""
        bias: bool = True
        """Biases in the linear layers (without effect before a batch norm)."""
        weight_standardization: bool = False
        """Each unit's weights at mean 0 and variance 1 in every forward pass (Qiao et al., 2019)."""

        def __post_init__(self) -> None:
            check_ranges(self, "head ")

        def small(self) -> Self:
            """The same head at test size."""
            return replace(self, hidden_dim=min(512, self.hidden_dim), out_dim=min(128, self.out_dim))

    def __init__(self, in_dim: int, config: Config) -> None:
        parts: list[nn.Module] = []
        for _ in range(config.layers - 1):
            parts += [*_layer(config, in_dim, config.hidden_dim, config.norm), nn.ReLU(inplace=True)]
            in_dim = config.hidden_dim
        super().__init__(*parts, *_layer(config, in_dim, config.out_dim, config.out_norm))


def _layer(config: Head.Config, in_dim: int, out_dim: int, norm: Norm) -> list[nn.Module]:
    kind = StandardizedLinear if config.weight_standardization else nn.Linear
    linear = kind(in_dim, out_dim, bias=config.bias)
    return [linear] if norm == "none" else [linear, _NORMS[norm](out_dim)]


class StandardizedLinear(nn.Linear):
    """Linear layer with weight standardization (Qiao, Wang, Liu, Shen, Yuille, 2019)."""

    def forward(self, x: Tensor) -> Tensor:
        """[B, in] to [B, out], with each unit's weights at mean 0 and variance 1 (float32)."""
        variance, mean = torch.var_mean(self.weight, 1, correction=0, keepdim=True)
        return functional.linear(x, (self.weight - mean) * torch.rsqrt(variance + 1e-5), self.bias)
