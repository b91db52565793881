"""The six kernels of a fused batch norm: statistics, normalization and gradients of a matrix [M, C].

The matrix is row-major, as a channels-last tensor [N, C, H, W] lies in memory, M = N H W. A program takes
some columns of a split, which is a number of rows one after another, tile by tile. What it sums is written as
partial results, and merged in one order, whatever ran first: a step repeats to the bit. All sums are float32.

Bytes per element of 2 bytes: 2 for statistics, 4 to normalize; 4 for sums of gradients, 6 for the input's.
"""
# mypy: allow-untyped-defs, allow-untyped-calls, allow-incomplete-defs

from __future__ import annotations

import triton
import triton.language as tl

_SIZES = ["M", "rows", "splits"]  # nothing is gained by compiling for multiples of 16 of these


@triton.jit(do_not_specialize=_SIZES)
def partial_statistics(
    x, partials, M, C, rows, splits, BLOCK_M: tl.constexpr, BLOCK_C: tl.constexpr, STAGES: tl.constexpr
):
    """Mean of the columns of one split, and sums of squared deviations from it.

    Each element of a tile runs a mean and deviations of its own (Welford, 1962) of values from which the mean
    of the split's first tile is subtracted; they are merged at the end (Chan et al., 1979). Neither a large
    mean nor an odd first tile costs digits.

    Args:
        x: [M, C].
        partials: float32 [2, splits, C], written.
        M, C: rows and columns.
        rows: of a split.
        splits: number of them.
        BLOCK_M, BLOCK_C: rows and columns of a tile, powers of 2.
        STAGES: tiles that are on their way from memory at once.
    """
    split = tl.program_id(1)
    count = tl.minimum(M - split * rows, rows)
    lane = tl.arange(0, BLOCK_M)[:, None]
    column = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = column < C
    pointers = x + (split * rows).to(tl.int64) * C + lane * C + column[None, :]
    first = tl.load(pointers, mask=(lane < count) & inside[None, :], other=0.0).to(tl.float32)
    shift = tl.sum(first, 0) / tl.minimum(count, BLOCK_M)
    mean = tl.zeros([BLOCK_M, BLOCK_C], tl.float32)
    squares = tl.zeros([BLOCK_M, BLOCK_C], tl.float32)
    tiles = count // BLOCK_M
    for tile in tl.range(0, tiles, num_stages=STAGES):
        values = tl.load(pointers, mask=inside[None, :], other=0.0).to(tl.float32) - shift[None, :]
        delta = values - mean
        mean += delta * (1.0 / (tile + 1))
        squares += delta * (values - mean)
        pointers += BLOCK_M * C
    rest = lane < count - tiles * BLOCK_M
    values = tl.load(pointers, mask=rest & inside[None, :], other=0.0).to(tl.float32) - shift[None, :]
    delta = tl.where(rest, values - mean, 0.0)
    mean += delta * (1.0 / (tiles + 1))
    squares += delta * tl.where(rest, values - mean, 0.0)
    shares = (tiles + tl.where(rest, 1, 0)).to(tl.float32)
    mean_of_all = tl.sum(shares * mean, 0) / count
    apart = mean - mean_of_all[None, :]
    squares += shares * apart * apart
    out = partials + split * C + column
    tl.store(out, shift + mean_of_all, mask=inside)
    tl.store(out + splits * C, tl.sum(squares, 0), mask=inside)


