"""Shuffling BN: keys are normalized in other company than their queries (He et al., 2020, section 3.3).

With batch norms in groups smaller than the global batch, the statistics of a group tell which images are in
it, and a contrastive loss can be lowered by reading them. So images change groups before the teacher.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from fastssl.distributed.collectives import all_gather, first_row, world_size
from pipelines.batch import to_device
from pipelines.plan.order import permute


@torch.no_grad()
def forward_shuffled(network: Callable[[Tensor], Tensor], view: Tensor, draw: tuple[int, int]) -> Tensor:
    """``network(view)``, its images in a random order over the global batch while in the network.

    Args:
        network: [B, ...] to [B, D], without gradients.
        view: this process's images [B, ...].
        draw: seed and number of the shuffle.

    Returns:
        [B, D], in the order of ``view``.
    """
    count = len(view)
    order = permute(*draw, count * world_size(), np.arange(count * world_size()))
    own = slice(first_row(count), first_row(count) + count)
    positions = to_device(np.stack([order[own], np.argsort(order)[own]]), view.device)
    return all_gather(network(all_gather(view)[positions[0]]))[positions[1]]
