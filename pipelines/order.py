"""Which samples form a global batch: a keyed permutation that is computed, never stored.

Position p of epoch e holds sample ``permute(seed, e, n, p)``, a bijection of [0, n): a Feistel network of
twelve rounds over the smallest even number of bits that holds n, walked until it lands below n (Black and
Rogaway, "Ciphers with arbitrary finite domains", 2002). O(1) memory for any n; resuming is one integer.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from pipelines.keys import absorb

_ROUNDS = 12  # eight leave the places of tiny sets uneven by about 1 %: test_order.py


@njit(cache=True)
def _encrypt(state: np.uint64, value: int, half_bits: int) -> int:
    mask = (1 << half_bits) - 1
    left, right = value >> half_bits, value & mask
    for round_number in range(_ROUNDS):
        mixed = absorb(absorb(state, round_number), right)
        left, right = right, left ^ (int(mixed >> np.uint64(32)) & mask)
    return (left << half_bits) | right


@njit(cache=True, nogil=True)
def _permute(seed: int, epoch: int, count: int, positions: np.ndarray, out: np.ndarray) -> None:
    state = absorb(absorb(np.uint64(0), seed), epoch)
    half_bits = 1
    while (1 << (2 * half_bits)) < count:
        half_bits += 1
    for i in range(len(positions)):
        value = _encrypt(state, positions[i], half_bits)
        while value >= count:  # at most four walks on average: the domain is at most 4 * count
            value = _encrypt(state, value, half_bits)
        out[i] = value


def permute(seed: int, epoch: int, count: int, positions: np.ndarray) -> np.ndarray:
    """The samples at ``positions`` (int64 [B], in [0, count)) of an epoch's order.

    Returns:
        int64 [B]: distinct positions give distinct samples.
    """
    out = np.empty(len(positions), np.int64)
    _permute(seed, epoch, count, positions, out)
    return out


def steps_per_epoch(count: int, batch_size: int) -> int:
    """Full global batches in an epoch; the last partial one is dropped in training."""
    return count // batch_size


def batch_positions(step_in_epoch: int, batch_size: int, rank: int, world_size: int) -> np.ndarray:
    """The positions (int64 [batch_size / world_size]) of one rank's share of a global batch.

    Shares are contiguous, so that the ranks' batches joined are the global batch whatever the world size.
    """
    share = batch_size // world_size
    first = step_in_epoch * batch_size + rank * share
    return np.arange(first, first + share)
