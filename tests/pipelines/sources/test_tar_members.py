"""The members of a tar, as ``tarfile`` finds them, and of odd tars that are no reason to fail otherwise."""

from __future__ import annotations

import io
import os
import struct
import tarfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from pipelines.sources.tar_members import BrokenTarError, Member, tar_members

BLOCK = 512


def members(path: Path) -> list[Member]:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return list(tar_members(descriptor))
    finally:
        os.close(descriptor)


def write(path: Path, tar_format: int = tarfile.PAX_FORMAT, headers: Mapping[str, str] | None = None) -> Path:
    with tarfile.open(path, "w", format=tar_format) as file:
        for name, size in (("a/b.jpg", 700), ("folder/" * 20 + "é" * 90, 512), ("empty", 0), ("last.cls", 3)):
            member = tarfile.TarInfo(name if tar_format != tarfile.USTAR_FORMAT else name[-40:])
            member.size, member.pax_headers = size, dict(headers or {})
            file.addfile(member, io.BytesIO(bytes(size)))
        for kind in (tarfile.DIRTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.FIFOTYPE):
            special = tarfile.TarInfo("special")
            special.type, special.linkname = kind, "a/b.jpg"
            file.addfile(special)
    return path


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_they_are_those_of_tarfile(tar_format: int, tmp_path: Path) -> None:
    path = write(tmp_path / "a.tar", tar_format)
    found = [member for member in members(path) if member.kind == "file"]
    with tarfile.open(path) as file:
        expected = [(member.name, member.offset_data, member.size) for member in file if member.isreg()]
    assert [(member.name, member.offset, member.length) for member in found] == expected
    assert [member.kind for member in members(path)[4:]] == ["other", "link", "link", "other"]


def with_size(path: Path, field: bytes) -> Path:
    """Another size in the header of the last file, and a checksum that fits."""
    data = bytearray(path.read_bytes())
    with tarfile.open(path) as file:
        start = file.getmember("last.cls").offset_data - BLOCK
    data[start + 124 : start + 136] = field
    total = sum(data[start : start + 148]) + 8 * 0x20 + sum(data[start + 156 : start + BLOCK])
    data[start + 148 : start + 156] = b"%06o\0 " % total
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    ("field", "words"),
    [
        (b"\x80" + struct.pack(">3xQ", 1 << 62), "breaks off"),
        (b"\x80" + struct.pack(">3xQ", (1 << 63) + 5), "breaks off"),
        (b"\x80" + b"\xff" * 11, "breaks off"),
        (b"\xff" * 12, "no header"),  # negative
        (b"12 34567890\0", "no header"),
    ],
)
def test_a_size_beyond_the_file_is_a_fault_of_the_file(field: bytes, words: str, tmp_path: Path) -> None:
    with pytest.raises(BrokenTarError, match=words):
        members(with_size(write(tmp_path / "a.tar", tarfile.GNU_FORMAT), field))


def long_names(count: int, size: int) -> bytes:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = b"L", size
    return (header.tobuf(tarfile.GNU_FORMAT) + b"name.jpg\0".ljust(BLOCK, b"\0")) * count


def test_a_chain_of_names_is_passed_in_a_loop(tmp_path: Path) -> None:
    (tmp_path / "a.tar").write_bytes(long_names(20_000, 9) + bytes(2 * BLOCK))
    assert members(tmp_path / "a.tar") == []


def test_a_name_of_gigabytes_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a.tar").open("wb") as file:
        file.write(long_names(1, 6 << 30))
        file.truncate(7 << 30)  # a hole
    with pytest.raises(BrokenTarError, match="a name of 6442450944 bytes"):
        members(tmp_path / "a.tar")


def test_sparse_files_are_told_from_others(tmp_path: Path) -> None:
    sparse = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.size": "x", "GNU.sparse.map": "x"}
    found = members(write(tmp_path / "a.tar", headers=sparse))
    assert [member.kind for member in found[:4]] == ["sparse"] * 4


@pytest.mark.parametrize("size", ["-1", "x", "9" * 30])
def test_a_size_in_a_pax_header_is_a_number(size: str, tmp_path: Path) -> None:
    with pytest.raises(BrokenTarError, match="a pax header of no size"):
        members(write(tmp_path / "a.tar", headers={"size": size}))
