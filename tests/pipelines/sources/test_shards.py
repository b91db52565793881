"""Tar shards as webdataset lays them out, written here with ``tarfile`` or by ``write_shard``."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from pipelines.decode.decode import decode
from pipelines.files.cache_folder import cache_folder
from pipelines.keys import stable_id
from pipelines.sources import NoSplitError, Split
from pipelines.sources.shard_index import read_shard
from pipelines.sources.shards import ShardSource, open_split, write_shard
from tests.helpers.encoded import encoded
from tests.helpers.known_labels import labels_of
from tests.helpers.refusals import refused

pytestmark = pytest.mark.usefixtures("own_cache")

Members = Sequence[tuple[str, bytes]]


def jpeg(height: int = 20, width: int = 30, seed: int = 0) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return bytes(simplejpeg.encode_jpeg(pixels))


def png(height: int = 20, width: int = 30) -> bytes:
    return encoded(Image.new("RGB", (width, height), (10, 20, 30)), "PNG")


def tar(path: Path, members: Members, tar_format: int = tarfile.PAX_FORMAT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tar_format) as file:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            file.addfile(member, io.BytesIO(content))
    return path


def opened(where: Path | str, split: Split = "train") -> ShardSource:
    return open_split(str(where), split, cache_folder())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two shards of three images, of sizes of their own, in a folder."""
    for shard in range(2):
        members: list[tuple[str, bytes]] = []
        for n in range(3):
            number = 3 * shard + n
            members.append((f"{number:06}.jpg", jpeg(20 + number, 30 + number, number)))
            members.append((f"{number:06}.cls", str(5 - number).encode()))
        tar(tmp_path / "data" / f"part-{shard:03}.tar", members)
    return tmp_path / "data"


def test_every_sample_with_its_label_size_and_bytes(data: Path) -> None:
    source = opened(data / "part-*.tar")
    index = source.index
    assert index.sample_ids.tolist() == [stable_id(f"{n:06}") for n in range(6)]
    assert index.heights.tolist() == [20, 21, 22, 23, 24, 25]
    assert index.widths.tolist() == [30, 31, 32, 33, 34, 35]
    assert labels_of(index) == [5, 4, 3, 2, 1, 0]
    assert index.class_names == ("0", "1", "2", "3", "4", "5")
    assert index.sample_ids.dtype == np.int64
    assert index.heights.dtype == index.widths.dtype == np.int32
    for number in (5, 0, 3, 2):
        assert source.read(number) == jpeg(20 + number, 30 + number, number)
        assert decode(source.read(number)).shape == (20 + number, 30 + number, 3)
    assert source.describe(4) == f"{data / 'part-001.tar'}:000004.jpg"


@pytest.mark.parametrize(
    "pattern", ["{0}/part-{{000..001}}.tar", "{0}/part-00{{0,1}}.tar", "{0}", "{0}/*.t?r"]
)
def test_ways_to_name_shards(pattern: str, data: Path) -> None:
    assert len(opened(pattern.format(data)).index) == 6


def test_one_tar(data: Path) -> None:
    odd = shutil.copy(data / "part-001.tar", data / "one[1]{a,b}.tar")  # no pattern where it is a file
    assert opened(odd).index.heights.tolist() == [23, 24, 25]