@triton.jit(do_not_specialize=_SIZES)
def merge_statistics(
    partials,
    statistics,
    running_mean,
    running_var,
    momentum,
    eps,
    M,
    C,
    rows,
    splits,
    LANES: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Mean and inverse deviation of all rows, which the running statistics move towards.

    Args:
        partials: of ``partial_statistics``.
        statistics: float32 [2, C], written: mean and 1 / sqrt(biased variance + eps).
        running_mean, running_var: float32 [C], moved; by the unbiased variance.
        momentum: share of the new statistics.
        eps: added to the variance.
        M, C, rows, splits: of ``partial_statistics``.
        LANES: splits that are loaded at once, BLOCK_C columns of a program; powers of 2.
    """
    column = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = column < C
    shift = tl.load(partials + column, mask=inside, other=0.0)
    moved = tl.zeros([LANES, BLOCK_C], tl.float32)
    for start in range(0, splits, LANES):
        means, shares, _ = _split_means(partials, start, column, M, C, rows, splits, LANES)
        moved += shares * (means - shift[None, :])
    mean = shift + tl.sum(moved, 0) / M
    squares = tl.zeros([LANES, BLOCK_C], tl.float32)
    for start in range(0, splits, LANES):
        means, shares, pointers = _split_means(partials, start, column, M, C, rows, splits, LANES)
        apart = means - mean[None, :]
        of_splits = tl.load(pointers + splits * C, mask=(shares > 0) & inside[None, :], other=0.0)
        squares += of_splits + shares * apart * apart
    total = tl.sum(squares, 0)
    tl.store(statistics + column, mean, mask=inside)
    tl.store(statistics + C + column, 1.0 / tl.sqrt(total / M + eps), mask=inside)
    before_mean = tl.load(running_mean + column, mask=inside, other=0.0)
    before_var = tl.load(running_var + column, mask=inside, other=0.0)
    tl.store(running_mean + column, (1.0 - momentum) * before_mean + momentum * mean, mask=inside)
    unbiased = total / (M - 1)
    tl.store(running_var + column, (1.0 - momentum) * before_var + momentum * unbiased, mask=inside)


@triton.jit
def _split_means(partials, start, column, M, C, rows, splits, LANES: tl.constexpr):
    """Means [LANES, BLOCK_C] of the splits from ``start`` on, their rows [LANES, 1], and pointers to them."""
    split = start + tl.arange(0, LANES)[:, None]
    shares = tl.where(split < splits, tl.minimum(M - split * rows, rows), 0).to(tl.float32)
    pointers = partials + split * C + column[None, :]
    means = tl.load(pointers, mask=(split < splits) & (column < C)[None, :], other=0.0)
    return means, shares, pointers


@triton.jit(do_not_specialize=_SIZES)
def normalize(
    x,
    y,
    statistics,
    weight,
    bias,
    M,
    C,
    rows,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Normalize and scale the rows of one split, the last ones, which caches may still hold, first.

    Args:
        x: [M, C].
        y: [M, C], written.
        statistics: of ``merge_statistics``.
        weight, bias: float32 [C].
        M, C, rows, BLOCK_M, BLOCK_C, STAGES: of ``partial_statistics``.
    """
    split = tl.program_id(1)
    count = tl.minimum(M - split * rows, rows)
    lane = tl.arange(0, BLOCK_M)[:, None]
    column = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = column < C
    mean = tl.load(statistics + column, mask=inside, other=0.0)
    scale = tl.load(statistics + C + column, mask=inside, other=0.0)
    scale *= tl.load(weight + column, mask=inside, other=0.0)
    offset = tl.load(bias + column, mask=inside, other=0.0)
    tiles = (count + BLOCK_M - 1) // BLOCK_M
    start = (split * rows + (tiles - 1) * BLOCK_M).to(tl.int64) * C
    for tile in tl.range(0, tiles, num_stages=STAGES):
        present = (lane < count - (tiles - 1 - tile) * BLOCK_M) & inside[None, :]
        places = lane * C + column[None, :]
        values = tl.load(x + start + places, mask=present, other=0.0).to(tl.float32)
        values = (values - mean[None, :]) * scale[None, :] + offset[None, :]
        tl.store(y + start + places, values.to(y.dtype.element_ty), mask=present)
        start -= BLOCK_M * C


@triton.jit(do_not_specialize=_SIZES)
def partial_gradients(
    x,
    gradient,
    statistics,
    partials,
    M,
    C,
    rows,
    splits,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Sums over the rows of one split: of the gradient, and of it times deviations from the mean.

    Args:
        x: [M, C].
        gradient: [M, C], of the loss to the output.
        statistics: of ``merge_statistics``.
        partials: float32 [2, splits, C], written.
        M, C, rows, splits, BLOCK_M, BLOCK_C, STAGES: of ``partial_statistics``.
    """
    split = tl.program_id(1)
    count = tl.minimum(M - split * rows, rows)
    lane = tl.arange(0, BLOCK_M)[:, None]
    column = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = column < C
    mean = tl.load(statistics + column, mask=inside, other=0.0)
    sums = tl.zeros([BLOCK_M, BLOCK_C], tl.float32)
    products = tl.zeros([BLOCK_M, BLOCK_C], tl.float32)
    start = (split * rows).to(tl.int64) * C
    for tile in tl.range(0, (count + BLOCK_M - 1) // BLOCK_M, num_stages=STAGES):
        present = (lane < count - tile * BLOCK_M) & inside[None, :]
        places = lane * C + column[None, :]
        values = tl.load(x + start + places, mask=present, other=0.0).to(tl.float32)
        gradients = tl.load(gradient + start + places, mask=present, other=0.0).to(tl.float32)
        sums += gradients
        products += gradients * (values - mean[None, :])
        start += BLOCK_M * C
    out = partials + split * C + column
    tl.store(out, tl.sum(sums, 0), mask=inside)
    tl.store(out + splits * C, tl.sum(products, 0), mask=inside)


@triton.jit(do_not_specialize=_SIZES)
def merge_gradients(
    partials,
    statistics,
    of_parameters,
    coefficients,
    M,
    C,
    splits,
    LANES: tl.constexpr,
    BLOCK_C: tl.constexpr,
):
    """Gradients of weight and bias, and the coefficients that the input's needs.

    Args:
        partials: of ``partial_gradients``.
        statistics: of ``merge_statistics``.
        of_parameters: float32 [2, C], written: gradients of the weight and of the bias.
        coefficients: float32 [2, C], written: mean gradient, and its slope over the input.
        M, C, splits: of ``partial_statistics``.
        LANES, BLOCK_C: of ``merge_statistics``.
    """
    column = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = column < C
    sums = tl.zeros([LANES, BLOCK_C], tl.float32)
    products = tl.zeros([LANES, BLOCK_C], tl.float32)
    for start in range(0, splits, LANES):
        split = start + tl.arange(0, LANES)[:, None]
        present = (split < splits) & inside[None, :]
        pointers = partials + split * C + column[None, :]
        sums += tl.load(pointers, mask=present, other=0.0)
        products += tl.load(pointers + splits * C, mask=present, other=0.0)
    of_bias = tl.sum(sums, 0)
    inverse = tl.load(statistics + C + column, mask=inside, other=0.0)
    of_weight = tl.sum(products, 0) * inverse
    tl.store(of_parameters + column, of_weight, mask=inside)
    tl.store(of_parameters + C + column, of_bias, mask=inside)
    tl.store(coefficients + column, of_bias / M, mask=inside)
    tl.store(coefficients + C + column, of_weight * inverse / M, mask=inside)


@triton.jit(do_not_specialize=_SIZES)
def input_gradient(
    x,
    gradient,
    of_input,
    statistics,
    coefficients,
    weight,
    M,
    C,
    rows,
    BLOCK_M: tl.constexpr,
    BLOCK_C: tl.constexpr,
    STAGES: tl.constexpr,
):
    """Gradient of the input in the rows of one split, the last ones first, as in ``normalize``.

    Args:
        x: [M, C].
        gradient: [M, C], of the loss to the output.
        of_input: [M, C], written.
        statistics: of ``merge_statistics``.
        coefficients: of ``merge_gradients``.
        weight: float32 [C].
        M, C, rows, BLOCK_M, BLOCK_C, STAGES: of ``partial_statistics``.
    """
    split = tl.program_id(1)
    count = tl.minimum(M - split * rows, rows)
    lane = tl.arange(0, BLOCK_M)[:, None]
    column = tl.program_id(0) * BLOCK_C + tl.arange(0, BLOCK_C)
    inside = column < C
    mean = tl.load(statistics + column, mask=inside, other=0.0)
    scale = tl.load(statistics + C + column, mask=inside, other=0.0)
    scale *= tl.load(weight + column, mask=inside, other=0.0)
    level = tl.load(coefficients + column, mask=inside, other=0.0)
    slope = tl.load(coefficients + C + column, mask=inside, other=0.0)
    tiles = (count + BLOCK_M - 1) // BLOCK_M
    start = (split * rows + (tiles - 1) * BLOCK_M).to(tl.int64) * C
    for tile in tl.range(0, tiles, num_stages=STAGES):
        present = (lane < count - (tiles - 1 - tile) * BLOCK_M) & inside[None, :]
        places = lane * C + column[None, :]
        values = tl.load(x + start + places, mask=present, other=0.0).to(tl.float32)
        gradients = tl.load(gradient + start + places, mask=present, other=0.0).to(tl.float32)
        gradients -= level[None, :] + (values - mean[None, :]) * slope[None, :]
        gradients *= scale[None, :]
        tl.store(of_input + start + places, gradients.to(of_input.dtype.element_ty), mask=present)
        start -= BLOCK_M * C
