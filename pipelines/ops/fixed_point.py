"""Pixels as 16-bit fixed-point numbers, and the three operations on them that numba has no word for.

A color value is a uint16 in [0, WHITE], 1/128 of a gray level; a weight is a uint16 in 1/65536. In this
form one AVX-512 instruction holds 32 values, and ``multiply_high`` is one instruction for all of them.
The arithmetic is that of integers: every processor gives the same bits wherever the order is the same.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils, codegen, config
from numba.extending import intrinsic

from pipelines.files.kernels import njit

WHITE = np.uint16(255 * 128)
LANES = 32  # words in the widest vector there is; buffers are laid out in multiples of it

_WORD, _BYTE, _INDEX = ir.IntType(16), ir.IntType(8), ir.IntType(64)
_SCALE = ir.Constant(ir.IntType(32), 16)


def _widest_permutation() -> int:
    """Words in the widest vector that the processor can fill from freely chosen words of two others."""
    features: str | None = config.CPU_FEATURES  # type: ignore[attr-defined]
    if features is None:  # numba compiles for the processor that it runs on
        features = codegen.get_host_cpu_features()
    known = str(features).split(",")
    if "+avx512bw" in known:
        return 32
    return 8 if "+ssse3" in known else 0


BLOCK = _widest_permutation()  # outputs of one ``blend_block``; 0: it cannot be used
WINDOW = 2 * BLOCK  # neighboring words that these can be made of


@njit(cache=True, inline="always")
def padded(count: int) -> int:
    """``count`` words rounded up to whole vectors."""
    return (count + (LANES - 1)) // LANES * LANES


@njit(cache=True, inline="always")
def at(position: Any) -> Any:
    """A position that is known not to be negative, as an index: unsigned, so that numba tests no sign."""
    return np.uintp(position)


def _operation(generator: Callable[..., Any]) -> Any:
    """numba's ``intrinsic``, typed as compiled code sees it: a function of all but the typing context."""
    return intrinsic(generator)


@_operation
def multiply_high(typing_context: Any, a: Any, b: Any) -> Any:
    """``(a * b) >> 16`` of two uint16, as uint16. Loops over it become vpmulhuw.

    LLVM's fixed-point multiplication says this in a way that its vectorizer keeps at 16 bits; written
    with wider integers, the same product costs twice the instructions.
    """

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.FunctionType(_WORD, [_WORD, _WORD, ir.IntType(32)])
        multiply = builder.module.declare_intrinsic("llvm.umul.fix", [_WORD], kind)
        return builder.call(multiply, [*args, _SCALE])

    return types.uint16(types.uint16, types.uint16), generate


