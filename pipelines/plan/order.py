"""Keyed sample orders, computed, never stored.

Random: position p of epoch e holds sample ``permute(seed, e, n, p)``, a bijection of [0, n): a Feistel
network of twelve rounds over the smallest even number of bits that holds n, walked until it lands below n
(Black and Rogaway, "Ciphers with arbitrary finite domains", 2002). O(1) memory for any n; resuming is one
integer.

Blocks, for slow storage: ``BlockOrder``. The samples are cut into blocks of neighbors, the blocks are
permuted, a window of them at a time is read in whole runs, and within the window the samples are permuted
(the idea of FFCV's quasi-random order; Leclerc et al., 2023). It is made of the same bijections.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from pipelines.files.kernels import njit
from pipelines.keys import absorb, stable_id

_ROUNDS = 12  # eight leave the positions of tiny sets uneven by about 1 %: test_order.py
_OF_BLOCKS, _IN_WINDOW = -1, -2  # keys: no index of a round, so that no order repeats a part of another


@njit(cache=True)
def _encrypt(state: np.uint64, value: int, half_bits: int) -> int:
    mask = (1 << half_bits) - 1
    left, right = value >> half_bits, value & mask
    for round_index in range(_ROUNDS):
        mixed = absorb(absorb(state, round_index), right)
        left, right = right, left ^ (int(mixed >> np.uint64(32)) & mask)
    return (left << half_bits) | right


@njit(cache=True)
def _decrypt(state: np.uint64, value: int, half_bits: int) -> int:
    mask = (1 << half_bits) - 1
    left, right = value >> half_bits, value & mask
    for round_index in range(_ROUNDS - 1, -1, -1):
        mixed = absorb(absorb(state, round_index), left)
        left, right = right ^ (int(mixed >> np.uint64(32)) & mask), left
    return (left << half_bits) | right


@njit(cache=True)
def _half_bits(count: int) -> int:
    half_bits = 1
    while (1 << (2 * half_bits)) < count:
        half_bits += 1
    return half_bits


@njit(cache=True)
def _forward(state: np.uint64, count: int, position: int) -> int:
    """Value of the bijection of [0, count) keyed by ``state`` at a position."""
    half_bits = _half_bits(count)
    value = _encrypt(state, position, half_bits)
    while value >= count:  # at most four walks on average: the domain is at most 4 * count
        value = _encrypt(state, value, half_bits)
    return value


@njit(cache=True)
def _backward(state: np.uint64, count: int, value: int) -> int:
    """Inverse of ``_forward``: the position of a value."""
    half_bits = _half_bits(count)
    position = _decrypt(state, value, half_bits)
    while position >= count:
        position = _decrypt(state, position, half_bits)
    return position


@njit(cache=True, nogil=True)
def _permute(seed: int, epoch: int, count: int, positions: np.ndarray, out: np.ndarray) -> None:
    state = absorb(absorb(np.uint64(0), seed), epoch)
    for i in range(len(positions)):
        out[i] = _forward(state, count, positions[i])


def permute(seed: int, epoch: int, count: int, positions: np.ndarray) -> np.ndarray:
    """The samples at ``positions`` (int64 [B], in [0, count)) of an epoch's order.

    Returns:
        int64 [B]: distinct positions give distinct samples.
    """
    out = np.empty(len(positions), np.int64)
    _permute(seed, epoch, count, positions, out)
    return out


def keyed_sample(purpose: str, count: int, most: int, *, seed: int = 0) -> np.ndarray:
    """Choose at most ``most`` of ``count`` samples by key: int64 [min(most, count)], in random order.

    Of two choices for one purpose and seed the smaller is the beginning of the larger.
    """
    return permute(stable_id(purpose), seed, count, np.arange(min(most, count)))


# --- blocks -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class BlockOrder:
    """The order of one epoch for slow storage: shuffled within windows of whole blocks.

    Block b is the samples from ``b * block_size`` on; the last one may be short. A keyed permutation deals
    the blocks to slots; each ``blocks_per_window`` slots in turn form a window, the last of which may have
    fewer. The positions of a window hold the samples of its blocks and no others, in a keyed permutation.
    """

    seed: int
    epoch: int
    """Keys of the order."""
    count: int
    """Samples in the source."""
    block_size: int
    """Samples that are read in one run."""
    blocks_per_window: int
    """Blocks that are shuffled together."""

    def samples(self, positions: np.ndarray) -> np.ndarray:
        """The samples at ``positions`` (int64 [B], in [0, count)): int64 [B], distinct as they are."""
        out = np.empty(len(positions), np.int64)
        _permute_in_windows(*self._keys(), self.blocks_per_window, positions, out)
        return out

    def window(self, position: int) -> int:
        """The window that a position lies in, from 0."""
        return int(_slot_at(*self._keys(), position)) // self.blocks_per_window

    def runs(self, window: int) -> np.ndarray:
        """The blocks of a window in the source's order, int64 [W, 2]: first sample, and past the last."""
        blocks = -(-self.count // self.block_size)
        first = window * self.blocks_per_window
        slots = np.arange(first, min(first + self.blocks_per_window, blocks))
        indices = np.empty(len(slots), np.int64)
        _permute_slots(*self._keys(), slots, indices)
        begins = np.sort(indices) * self.block_size
        return np.stack([begins, np.minimum(begins + self.block_size, self.count)], axis=1)

    def _keys(self) -> tuple[int, int, int, int]:
        return self.seed, self.epoch, self.count, self.block_size


class _Layout(NamedTuple):
    """Begins of the slots, each with a permuted block: all are full but the one with the last block."""

    epoch_state: np.uint64
    block_state: np.uint64
    blocks: int
    block_size: int
    short_slot: int
    missing: int
    """Samples by which that slot is short."""


@njit(cache=True)
def _layout(seed: int, epoch: int, count: int, block_size: int) -> _Layout:
    epoch_state = absorb(absorb(np.uint64(0), seed), epoch)
    block_state = absorb(epoch_state, _OF_BLOCKS)
    blocks = (count + block_size - 1) // block_size
    short_slot = _backward(block_state, blocks, blocks - 1)
    return _Layout(epoch_state, block_state, blocks, block_size, short_slot, blocks * block_size - count)


@njit(cache=True)
def _begin_of(layout: _Layout, slot: int) -> int:
    """The first position of a slot."""
    return slot * layout.block_size - (layout.missing if slot > layout.short_slot else 0)


@njit(cache=True)
def _slot_of(layout: _Layout, position: int) -> int:
    """The slot that a position lies in."""
    if position >= _begin_of(layout, layout.short_slot + 1):
        position += layout.missing
    return position // layout.block_size


@njit(cache=True, nogil=True)
def _permute_in_windows(
    seed: int,
    epoch: int,
    count: int,
    block_size: int,
    blocks_per_window: int,
    positions: np.ndarray,
    out: np.ndarray,
) -> None:
    layout = _layout(seed, epoch, count, block_size)
    windows_state = absorb(layout.epoch_state, _IN_WINDOW)
    for i in range(len(positions)):
        window = _slot_of(layout, positions[i]) // blocks_per_window
        begin = _begin_of(layout, window * blocks_per_window)
        end = _begin_of(layout, min((window + 1) * blocks_per_window, layout.blocks))
        position = begin + _forward(absorb(windows_state, window), end - begin, positions[i] - begin)
        slot = _slot_of(layout, position)
        block = _forward(layout.block_state, layout.blocks, slot)
        out[i] = block * block_size + position - _begin_of(layout, slot)


@njit(cache=True)
def _slot_at(seed: int, epoch: int, count: int, block_size: int, position: int) -> int:
    return _slot_of(_layout(seed, epoch, count, block_size), position)


@njit(cache=True, nogil=True)
def _permute_slots(
    seed: int, epoch: int, count: int, block_size: int, slots: np.ndarray, out: np.ndarray
) -> None:
    layout = _layout(seed, epoch, count, block_size)
    for i in range(len(slots)):
        out[i] = _forward(layout.block_state, layout.blocks, slots[i])
