"""The two kernels of a fused optimizer step: sums of squares, and the update of weights and averages.

A program takes one chunk of one tensor. Addresses of tensors come from tables (``multi_tensor_tables``),
rates and the like from device memory: a captured launch can be replayed with others. Sums are taken in one
order, whatever runs first, so that a step repeats to the bit.

Bytes per parameter: 8 to sum squares (w and g, where LARS adapts), 20 to update (w, g and mu read, w and mu
written), 8 for an average.
"""

from __future__ import annotations

import triton
import triton.language as tl

COLUMNS = ("weight", "buffer", "target", "numel", "group", "average", "first", "vectors")
"""Columns of a tensor's row, int64: addresses of the weight, its momentum and its average (0: none);
elements; positions in ``scalars`` of its group's numbers and of its average's share; its first chunk among
the partial sums (-1: its step is not adapted); 1 where four elements may be moved at once."""

_WIDTH = tl.constexpr(len(COLUMNS))
_WEIGHT, _BUFFER, _TARGET, _NUMEL, _GROUP, _AVERAGE, _FIRST, _VECTORS = map(tl.constexpr, range(len(COLUMNS)))

GROUP_SCALARS = ("lr", "weight_decay", "momentum", "trust_coefficient")
"""Numbers of a group in ``scalars``, float32."""

_RATE, _DECAY, _MOMENTUM, _TRUST = map(tl.constexpr, range(len(GROUP_SCALARS)))
_UNALIGNED = ["found_inf", "scale"]  # torch's scaler may keep them anywhere


@triton.jit(do_not_specialize_on_alignment=_UNALIGNED)
def sum_squares(chunks, rows, gradients, scalars, scale, partials, CHUNK: tl.constexpr, BLOCK: tl.constexpr):
    """Sums of squares of one chunk of a weight, and of its decayed gradient.

    Args:
        chunks: int64 [C, 2], tensor and position in it.
        rows: int64 [T, COLUMNS].
        gradients: int64 [T], addresses; 0: none.
        scalars: float32, GROUP_SCALARS of each group, then the share of the weight in each average.
        scale: float32 [1], factor that gradients are multiplied by already.
        partials: float32 [C, 2], written.
        CHUNK: elements of a chunk; BLOCK: of one pass of the loop over it, a power of 2.
    """
    chunk = tl.program_id(0)
    tensor = tl.load(chunks + 2 * chunk)
    start = tl.load(chunks + 2 * chunk + 1) * CHUNK
    row = rows + tensor * _WIDTH
    gradient, weight = tl.load(gradients + tensor), tl.load(row + _WEIGHT)
    decay = tl.load(scalars + tl.load(row + _GROUP) + _DECAY)
    if gradient != 0:
        numel, unscale = tl.load(row + _NUMEL), 1.0 / tl.load(scale)
        if tl.load(row + _VECTORS) != 0:
            _sum_squares(
                weight, gradient, start, numel, decay, unscale, partials + 2 * chunk, CHUNK, BLOCK, True
            )
        else:
            _sum_squares(
                weight, gradient, start, numel, decay, unscale, partials + 2 * chunk, CHUNK, BLOCK, False
            )


@triton.jit
def _sum_squares(
    weight,
    gradient,
    start,
    numel,
    decay,
    unscale,
    out,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
    VECTORS: tl.constexpr,
):
    of_weight, of_update = tl.zeros([BLOCK], tl.float32), tl.zeros([BLOCK], tl.float32)
    for first in range(0, CHUNK, BLOCK):
        offsets = start + first + tl.arange(0, BLOCK)
        inside = _below(offsets, numel, VECTORS)
        w = tl.load(_floats(weight, offsets, VECTORS), mask=inside, other=0.0)
        g = tl.load(_floats(gradient, offsets, VECTORS), mask=inside, other=0.0)
        update = g * unscale + decay * w
        of_weight += w * w
        of_update += update * update
    tl.store(out, tl.sum(of_weight))
    tl.store(out + 1, tl.sum(of_update))


