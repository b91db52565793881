"""Projectors and predictors: two-layer perceptrons on an encoder, for training only."""

from __future__ import annotations

from typing import Literal

from torch import nn


def mlp(
    in_dim: int,
    hidden_dim: int | None,
    out_dim: int,
    norm: Literal["none", "batch", "layer"] = "batch",
) -> nn.Sequential:
    """Linear, normalisation, ReLU, Linear: features [B, in_dim] to embeddings [B, out_dim].

    Both linear layers have biases (the first one's has no effect before a batch norm), as in the public code
    of Huang et al., 2022, of all methods but S-MoCo v2+, whose last layers have none there. ``none`` is MoCo
    v2's head, ``batch`` BYOL's and MoCo v2+'s, ``layer`` that of MSBReg's variant without batch norm. Without
    ``hidden_dim`` it is one linear layer alone, MoCo v1's head.
    """
    if hidden_dim is None:
        return nn.Sequential(nn.Linear(in_dim, out_dim))
    hidden = nn.Linear(in_dim, hidden_dim)
    output = nn.Linear(hidden_dim, out_dim)
    if norm == "none":
        return nn.Sequential(hidden, nn.ReLU(inplace=True), output)
    normalisation = nn.BatchNorm1d(hidden_dim) if norm == "batch" else nn.LayerNorm(hidden_dim)
    return nn.Sequential(hidden, normalisation, nn.ReLU(inplace=True), output)


def projection_head(in_dim: int, hidden_dim: int, out_dim: int) -> nn.Sequential:
    """Linear, batch norm, ReLU, Linear, batch norm; no biases: [B, in_dim] to [B, out_dim].

    SimCLR's head by its authors' code (but for the last norm's offset, which that leaves out), and SiMo's
    (section 3 of Zhu et al., 2020: a batch norm at each fully connected layer).
    """
    return nn.Sequential(
        nn.Linear(in_dim, hidden_dim, bias=False),
        nn.BatchNorm1d(hidden_dim),
        nn.ReLU(inplace=True),
        nn.Linear(hidden_dim, out_dim, bias=False),
        nn.BatchNorm1d(out_dim),
    )
