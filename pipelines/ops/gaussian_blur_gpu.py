"""Gaussian blur on the GPU: along one axis of a staged view, a matrix of SIZE rows and 3 SIZE words."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def blur(words, entry, radius, decay, down, across, inside, SIZE: tl.constexpr):
    """The Gaussian mean of words above and below, borders reflected: three of [TILE, TILE].

    Args:
        words: uint16 [n, SIZE, 3, SIZE]; ``entry`` is the first index, results are for the three third ones.
        radius: taps on either side, below SIZE.
        decay: the weights are exp(decay * tap²), to be normalized.
        down, across: the second and the last index, [TILE, 1] and [1, TILE].
        inside: which of them exist, [TILE, TILE].
    """
    address = words + entry.to(tl.int64) * (3 * SIZE * SIZE) + across
    first = tl.zeros([down.shape[0], across.shape[1]], tl.float32)
    second, third = first, first
    total = 0.0
    for tap in range(-radius, radius + 1):
        weight = tl.exp(decay * (tap * tap))
        total += weight
        source = tl.abs(down + tap)
        source = tl.minimum(source, 2 * (SIZE - 1) - source)
        line = address + source * (3 * SIZE)
        first += weight * tl.load(line, mask=inside, other=0).to(tl.float32)
        second += weight * tl.load(line + SIZE, mask=inside, other=0).to(tl.float32)
        third += weight * tl.load(line + 2 * SIZE, mask=inside, other=0).to(tl.float32)
    gain = 1.0 / total
    return first * gain, second * gain, third * gain
