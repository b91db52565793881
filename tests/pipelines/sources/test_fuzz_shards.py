"""Damaged tars: a line with the file's name, or images; never another exception."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from pipelines.command.errors import UserError
from pipelines.command.text import visible
from pipelines.sources.shards import open_split as open_shards
from tests.helpers.beton_by_hand import jpeg, noise
from tests.helpers.mutations import damaged_files, few_and_many, mutations, one_line

BLOCK = 512


def a_tar(tar_format: int) -> bytes:
    out, images = io.BytesIO(), [jpeg(noise(9, 12, seed)) for seed in range(4)]
    long = "folder/" * 8 + "n" * 90 if tar_format != tarfile.USTAR_FORMAT else "folder/n"
    members = {
        "0.jpg": images[0],
        "0.cls": b"1",
        f"{long}.jpg": images[1],
        f"{long}.json": json.dumps({"label": 3, "class_name": "cat"}).encode(),
        "./été.input.jpg": images[2],
        "été.output.cls": b"2",
        "IMG.01.jpg": images[3],
    }
    with tarfile.open(fileobj=out, mode="w", format=tar_format) as file:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
        link = tarfile.TarInfo("link.jpg")
        link.type, link.linkname = tarfile.LNKTYPE, "0.jpg"
        file.addfile(link)
    return out.getvalue()


def with_checksums(data: bytearray) -> bytearray:
    """Every block that may be a header gets the checksum of what it now holds."""
    for start in range(0, len(data) - BLOCK + 1, BLOCK):
        if data[start + 257 : start + 262] == b"ustar":
            total = sum(data[start : start + 148]) + 8 * 0x20 + sum(data[start + 156 : start + BLOCK])
            data[start + 148 : start + 156] = b"%06o\0 " % total
    return data


@few_and_many(1_000, 30_000)
def test_damaged_tars(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.sources.shard_index.save_arrays", lambda path, arrays: None)
    path = tmp_path / "a.tar"
    seeds = [a_tar(kind) for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)]
    opened = 0
    for data in damaged_files(path, mutations(seeds, count, repair=with_checksums)):
        try:
            source = open_shards(str(path), "train", tmp_path / "cache")
        except UserError as error:
            one_line(error, str(path))
            continue
        opened += 1
        for number in range(len(source.index)):
            assert len(source.read(number)) <= len(data)
            assert "\n" not in source.describe(number)
        assert all(note == visible(note) for note in source.index.notes)
    assert count / 20 < opened < count  # both ends of the test are reached
