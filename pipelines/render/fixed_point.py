"""Pixels as 16-bit fixed-point numbers, and the three operations on them that numba has no word for.

A colour value is a uint16 in [0, WHITE], 1/128 of a grey level; a weight is a uint16 in 1/65536. In this
form one AVX-512 instruction holds 32 values, and ``multiply_high`` is one instruction for all of them.
The arithmetic is that of integers: every processor gives the same bits wherever the order is the same.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils, codegen, config
from numba.extending import intrinsic

WHITE = np.uint16(255 * 128)
LANES = 32  # 16-bit words in the widest vector; buffers are laid out in multiples of it
WINDOW = 64  # input words that one permutation can choose from

# The permutation of ``blend_lanes`` is an instruction of AVX-512BW: known to be there only where numba
# compiles for the processor it runs on.
HAS_PERMUTE = bool(
    config.CPU_NAME is None
    and config.CPU_FEATURES is None
    and "+avx512bw" in codegen.get_host_cpu_features().split(",")
)

_WORD, _INDEX = ir.IntType(16), ir.IntType(64)
_VECTOR = ir.VectorType(_WORD, LANES)
_SCALE = ir.Constant(ir.IntType(32), 16)


@njit(cache=True, inline="always")
def padded(count: int) -> int:
    """``count`` words rounded up to whole vectors."""
    return (count + (LANES - 1)) // LANES * LANES


@njit(cache=True, inline="always")
def at(place: int) -> int:
    """A place that is known not to be negative, as an index: unsigned, so that numba tests no sign."""
    return np.uintp(place)


@intrinsic
def multiply_high(typing_context, a, b):  # type: ignore[no-untyped-def]
    """``(a * b) >> 16`` of two uint16, as uint16. Loops over it become vpmulhuw.

    LLVM's fixed-point multiplication says this in a way that its vectoriser keeps at 16 bits; written
    with wider integers, the same product costs twice the instructions.
    """

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        kind = ir.FunctionType(_WORD, [_WORD, _WORD, ir.IntType(32)])
        multiply = builder.module.declare_intrinsic("llvm.umul.fix", [_WORD], kind)
        return builder.call(multiply, [*args, _SCALE])

    return types.uint16(types.uint16, types.uint16), generate


@intrinsic
def half_bits(typing_context, value):  # type: ignore[no-untyped-def]
    """The bits of a float32 rounded to the nearest float16, ties to even, as uint16."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        return builder.bitcast(builder.fptrunc(args[0], ir.HalfType()), _WORD)

    return types.uint16(types.float32), generate


@intrinsic
def bfloat_bits(typing_context, value):  # type: ignore[no-untyped-def]
    """The bits of a finite float32 rounded to the nearest bfloat16, ties to even, as uint16."""

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        kind = ir.IntType(32)
        bits = builder.bitcast(args[0], kind)
        odd = builder.and_(builder.lshr(bits, ir.Constant(kind, 16)), ir.Constant(kind, 1))
        rounded = builder.add(builder.add(bits, ir.Constant(kind, 0x7FFF)), odd)
        return builder.trunc(builder.lshr(rounded, ir.Constant(kind, 16)), _WORD)

    return types.uint16(types.float32), generate


@intrinsic
def blend_lanes(typing_context, words, row, row_plane, base, first, weights, stride, taps, out, out_plane):  # type: ignore[no-untyped-def]
    """Filter 32 neighbouring outputs in each of a row's three planes. Only where HAS_PERMUTE.

    ``words[out + plane * out_plane + i] = sum over t < taps of
    words[row + plane * row_plane + words[first + i] + t] * words[weights + t * stride + i] >> 16`` for
    the 32 lanes i, each product rounded down. ``words`` is a uint16 vector, the rest are integers.

    A lane is right where all its words lie in the plane's 64 words from ``base`` on, which must exist,
    and undefined elsewhere.
    """
    index = types.uintp
    signature = types.void(words, *[index] * 9)

    def generate(context, builder, signature, args):  # type: ignore[no-untyped-def]
        data = context.make_array(signature.args[0])(context, builder, args[0]).data
        _, row, row_plane, base, first, weights, stride, taps, out, out_plane = args
        planes = [ir.Constant(_INDEX, plane) for plane in range(3)]

        def pointer(place):  # type: ignore[no-untyped-def]
            return builder.bitcast(builder.gep(data, [place]), _VECTOR.as_pointer())

        def load(place):  # type: ignore[no-untyped-def]
            return builder.load(pointer(place), align=2)

        def function(name, arguments):  # type: ignore[no-untyped-def]
            return builder.module.declare_intrinsic(name, [], ir.FunctionType(_VECTOR, arguments))

        permute = function("llvm.x86.avx512.vpermi2var.hi.512", [_VECTOR] * 3)
        multiply = function(f"llvm.umul.fix.v{LANES}i16", [_VECTOR, _VECTOR, ir.IntType(32)])
        start = builder.add(row, base)
        starts = [builder.add(start, builder.mul(plane, row_plane)) for plane in planes]
        low = [load(start) for start in starts]
        high = [load(builder.add(start, ir.Constant(_INDEX, LANES))) for start in starts]
        place = builder.sub(load(first), _splat(builder, builder.trunc(base, _WORD)))
        sums = [cgutils.alloca_once_value(builder, ir.Constant(_VECTOR, [0] * LANES)) for _ in planes]
        with cgutils.for_range(builder, taps) as loop:
            chosen = builder.add(place, _splat(builder, builder.trunc(loop.index, _WORD)))
            weight = load(builder.add(builder.mul(loop.index, stride), weights))
            for i in range(3):
                value = builder.call(permute, [low[i], chosen, high[i]])
                product = builder.call(multiply, [value, weight, _SCALE])
                builder.store(builder.add(builder.load(sums[i]), product), sums[i])
        for plane, total in zip(planes, sums, strict=True):
            builder.store(builder.load(total), pointer(builder.add(out, builder.mul(plane, out_plane))), align=2)

    return signature, generate


def _splat(builder, word):  # type: ignore[no-untyped-def]
    """A vector whose lanes all hold ``word``."""
    undefined = ir.Constant(_VECTOR, ir.Undefined)
    lane = builder.insert_element(undefined, word, ir.Constant(ir.IntType(32), 0))
    everywhere = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
    return builder.shuffle_vector(lane, undefined, everywhere)
