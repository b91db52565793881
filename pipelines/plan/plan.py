"""The batches of a run: the keyed order of training, or every sample once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipelines.command.errors import UserError
from pipelines.plan.order import BlockOrder, permute

Order = Literal["random", "blocks"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Assignment of samples to batches."""

    count: int
    """Samples in the source."""
    batch_size: int
    """Samples in the global batch, over all ranks."""
    batches_per_epoch: int
    """Global batches in an epoch."""
    seed: int = 0
    """Random seed of the order and of the views."""
    shuffle: bool = True
    """True for a keyed order; False: the order of the source (evaluation)."""
    order: Order = "random"
    """Kind of keyed order. "random": every sample anywhere, for memory and solid-state disks. "blocks": read
    in large sequential pieces and shuffled within a window, for slow storage (``order.BlockOrder``)."""
    block_size: int = 128
    """Samples read in one run."""
    blocks_per_window: int = 128
    """Blocks shuffled together. Memory must hold two windows: with the defaults and images of 110 KB, twice
    1.8 GB."""
    rank: int = 0
    world_size: int = 1
    """This process takes its contiguous share of each global batch."""

    def __post_init__(self) -> None:
        if self.batch_size % self.world_size:
            raise UserError(
                f"batch size {self.batch_size} cannot be shared equally by {self.world_size} processes: "
                f"choose a multiple of {self.world_size}"
            )

    def positions(self, step: int) -> np.ndarray:
        """Places in the epoch's order of this rank's part of a step's batch, int64 [B].

        Parts are contiguous: the ranks' joined are the global batch, whatever the world size.
        """
        share = self.batch_size // self.world_size
        first = step % self.batches_per_epoch * self.batch_size + self.rank * share
        return np.arange(first, min(first + share, self.count))

    def samples(self, epoch: int, positions: np.ndarray) -> np.ndarray:
        """Sample indices at places of an epoch's order, int64 [B]."""
        if not self.shuffle:
            return positions
        if self.order == "blocks":
            return self.block_order(epoch).samples(positions)
        return permute(self.seed, epoch, self.count, positions)

    def block_order(self, epoch: int) -> BlockOrder:
        """The order "blocks" of an epoch: its samples, and the runs in which they are to be read."""
        return BlockOrder(
            seed=self.seed,
            epoch=epoch,
            count=self.count,
            block_size=self.block_size,
            blocks_per_window=self.blocks_per_window,
        )


def evaluation_plan(count: int, batch_size: int, *, shuffle: bool = False) -> Plan:
    """Every sample once an epoch; the last batch may be smaller."""
    batches = -(-count // batch_size)
    return Plan(count=count, batch_size=batch_size, batches_per_epoch=batches, shuffle=shuffle)
