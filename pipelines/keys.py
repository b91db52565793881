"""Keyed randomness: a counter-based hash in place of a generator with a state.

Every random number of the project is ``uniform(hash of its keys)``. No number depends on how many were
drawn before it, so order, batch size, workers and ranks cannot change it, and resuming needs no state.
The mixing function is the 64-bit finalizer of SplitMix64 (Steele, Lea, Flood, 2014; variant 13 of Stafford).
"""

from __future__ import annotations

import hashlib
import math

import numpy as np

from pipelines.files.kernels import njit

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)
_S30, _S27, _S31, _S11 = np.uint64(30), np.uint64(27), np.uint64(31), np.uint64(11)
_INVERSE_2_53 = 1.0 / (1 << 53)


@njit(cache=True, inline="always")
def absorb(state: np.uint64, word: int) -> np.uint64:
    """Mix one more 64-bit key into a hash. ``state`` 0 starts a chain. Returns uint64.

    This is finalizer((state + golden) ^ (word * first)), all modulo 2**64, with SplitMix64's increment and
    first multiplier. With word 0 it is the first output of SplitMix64 seeded with ``state``.
    """
    z = (state + _GOLDEN) ^ (np.uint64(word) * _FIRST)
    z = (z ^ (z >> _S30)) * _FIRST
    z = (z ^ (z >> _S27)) * _SECOND
    return z ^ (z >> _S31)


@njit(cache=True, inline="always")
def to_uniform(state: np.uint64) -> float:
    """The top 53 bits of a hash as a float64 in [0, 1)."""
    return np.float64(state >> _S11) * _INVERSE_2_53


@njit(cache=True, inline="always")
def to_integer(state: np.uint64, bound: int) -> int:
    """A hash as an integer in [0, bound); the bias is below bound / 2**53."""
    return int(to_uniform(state) * bound)


@njit(cache=True, inline="always")
def to_normal(state: np.uint64, index: int) -> float:
    """Number ``index`` of a stream of standard normal ones, a float64 (Box and Muller, 1958)."""
    radius = math.sqrt(-2 * math.log(1 - to_uniform(absorb(state, 2 * index))))  # 1 - u, as u may be 0
    return radius * math.cos(2 * math.pi * to_uniform(absorb(state, 2 * index + 1)))


@njit(cache=True)
def hash_keys(keys: np.ndarray) -> np.uint64:
    """Hash an int64 vector of keys, in order."""
    state = np.uint64(0)
    for key in keys:
        state = absorb(state, key)
    return state


@njit(cache=True)
def uniforms(keys: np.ndarray, count: int) -> np.ndarray:
    """``count`` float64 numbers in [0, 1) of the stream named by ``keys`` (int64 vector)."""
    state = hash_keys(keys)
    out = np.empty(count)
    for i in range(count):
        out[i] = to_uniform(absorb(state, i))
    return out


@njit(cache=True)
def row_uniforms(keys: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    """``count`` float64 numbers in [0, 1) for each row, [R, count].

    A row's numbers depend on ``keys`` and its own number in ``rows`` (int64 vectors), not on other rows.
    """
    out = np.empty((len(rows), count))
    stream = hash_keys(keys)
    for i, row in enumerate(rows):
        state = absorb(stream, row)
        for j in range(count):
            out[i, j] = to_uniform(absorb(state, j))
    return out


def stable_id(text: str) -> int:
    """A signed 64-bit id of a text, the same on every machine and in every process."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little", signed=True)
