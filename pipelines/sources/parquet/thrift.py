"""Structs in Thrift's compact protocol, of which the headers of Parquet's pages are made."""

from __future__ import annotations

import struct

_DEEPEST = 8  # structs and lists inside one another; a page's header has three
_TRUE, _FALSE, _BYTE, _I16, _I32, _I64, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = (*range(1, 11), 12)
Struct = dict[int, object]


class BrokenThriftError(Exception):
    """The bytes are no struct."""


def read_struct(data: bytes) -> tuple[Struct, int]:
    """Read the struct at the beginning: its fields by their numbers, and the place after it.

    Raises:
        BrokenThriftError: it breaks off, or holds what no header of a page does.
    """
    try:
        return _struct(data, 0, 0)
    except (IndexError, struct.error):
        raise BrokenThriftError("it breaks off") from None


def _struct(data: bytes, position: int, depth: int) -> tuple[Struct, int]:
    if depth > _DEEPEST:
        raise BrokenThriftError("structs in structs")
    fields: Struct = {}
    number = 0
    while head := data[position]:
        position += 1
        if head >> 4:
            number += head >> 4
        else:
            number, position = _signed(data, position)
        if head & 15 in (_TRUE, _FALSE):
            fields[number] = head & 15 == _TRUE
        else:
            fields[number], position = _value(data, position, head & 15, depth)
    return fields, position + 1


def _value(data: bytes, position: int, kind: int, depth: int) -> tuple[object, int]:
    if kind in (_TRUE, _FALSE, _BYTE):
        return data[position], position + 1
    if kind in (_I16, _I32, _I64):
        return _signed(data, position)
    if kind == _DOUBLE:
        return struct.unpack_from("<d", data, position)[0], position + 8
    if kind == _BINARY:
        length, position = read_varint(data, position)
        if position + length > len(data):
            raise IndexError
        return data[position : position + length], position + length
    if kind in (_LIST, _SET):
        return _list(data, position, depth)
    if kind == _STRUCT:
        return _struct(data, position, depth + 1)
    raise BrokenThriftError(f"a value of type {kind}")


def _list(data: bytes, position: int, depth: int) -> tuple[list[object], int]:
    head = data[position]
    count, position = (head >> 4, position + 1) if head >> 4 < 15 else read_varint(data, position + 1)
    if depth > _DEEPEST:
        raise BrokenThriftError("lists in lists")
    values: list[object] = []
    for _ in range(count):
        value, position = _value(data, position, head & 15, depth + 1)
        values.append(value)
    return values, position


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """Read an unsigned number of up to 64 bits: its value, and the place after it."""
    value = shift = 0
    while shift < 64:
        byte = data[position]
        value |= (byte & 0x7F) << shift
        position, shift = position + 1, shift + 7
        if byte < 0x80:
            return value, position
    raise BrokenThriftError("a number of more than 64 bits")


def _signed(data: bytes, position: int) -> tuple[int, int]:
    value, position = read_varint(data, position)
    return (value >> 1) ^ -(value & 1), position
