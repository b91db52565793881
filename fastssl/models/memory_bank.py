"""A memory of one embedding for each training image, which serves as keys (Wu, Xiong, Yu, Lin, 2018)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


class MemoryBank(nn.Module):
    """One vector for each image, uniform at first, then a moving average of its embeddings at length 1.

    Attributes:
        rows: buffer, float32 [images, D].
    """

    rows: Tensor

    def __init__(self, images: int, dim: int) -> None:
        super().__init__()
        bound = math.sqrt(3 / dim)
        self.register_buffer("rows", torch.empty(images, dim).uniform_(-bound, bound))

    def similarities(self, queries: Tensor, places: Tensor) -> Tensor:
        """Dot products of queries [B, D] and the rows at ``places``, int64 [B, K]: [B, K]."""
        rows = self.rows[places].to(queries.dtype)
        return torch.bmm(rows, queries[:, :, None]).squeeze(2)

    @torch.no_grad()
    def update(self, places: Tensor, embeddings: Tensor, momentum: float) -> None:
        """Move the rows at ``places``, int64 [N], towards embeddings [N, D], and back to length 1."""
        moved = momentum * self.rows[places] + (1 - momentum) * embeddings.to(self.rows.dtype)
        self.rows.index_copy_(0, places, functional.normalize(moved, dim=1))