@_operation
def half_bits(typing_context: Any, value: Any) -> Any:
    """The bits of a float32 rounded to the nearest float16, ties to even, as uint16."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), _WORD)

    return types.uint16(types.float32), generate


@_operation
def bfloat_bits(typing_context: Any, value: Any) -> Any:
    """The bits of a finite float32 rounded to the nearest bfloat16, ties to even, as uint16."""

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        kind = ir.IntType(32)
        bits = builder.bitcast(args[0], kind)
        odd = builder.and_(builder.lshr(bits, ir.Constant(kind, 16)), ir.Constant(kind, 1))
        rounded = builder.add(builder.add(bits, ir.Constant(kind, 0x7FFF)), odd)
        return builder.trunc(builder.lshr(rounded, ir.Constant(kind, 16)), _WORD)

    return types.uint16(types.float32), generate


@_operation
def blend_block(typing_context, words, row, row_plane, base, first, weights, stride, taps, out, out_plane):
    """Filter BLOCK neighboring outputs in each of a row's three planes. Only where BLOCK > 0.

    ``words[out + plane * out_plane + i] = sum over t < taps of
    words[row + plane * row_plane + words[first + i] + t] * words[weights + t * stride + i] >> 16`` for
    i < BLOCK, each product rounded down. ``words`` is a uint16 vector, the rest are integers.

    An output is right where all its words lie in the plane's WINDOW words from ``base`` on, which must
    exist, and undefined elsewhere.
    """
    signature = types.void(words, *[types.uintp] * 9)
    vector = ir.VectorType(_WORD, BLOCK)

    def generate(context: Any, builder: Any, signature: Any, args: Any) -> None:
        if BLOCK == 0:
            return  # never called, but compiled
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        _, row, row_plane, base, first, weights, stride, taps, out, out_plane = args
        planes = [ir.Constant(_INDEX, plane) for plane in range(3)]

        def pointer(position: Any) -> Any:
            return builder.bitcast(builder.gep(data, [position]), vector.as_pointer())

        def load(position: Any) -> Any:
            return builder.load(pointer(position), align=2)

        kind = ir.FunctionType(vector, [vector, vector, ir.IntType(32)])
        multiply = builder.module.declare_intrinsic(f"llvm.umul.fix.v{BLOCK}i16", [], kind)
        start = builder.add(row, base)
        starts = [builder.add(start, builder.mul(plane, row_plane)) for plane in planes]
        low = [load(position) for position in starts]
        high = [load(builder.add(position, ir.Constant(_INDEX, BLOCK))) for position in starts]
        position = builder.sub(load(first), _splat(builder, builder.trunc(base, _WORD), vector))
        zeros = ir.Constant(vector, None)
        sums = [cgutils.alloca_once_value(builder, zeros) for _ in planes]
        with cgutils.for_range(builder, taps) as loop:
            tap = _splat(builder, builder.trunc(loop.index, _WORD), vector)
            choose = _chooser(builder, builder.add(position, tap))
            weight = load(builder.add(builder.mul(loop.index, stride), weights))
            for i in range(3):
                product = builder.call(multiply, [choose(low[i], high[i]), weight, _SCALE])
                builder.store(builder.add(builder.load(sums[i]), product), sums[i])
        for plane, total in zip(planes, sums, strict=True):
            position = builder.add(out, builder.mul(plane, out_plane))
            builder.store(builder.load(total), pointer(position), align=2)

    return signature, generate


def _chooser(builder: Any, positions: Any) -> Callable[[Any, Any], Any]:
    """A function of two vectors: the word at each of ``positions``, counted through both."""
    vector = positions.type
    if BLOCK == 32:
        kind = ir.FunctionType(vector, [vector] * 3)
        permute = builder.module.declare_intrinsic("llvm.x86.avx512.vpermi2var.hi.512", [], kind)
        return lambda low, high: builder.call(permute, [low, positions, high])
    # Bytes 2 w and 2 w + 1 for word w. An index whose top bit is set chooses 0: in the lower vector those
    # from 16 on, in the upper one those below 16.
    octets = ir.VectorType(_BYTE, 16)
    shuffle = builder.module.declare_intrinsic(
        "llvm.x86.ssse3.pshuf.b.128", [], ir.FunctionType(octets, [octets, octets])
    )
    pairs = builder.mul(positions, ir.Constant(vector, [0x0202] * BLOCK))
    pairs = builder.bitcast(builder.add(pairs, ir.Constant(vector, [0x0100] * BLOCK)), octets)
    below = builder.add(pairs, ir.Constant(octets, [0x70] * 16))
    above = builder.sub(pairs, ir.Constant(octets, [0x10] * 16))

    def choose(low: Any, high: Any) -> Any:
        first = builder.call(shuffle, [builder.bitcast(low, octets), below])
        second = builder.call(shuffle, [builder.bitcast(high, octets), above])
        return builder.bitcast(builder.or_(first, second), vector)

    return choose


def _splat(builder: Any, word: Any, vector: Any) -> Any:
    """A vector whose lanes all hold ``word``."""
    undefined = ir.Constant(vector, ir.Undefined)
    lane = builder.insert_element(undefined, word, ir.Constant(ir.IntType(32), 0))
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), vector.count), [0] * vector.count)
    return builder.shuffle_vector(lane, undefined, everywhere)
