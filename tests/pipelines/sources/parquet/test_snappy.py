"""Snappy from its middle: what an entry point gives is what the whole block gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sources.parquet.snappy import BrokenBlockError, decode_part, entry_points

Element = bytes | tuple[int, int]  # a literal, or (how far back, how many)


def varint(number: int) -> bytes:
    out = b""
    while number > 0x7F:
        out, number = out + bytes([number & 0x7F | 0x80]), number >> 7
    return out + bytes([number])


def encode(elements: list[Element]) -> tuple[bytes, bytes]:
    """A block of these elements, and its content, written by the format's description."""
    block, content = b"", b""
    for element in elements:
        if isinstance(element, bytes):
            size = len(element) - 1
            more = -(-size.bit_length() // 8) if size >= 60 else 0
            block += bytes([(59 + more if more else size) << 2]) + size.to_bytes(4, "little")[:more] + element
            content += element
            continue
        back, count = element
        if 4 <= count <= 11 and back < 1 << 11:
            block += bytes([back >> 8 << 5 | (count - 4) << 2 | 1, back & 255])
        elif back < 1 << 16:
            block += bytes([(count - 1) << 2 | 2]) + back.to_bytes(2, "little")
        else:
            block += bytes([(count - 1) << 2 | 3]) + back.to_bytes(4, "little")
        for _ in range(count):
            content += content[-back : len(content) - back + 1]
    return varint(len(content)) + block, content


@st.composite
def blocks(draw: st.DrawFn) -> tuple[bytes, bytes]:
    elements: list[Element] = []
    size = 0
    for _ in range(draw(st.integers(1, 12))):
        if size and draw(st.booleans()):
            count = draw(st.integers(1, 64))
            farthest = draw(st.sampled_from([100, 1 << 17]))
            elements.append((draw(st.integers(1, min(size, farthest))), count))
        else:
            count = draw(st.sampled_from([1, 60, 61, 300, 30_000, 1 << 16, 70_000]))
            elements.append(np.random.default_rng(size).bytes(count))
        size += count
    return encode(elements)


def test_every_entry_point_gives_the_rest_of_the_content() -> None:
    @settings(max_examples=25, deadline=None)
    @given(blocks())
    def check(case: tuple[bytes, bytes]) -> None:
        block, content = np.frombuffer(case[0], np.uint8), case[1]
        packed, places = entry_points(block)
        assert places[0] == 0
        assert (packed[-1], places[-1]) == (len(block), len(content))
        for begin, place in zip(packed[:-1], places[:-1], strict=True):
            assert decode_part(block[begin:], len(content) - place).tobytes() == content[place:]

    check()


def test_compressors_leave_an_entry_point_every_64_kib() -> None:
    rng = np.random.default_rng(0)
    pieces: list[Element] = [rng.bytes(1 << 16), rng.bytes((1 << 16) - 40), (30, 40), rng.bytes(100)]
    _, places = entry_points(np.frombuffer(encode(pieces)[0], np.uint8))
    assert places.tolist() == [0, 1 << 16, 2 << 16, (2 << 16) + 100]


def test_no_entry_between_a_copy_and_what_it_copies() -> None:
    pieces: list[Element] = [bytes(1 << 16), b"a" * 100, ((1 << 16) + 50, 64), b"b"]
    _, places = entry_points(np.frombuffer(encode(pieces)[0], np.uint8))
    assert places.tolist() == [0, (1 << 16) + 165]


@pytest.mark.parametrize(
    "block",
    [b"", b"\xff" * 6, b"\x05\x10abc", b"\x09\x00a\x05\x02", b"\x02\x00a", b"\x01\xf0"],
    ids=["empty", "size", "literal", "copy from before", "too little", "tag"],
)
def test_a_broken_block_is_refused(block: bytes) -> None:
    with pytest.raises(BrokenBlockError):
        entry_points(np.frombuffer(block, np.uint8))


def test_a_part_that_is_not_there_is_refused() -> None:
    for elements in (b"\x10abc", b"\x00a\x05\x02", b"\x00a", b"\x00a\x05"):
        with pytest.raises(BrokenBlockError):
            decode_part(np.frombuffer(elements, np.uint8), 5)