@triton.jit(do_not_specialize_on_alignment=_UNALIGNED)
def update_tensors(
    chunks,
    rows,
    gradients,
    scalars,
    found_inf,
    scale,
    partials,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
    LANES: tl.constexpr,
    NESTEROV: tl.constexpr,
):
    """Move one chunk of a weight and its momentum, then the average that follows it.

    A tensor without gradient stays, as all do where ``found_inf`` is not 0; averages follow all the same.

    Args:
        chunks, rows, gradients, scalars, scale, CHUNK, BLOCK: of ``sum_squares``.
        found_inf: float32 [1], not 0 where the step is to be skipped.
        partials: of ``sum_squares``.
        LANES: partial sums that are loaded at once, a power of 2.
        NESTEROV: look ahead by the momentum (Sutskever et al., 2013).
    """
    chunk = tl.num_programs(0) - 1 - tl.program_id(0)  # caches may still hold what was summed last
    tensor = tl.load(chunks + 2 * chunk)
    start = tl.load(chunks + 2 * chunk + 1) * CHUNK
    row = rows + tensor * _WIDTH
    gradient = tl.load(gradients + tensor)
    if tl.load(found_inf) != 0:
        gradient = gradient * 0
    group, first, numel = scalars + tl.load(row + _GROUP), tl.load(row + _FIRST), tl.load(row + _NUMEL)
    ratio = 1.0
    if (first >= 0) & (gradient != 0):
        count = (numel + CHUNK - 1) // CHUNK
        ratio = _trust_ratio(partials + 2 * first, count, tl.load(group + _TRUST), LANES)
    if tl.load(row + _VECTORS) != 0:
        _update(row, gradient, start, numel, group, scalars, scale, ratio, CHUNK, BLOCK, NESTEROV, True)
    else:
        _update(row, gradient, start, numel, group, scalars, scale, ratio, CHUNK, BLOCK, NESTEROV, False)


@triton.jit
def _update(
    row,
    gradient,
    start,
    numel,
    group,
    scalars,
    scale,
    ratio,
    CHUNK: tl.constexpr,
    BLOCK: tl.constexpr,
    NESTEROV: tl.constexpr,
    VECTORS: tl.constexpr,
):
    weight, buffer, target = tl.load(row + _WEIGHT), tl.load(row + _BUFFER), tl.load(row + _TARGET)
    rate, decay, momentum = tl.load(group + _RATE), tl.load(group + _DECAY), tl.load(group + _MOMENTUM)
    share, unscale = tl.load(scalars + tl.load(row + _AVERAGE)), 1.0 / tl.load(scale)
    for first in range(0, CHUNK, BLOCK):
        offsets = start + first + tl.arange(0, BLOCK)
        inside = _below(offsets, numel, VECTORS)
        moved = tl.where(gradient != 0, numel, 0)
        moves = _below(offsets, moved, VECTORS)
        recalls = _below(offsets, tl.where(buffer != 0, moved, 0), VECTORS)
        follows = _below(offsets, tl.where(target != 0, numel, 0), VECTORS)
        w = tl.load(_floats(weight, offsets, VECTORS), mask=inside, other=0.0)
        g = tl.load(_floats(gradient, offsets, VECTORS), mask=moves, other=0.0)
        mu = tl.load(_floats(buffer, offsets, VECTORS), mask=recalls, other=0.0)
        t = tl.load(_floats(target, offsets, VECTORS), mask=follows, other=0.0)
        update = ratio * (g * unscale + decay * w)
        mu = momentum * mu + update
        if NESTEROV:
            w = tl.where(moves, w - rate * (update + momentum * mu), w)
        else:
            w = tl.where(moves, w - rate * mu, w)
        # torch's lerp: exactly w at a share of 1
        t = tl.where(share < 0.5, t + share * (w - t), w - (w - t) * (1.0 - share))
        tl.store(_floats(buffer, offsets, VECTORS), mu, mask=recalls)
        tl.store(_floats(weight, offsets, VECTORS), w, mask=moves)
        tl.store(_floats(target, offsets, VECTORS), t, mask=follows)


@triton.jit
def _trust_ratio(partials, count, coefficient, LANES: tl.constexpr):
    """LARS' ratio of a tensor, from the partial sums of its ``count`` chunks."""
    of_weight, of_update = tl.zeros([LANES], tl.float32), tl.zeros([LANES], tl.float32)
    for start in range(0, count, LANES):
        lane = start + tl.arange(0, LANES)
        of_weight += tl.load(partials + 2 * lane, mask=lane < count, other=0.0)
        of_update += tl.load(partials + 2 * lane + 1, mask=lane < count, other=0.0)
    weight_norm, update_norm = tl.sqrt(tl.sum(of_weight)), tl.sqrt(tl.sum(of_update))
    usable = (weight_norm > 0) & (update_norm > 0)
    return tl.where(usable, coefficient * weight_norm / tl.where(usable, update_norm, 1.0), 1.0)


@triton.jit
def _below(offsets, bound, VECTORS: tl.constexpr):
    """Mask of the offsets below ``bound``, a multiple of 4 if VECTORS."""
    if VECTORS:
        bound = bound // 4 * 4  # tells the compiler that four neighbors have one mask
    return offsets < bound


@triton.jit
def _floats(address, offsets, VECTORS: tl.constexpr):
    """Pointers to elements of the tensor at ``address``."""
    pointers = address.to(tl.pointer_type(tl.float32)) + offsets
    if VECTORS:
        pointers = tl.multiple_of(pointers, 16)
    return pointers