@pytest.mark.parametrize("tar_format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_tar_dialects(tar_format: int, tmp_path: Path) -> None:
    long = "folder/" * 12 + "n" * 90 if tar_format != tarfile.USTAR_FORMAT else "folder/" * 12 + "n" * 40
    names = [long, "été/große Katze", "plain"]
    members = [(f"{name}.jpg", jpeg(20 + n, 30, n)) for n, name in enumerate(names)]
    tar(tmp_path / "a.tar", members, tar_format)
    source = opened(tmp_path / "a.tar")
    assert source.index.sample_ids.tolist() == [stable_id(name) for name in names]
    assert [bytes(source.read(n)) for n in range(3)] == [content for _, content in members]
    assert source.index.labels is None
    assert source.index.class_names == ()


def test_the_key_ends_at_the_first_dot_of_the_name(tmp_path: Path) -> None:
    members = [
        ("./v1.0/a.JPG", jpeg(11)),
        ("./v1.0/a.seg.png", png(12)),  # another member of the sample, not its image
        ("./v1.0/a.cls", b"1\n"),
        ("v1.0/b.png", png(13)),  # the mask of b
        ("v1.0/b.jpeg", jpeg(14)),
        ("v1.0/b.cls", b"0"),
        ("v1.0/c.txt", b"a sample without an image"),
        ("v1.0/._a.jpg", b"left by another system"),
        ("README", b"text"),
    ]
    source = opened(tar(tmp_path / "a.tar", members))
    assert source.index.sample_ids.tolist() == [stable_id("v1.0/a"), stable_id("v1.0/b")]
    assert source.index.heights.tolist() == [11, 14]
    assert labels_of(source.index) == [1, 0]


BOTH = [{"label": 0, "class_name": "z"}, {"label": 2, "class_name": "a"}, {"label": 0, "class_name": "z"}]


@pytest.mark.parametrize(
    ("labels", "numbers", "names"),
    [
        ([{"label": 1}, {"label": 0}, {"label": 2}], [1, 0, 2], ("0", "1", "2")),
        ([{"cls": 1}, {"cls": 0}, {"cls": 1}], [1, 0, 1], ("0", "1")),
        ([{"class_name": name} for name in ("cat", "ant", "bee")], [2, 0, 1], ("ant", "bee", "cat")),
        ([{"label": "cat"}, {"cls": "ant"}, {"class": "cat"}], [1, 0, 1], ("ant", "cat")),
        (BOTH, [0, 2, 0], ("z", "1", "a")),
        ([{"label": -1}, {"caption": "a cat"}, ["a", "list"]], None, ()),
    ],
)
def test_labels_in_json(
    labels: list[object], numbers: list[int] | None, names: tuple[str, ...], tmp_path: Path
) -> None:
    members: list[tuple[str, bytes]] = []
    for n, label in enumerate(labels):
        members += [(f"{n}.jpg", jpeg(seed=n)), (f"{n}.json", json.dumps(label).encode())]
    tar(tmp_path / "a.tar", members)
    for _ in range(2):  # from the tar, and from the cache
        index = opened(tmp_path / "a.tar").index
        assert (None if index.labels is None else index.labels.tolist()) == numbers
        assert index.class_names == names


def test_splits_by_the_names_of_the_shards(data: Path) -> None:
    names = ("imagenet1k-train-0000", "imagenet1k-train-0001", "imagenet1k-validation-00", "test-0", "latest")
    for number, name in enumerate(names):
        tar(data / "splits" / f"{name}.tar", [(f"{n}.jpg", jpeg(10 + n)) for n in range(number + 1)])
    for where in (data / "splits", data / "splits" / "*.tar"):
        assert len(opened(where).index) == 1 + 2
        assert len(opened(where, "test").index) == 3
    train_only = data / "splits" / "*train*.tar"
    assert len(opened(train_only).index) == 1 + 2
    for where in (train_only, data):
        with pytest.raises(NoSplitError, match="no test split"):
            opened(where, "test")


def test_a_key_in_two_shards_is_two_samples(tmp_path: Path) -> None:
    for name in ("a", "b"):
        tar(tmp_path / f"{name}.tar", [("000.jpg", jpeg())])
    ids = opened(tmp_path / "*.tar").index.sample_ids.tolist()
    assert ids == [stable_id("000"), stable_id("b.tar:000.jpg")]


def test_an_unreadable_header_gives_size_zero(tmp_path: Path) -> None:
    members = [("a.jpg", b"garbage"), ("b.jpg", b""), ("c.jpg", jpeg())]
    source = opened(tar(tmp_path / "a.tar", members))
    assert source.index.heights.tolist() == [0, 0, 20]
    assert [bytes(source.read(n)) for n in range(3)] == [content for _, content in members]


def test_the_index_is_made_once_and_again_for_a_changed_shard(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(path: Path, descriptor: int) -> dict[str, np.ndarray]:
        read.append(path.name)
        return read_shard(path, descriptor)

    first = opened(data).index
    monkeypatch.setattr("pipelines.sources.shard_index.read_shard", counted)
    again = opened(data).index
    assert read == []
    for name in ("sample_ids", "heights", "widths", "labels"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.class_names, first.fingerprint) == (again.class_names, again.fingerprint)
    tar(data / "part-001.tar", [("9.jpg", jpeg(40)), ("9.cls", b"0")])
    changed = opened(data).index
    assert read == ["part-001.tar"]
    assert changed.heights.tolist() == [20, 21, 22, 40]
    assert changed.fingerprint != first.fingerprint


def test_a_copy_elsewhere_is_the_same_data(data: Path, tmp_path: Path) -> None:
    first = opened(data).index
    shutil.copytree(data, tmp_path / "copy", copy_function=shutil.copy)
    copy = opened(tmp_path / "copy").index
    assert copy.fingerprint == first.fingerprint
    np.testing.assert_array_equal(copy.sample_ids, first.sample_ids)


DAMAGES: dict[str, Callable[[bytes, int], bytes]] = {
    "breaks off in data": lambda whole, header: whole[: 512 + 100],
    "breaks off in a header": lambda whole, header: whole[: header + 100],
    "breaks off between members": lambda whole, header: whole[:header],
    "a damaged header": lambda whole, header: whole[:header] + b"\xff" * 512 + whole[header + 512 :],
    "empty": lambda whole, header: b"",
    "garbage": lambda whole, header: b"garbage" * 1000,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_broken_tar_is_refused_by_name(damage: str, data: Path) -> None:
    path = data / "part-001.tar"
    with tarfile.open(path) as file:
        header = file.getmembers()[2].offset
    path.write_bytes(DAMAGES[damage](path.read_bytes(), header))
    with refused(r"part-001\.tar is no whole tar file .*again"):
        opened(data)


def test_mistakes_are_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "others").mkdir()
    (tmp_path / "others" / "a.tar.gz").write_bytes(gzip.compress((data / "part-000.tar").read_bytes()))
    tar(tmp_path / "others" / "texts.tar", [("a.txt", b"text")])
    tar(tmp_path / "others" / "dots.tar", [("IMG.0001.jpg", jpeg())])
    tar(tmp_path / "others" / "twice.tar", [("a.jpg", jpeg()), ("a.jpg", jpeg())])
    for where, said in {
        "data/nothing-*.tar": r"no file matches .*nothing-\*\.tar",
        "data/part-{000..002}.tar": r"no such file: .*part-002\.tar",
        ".": r"no \.tar files in",
        "x-{0..9999999999}.tar": r"no such file: .*x-0\.tar",  # a huge range takes no memory
        "x-{0..999999999999999999}.tar": r"no such file: .*x-0\.tar",
        "others/a.tar.gz": r"a\.tar\.gz is compressed \(gzip\).*unpack it",
        "others/texts.tar": r"no images in .*texts\.tar",
        "others/dots.tar": r"no images in .*dots\.tar: .* key ends at the first.*IMG\.0001\.jpg",
        "others/twice.tar": r"twice\.tar holds a\.jpg twice",
    }.items():
        with refused(said):
            opened(tmp_path / where)


@pytest.mark.parametrize(
    ("member", "content"),
    [
        ("a.cls", b""),
        ("a.cls", b"\xff\xfe"),
        ("a.cls", b"a\nb"),
        ("a.cls", b"9" * 5000),
        ("a.json", b"{"),
        ("a.json", b"\xff"),
        ("a.json", b"[" * 100_000),
        ("a.json", b'{"label": 99999999999999999999}'),
    ],
)
def test_a_label_that_is_none_leaves_the_images_usable(member: str, content: bytes, tmp_path: Path) -> None:
    tar(tmp_path / "a.tar", [("a.jpg", jpeg()), (member, content)])
    index = opened(tmp_path / "a.tar").index
    assert len(index) == 1
    assert index.labels is None
    (note,) = index.notes
    assert note == f"not used in {tmp_path}/a.tar: 1 empty or unreadable labels (first: a.tar:{member})"


@pytest.mark.parametrize(
    ("labels", "reason"),
    [
        ({"a": b"1"}, "2 of 3 samples have none (first: a.tar:b.jpg)"),
        # names and counters per class would take gigabytes
        ({"a": b"16777215", "b": b"0", "c": b"0"}, "16777215 is no class number (a.tar:a.jpg)"),
    ],
)
def test_labels_that_are_not_used_are_said(labels: dict[str, bytes], reason: str, tmp_path: Path) -> None:
    images = [(f"{name}.jpg", jpeg()) for name in "abc"]
    tar(tmp_path / "a.tar", images + [(f"{name}.cls", label) for name, label in labels.items()])
    for _ in range(2):  # from the tar, and from the cache
        index = opened(tmp_path / "a.tar").index
        assert (len(index), index.labels, index.class_names) == (3, None, ())
        assert index.notes == (f"labels are not used: {reason}",)


def test_class_names_in_cls_are_classes_and_need_not_stand_beside_their_image(tmp_path: Path) -> None:
    members = [("a.jpg", jpeg()), ("b.jpg", jpeg()), ("b.cls", b"dog"), ("a.cls", b"tabby cat\n")]
    index = opened(tar(tmp_path / "a.tar", members)).index
    assert index.class_names == ("dog", "tabby cat")
    assert labels_of(index) == [1, 0]
    assert index.notes == ()


def test_labels_are_part_of_the_fingerprint(tmp_path: Path) -> None:
    def of(labels: str) -> str:
        members = [(f"{n}.jpg", jpeg()) for n in range(3)]
        members += [(f"{n}.cls", label.encode()) for n, label in enumerate(labels)]
        return opened(tar(tmp_path / "a.tar", members)).index.fingerprint

    first = of("012")
    assert of("021") != first
    assert of("012") == first
    assert of("abc") != of("abd")


def test_a_shard_changed_at_equal_size_and_time_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    tar(path, [("a.jpg", jpeg()), ("a.cls", b"0"), ("b.jpg", jpeg()), ("b.cls", b"1")])
    before = path.stat()
    assert opened(path).index.labels is not None
    tar(path, [("a.jpg", jpeg()), ("a.cls", b"1"), ("b.jpg", jpeg()), ("b.cls", b"0")])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size
    labels = opened(path).index.labels
    assert labels is not None
    assert labels.tolist() == [1, 0]


def test_images_that_are_not_used_are_counted_with_a_first_example(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as file:
        for name in ("a.jpg", "a.png", "IMG.0001.jpg", "IMG.0002.jpg", "b.gif", "c.txt", "__MACOSX/d.jpg"):
            member = tarfile.TarInfo(name)
            member.size = len(jpeg())
            file.addfile(member, io.BytesIO(jpeg()))
        for name, kind in (("l.jpg", tarfile.LNKTYPE), ("s.jpg", tarfile.SYMTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "a.jpg"
            file.addfile(link)
    for _ in range(2):  # from the tar, and from the cache
        source = opened(path)
        assert source.describe(0) == f"{path}:a.jpg"
        assert source.index.notes == (
            f"not used in {path}: "
            "2 images with a dot in the name (a sample's key ends at the first) (first: a.tar:IMG.0001.jpg); "
            "2 links to images (first: a.tar:l.jpg); "
            "1 .gif images (first: a.tar:b.gif); "
            "1 further images of a sample (first: a.tar:a.png)",
        )


def test_webdatasets_own_names_of_input_and_output(tmp_path: Path) -> None:
    members = [("a.input.jpg", jpeg(21)), ("a.output.cls", b"1"), ("b.image.JFIF", jpeg(22)), ("b.cls", b"0")]
    index = opened(tar(tmp_path / "a.tar", members)).index
    assert index.sample_ids.tolist() == [stable_id("a"), stable_id("b")]
    assert index.heights.tolist() == [21, 22]
    assert labels_of(index) == [1, 0]
    assert index.notes == ()


def test_joined_tars_are_read_to_the_last(tmp_path: Path) -> None:
    parts = [tar(tmp_path / f"{n}.tar", [(f"{n}.jpg", jpeg(20 + n, seed=n))]) for n in range(3)]
    joined = tmp_path / "joined.tar"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    source = opened(joined)
    assert [bytes(source.read(n)) for n in range(3)] == [jpeg(20 + n, seed=n) for n in range(3)]
    with joined.open("ab") as file:
        file.write(b"no tar" * 100)
    (note,) = opened(joined).index.notes
    assert note == f"not used in {joined}: 600 bytes behind the end of the tar (first: joined.tar)"


def test_shards_beside_the_splits_are_said(tmp_path: Path) -> None:
    for name in ("train-0", "val-0", "extra-0", "._train-0"):
        tar(tmp_path / "data" / f"{name}.tar", [("a.jpg", jpeg())])
    index = opened(tmp_path / "data").index
    assert len(index) == 1
    (note,) = index.notes
    assert note.endswith("1 files of neither the train nor the test split (first: extra-0.tar)")


def test_brackets_in_a_path_stand_for_themselves(tmp_path: Path) -> None:
    tar(tmp_path / "set[1]" / "train-0.tar", [("a.jpg", jpeg())])
    assert len(opened(tmp_path / "set[1]" / "train-*.tar").index) == 1
    assert len(opened(tmp_path / "set[[]1]" / "train-*.tar").index) == 1


def test_a_damaged_index_in_the_cache_is_made_again(tmp_path: Path, own_cache: Path) -> None:
    path = tar(tmp_path / "a.tar", [("a.jpg", jpeg()), ("b.jpg", jpeg())])
    first = opened(path).index
    (kept,) = own_cache.glob("shard-*.npz")
    arrays = dict(np.load(kept))
    for name, wrong in {
        "table": arrays["table"][:, :3],
        "members": arrays["members"][:3],
        "counts": np.ones(7, np.int64),
        "class_names": np.zeros(2),
    }.items():
        np.savez(kept, **{**arrays, name: wrong})
        again = opened(path).index
        assert again.fingerprint == first.fingerprint
    np.savez(kept, **{**arrays, "table": -arrays["table"]})
    assert opened(path).index.heights.tolist() == [20, 20]


def test_what_write_shard_writes_is_read_back(tmp_path: Path) -> None:
    samples: list[tuple[str, Mapping[str, bytes]]] = [
        (f"folder/{n:06}", {"jpg": jpeg(20 + n, seed=n), "cls": str(n).encode()}) for n in range(3)
    ]
    path = tmp_path / "new" / "a.tar"
    write_shard(path, samples)
    source = opened(path)
    assert [bytes(source.read(n)) for n in range(3)] == [members["jpg"] for _, members in samples]
    assert labels_of(source.index) == [0, 1, 2]
    first = path.read_bytes()
    write_shard(path, iter(samples))
    assert path.read_bytes() == first
    with tarfile.open(path) as file:
        assert file.getnames()[:2] == ["folder/000000.jpg", "folder/000000.cls"]


def test_write_shard_leaves_the_old_one_when_it_fails(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    write_shard(path, [("a", {"jpg": jpeg()})])
    before = path.read_bytes()

    def samples() -> Iterator[tuple[str, dict[str, bytes]]]:
        yield "b", {"jpg": jpeg()}
        raise RuntimeError("stopped half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        write_shard(path, samples())
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["a.tar"]


@pytest.mark.parametrize("key", ["a.b", "folder/.a", "", "folder/", "./a"])
def test_a_key_that_would_be_read_back_as_another_is_refused(key: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="key"):
        write_shard(tmp_path / "a.tar", [(key, {"jpg": jpeg()})])
    assert not list(tmp_path.iterdir())
