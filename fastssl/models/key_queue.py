"""MoCo's queue: the teacher's embeddings of the last steps, which serve as negatives."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class KeyQueue(nn.Module):
    """A ring of K unit vectors that starts random, the oldest overwritten first.

    Where to write follows from the step, as every step brings equally many keys: there is no pointer to
    store, to read back from the device, or to disagree with the step after resuming.

    Attributes:
        keys: buffer, float32 [K, D].
    """

    keys: Tensor

    def __init__(self, size: int, dim: int) -> None:
        super().__init__()
        self.register_buffer("keys", functional.normalize(torch.randn(size, dim), dim=1))

    @torch.no_grad()
    def enqueue(self, keys: Tensor, step: int) -> None:
        """Write the keys of a step, those of all processes, [N, D], in their order.

        Args:
            keys: N <= K unit vectors, the same N at every step.
            step: from 0.
        """
        size = len(self.keys)
        start = step * len(keys) % size
        before_end = min(len(keys), size - start)
        self.keys[start : start + before_end] = keys[:before_end]
        self.keys[: len(keys) - before_end] = keys[before_end:]
