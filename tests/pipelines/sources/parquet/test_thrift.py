"""Thrift's compact protocol, byte by byte as its specification has it."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.sources.parquet.thrift import BrokenThriftError, read_struct


def test_each_type_of_field() -> None:
    data = b"".join(
        [
            b"\x15\x05",  # field 1, i32: zigzag 5 is -3
            b"\x26\xac\x02",  # field 3, i64: 150
            b"\x11\x22",  # fields 4 and 6, booleans: true, false
            b"\x18\x03abc",  # field 7, bytes
            b"\x17" + struct.pack("<d", 0.5),  # field 8, double
            b"\x19\x25\x02\x04",  # field 9, a list of two i32: 1, 2
            b"\x1c\x15\x0e\x00",  # field 10, a struct with field 1: 7
            b"\x05\x28\x0e",  # field 20 by its own number, i32: 7
            b"\x00rest",
        ]
    )
    fields, end = read_struct(data)
    assert fields == {1: -3, 3: 150, 4: True, 6: False, 7: b"abc", 8: 0.5, 9: [1, 2], 10: {1: 7}, 20: 7}
    assert data[end:] == b"rest"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x15",
        b"\x18\x7fabc",
        b"\x1b\x00",
        b"\x1c" * 40,
        b"\x19\xf5" + b"\xff" * 9,
        b"\x16" + b"\xff" * 10,
    ],
    ids=["empty", "cut short", "long bytes", "a map", "deep", "long list", "long number"],
)
def test_what_is_broken_is_refused(data: bytes) -> None:
    with pytest.raises(BrokenThriftError):
        read_struct(data)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_any_bytes_are_a_struct_or_refused(data: bytes) -> None:
    try:
        _, end = read_struct(data)
    except BrokenThriftError:
        return
    assert end <= len(data)
