"""Folders of images: what is found, in which order, and what the cache of sizes notices."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torchvision
from PIL import Image

from pipelines.decode.header import image_size_of_file
from pipelines.files.cache_folder import cache_folder
from pipelines.keys import stable_id
from pipelines.sources import NoSplitError, Split
from pipelines.sources.folder import FolderSource, open_split
from pipelines.sources.image_files import about_file
from pipelines.sources.image_sizes import sizes_from_headers
from tests.helpers.known_labels import labels_of
from tests.helpers.refusals import refused

pytestmark = pytest.mark.usefixtures("own_cache")


def write(path: Path, height: int = 20, width: int = 30, orientation: int = 1) -> Path:
    """A picture of its own pixels, so that no two are equal."""
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = sum(path.name.encode()) + height * 1000 + width
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def paths_of(source: FolderSource, root: Path) -> list[str]:
    return [os.path.relpath(source.describe(number), root) for number in range(len(source.index))]


def opened(path: Path, split: Split = "train") -> FolderSource:
    return open_split(str(path), split, cache_folder())


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six images of three classes, in all formats, some deeper down."""
    root = tmp_path / "data"
    write(root / "cat" / "b.jpg", 20, 30)
    write(root / "cat" / "a.PNG", 21, 31)
    write(root / "cat" / "more" / "deep" / "c.JPEG", 22, 32)
    write(root / "ant" / "d.webp", 23, 33)
    write(root / "bee" / "e.bmp", 24, 34)
    write(root / "bee" / "f.jpg", 25, 35, orientation=6)
    return root


class Headers:
    """Counts the headers that are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.read: list[str] = []

        def counted(paths: Sequence[str]) -> np.ndarray:
            self.read += map(os.path.basename, paths)
            return sizes_from_headers(paths)

        monkeypatch.setattr("pipelines.sources.image_sizes.sizes_from_headers", counted)

    def take(self) -> list[str]:
        names, self.read = sorted(self.read), []
        return names


@pytest.fixture
def headers(monkeypatch: pytest.MonkeyPatch) -> Headers:
    return Headers(monkeypatch)


def test_all_images_in_order_with_their_classes_and_upright_sizes(data: Path) -> None:
    before = sorted(data.rglob("*"))
    source = opened(data)
    assert sorted(data.rglob("*")) == before  # nothing is written into the data
    index = source.index
    expected = ["ant/d.webp", "bee/e.bmp", "bee/f.jpg", "cat/a.PNG", "cat/b.jpg", "cat/more/deep/c.JPEG"]
    assert paths_of(source, data) == expected
    assert index.class_names == ("ant", "bee", "cat")
    assert labels_of(index) == [0, 1, 1, 2, 2, 2]
    assert index.heights.tolist() == [23, 24, 35, 21, 20, 22]
    assert index.widths.tolist() == [33, 34, 25, 31, 30, 32]
    assert index.sample_ids.tolist() == [stable_id(os.path.splitext(path)[0]) for path in expected]
    assert index.sample_ids.dtype == np.int64
    assert index.heights.dtype == index.widths.dtype == np.int32
    assert [source.read(number) for number in range(6)] == [(data / path).read_bytes() for path in expected]


def test_classes_are_those_of_torchvisions_image_folder(data: Path) -> None:
    """Names that begin alike, too: " ", "-" and "." come before "/" in the order of characters, "0" after."""
    for name, count in {"a": 3, "a b": 1, "a-b": 2, "a.b": 1, "a0": 2, "ab": 1, "\u00e4": 2}.items():
        for number in range(count):
            write(data / name / f"{number}.jpg")
    source, theirs = opened(data), torchvision.datasets.ImageFolder(str(data))
    assert list(source.index.class_names) == theirs.classes
    paths = [source.describe(number) for number in range(len(source.index))]
    assert dict(zip(paths, labels_of(source.index), strict=True)) == dict(theirs.samples)
    assert len(paths) == len(theirs.samples) == 6 + 12


def test_splits_share_their_class_numbers(tmp_path: Path) -> None:
    for name in ("train/ant", "train/bee", "train/cat", "val/ant", "val/cat", "test"):
        write(tmp_path / "data" / name / "x.jpg")
    train = opened(tmp_path / "data").index
    test = opened(tmp_path / "data", "test")
    assert train.class_names == test.index.class_names == ("ant", "bee", "cat")
    assert labels_of(train) == [0, 1, 2]
    assert labels_of(test.index) == [0, 2]
    assert paths_of(test, tmp_path / "data") == ["val/ant/x.jpg", "val/cat/x.jpg"]  # val goes before test
    assert train.sample_ids[0] == stable_id("ant/x")  # below the split
    direct = opened(tmp_path / "data" / "train").index
    np.testing.assert_array_equal(direct.sample_ids, train.sample_ids)


def test_without_split_folders_all_is_train(data: Path, tmp_path: Path) -> None:
    with pytest.raises(NoSplitError, match="no test split"):
        opened(data, "test")
    write(tmp_path / "only" / "train" / "ant" / "x.jpg")
    (tmp_path / "only" / "annotations").mkdir()
    assert opened(tmp_path / "only").index.class_names == ("ant",)
    with pytest.raises(NoSplitError):
        opened(tmp_path / "only", "test")
    for name in ("train", "ship"):
        write(tmp_path / "vehicles" / name / "x.jpg")
    assert opened(tmp_path / "vehicles").index.class_names == (
        "ship",
        "train",
    )  # a class


def test_a_heap_of_images_has_no_labels(tmp_path: Path) -> None:
    for name in ("b.jpg", "a.png"):
        write(tmp_path / "data" / name)
    source = opened(tmp_path / "data")
    assert paths_of(source, tmp_path / "data") == ["a.png", "b.jpg"]
    assert source.index.labels is None
    assert source.index.class_names == ()


def test_odd_names(tmp_path: Path) -> None:
    root = tmp_path / "data"
    names = ["große Katze 🐈", "with space", "a.dot"]
    for name in names:
        write(root / name / "x y.z.jpg")
    not_utf8 = os.fsdecode(b"\xe9t\xe9.jpg")
    shutil.copy(root / names[0] / "x y.z.jpg", root / names[0] / not_utf8)
    source = opened(root)
    assert source.index.class_names == ("a.dot", "große Katze 🐈", "with space")
    assert stable_id("a.dot/x y.z") in source.index.sample_ids
    descriptions = [source.describe(n).encode() for n in range(4)]  # printable, whatever the bytes
    assert sum(rb"\xe9t\xe9.jpg" in text for text in descriptions) == 1
    assert all(len(source.read(n)) > 100 for n in range(4))


def test_files_that_differ_in_their_extension_only_are_samples_of_their_own(tmp_path: Path) -> None:
    for name in ("a.jpg", "a.png", "b.jpg"):
        write(tmp_path / "data" / "cat" / name)
    ids = opened(tmp_path / "data").index.sample_ids.tolist()
    assert ids == [stable_id("cat/a"), stable_id("cat/a.png"), stable_id("cat/b")]


def test_links_are_followed_but_not_in_circles(data: Path, tmp_path: Path) -> None:
    linked = tmp_path / "linked"
    linked.mkdir()
    (linked / "cat").symlink_to(data / "cat")
    write(linked / "dog" / "x.jpg")
    (linked / "dog" / "up").symlink_to(linked)
    (linked / "dog" / "self").symlink_to(linked / "dog")
    (linked / "dog" / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    source = opened(linked)
    cats = ["cat/a.PNG", "cat/b.jpg", "cat/more/deep/c.JPEG"]
    assert paths_of(source, linked)[:4] == [*cats, "dog/gone.jpg"]
    assert source.index.heights[3] == 0  # a sample that cannot be read: named, not forgotten
    with pytest.raises(OSError, match="No such file"):
        source.read(3)


def test_only_links_are_looked_at_one_by_one(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Names in any case are quick: ImageNet's end in .JPEG, cameras' in .JPG."""
    one_by_one: list[str] = []

    def noted(entry: os.DirEntry[str]) -> tuple[int, int, int]:
        one_by_one.append(entry.name)
        return about_file(entry.stat())

    monkeypatch.setattr("pipelines.sources.image_files._about_link", noted)
    (data / "cat" / "link.jpg").symlink_to(data / "cat" / "b.jpg")
    assert len(opened(data).index) == 7
    assert one_by_one == ["link.jpg"]


def test_unreadable_headers_give_size_zero(data: Path) -> None:
    whole = (data / "cat" / "b.jpg").read_bytes()
    (data / "cat" / "empty.jpg").write_bytes(b"")
    (data / "cat" / "garbage.png").write_bytes(b"garbage" * 100)
    (data / "cat" / "short.jpg").write_bytes(whole[:20])
    for _ in range(2):  # from the headers, and from the cache
        source = opened(data)
        sizes = dict(zip(paths_of(source, data), source.index.heights.tolist(), strict=True))
        assert [sizes[f"cat/{name}"] for name in ("empty.jpg", "garbage.png", "short.jpg")] == [0, 0, 0]
        assert sizes["cat/b.jpg"] == 20


def test_only_new_and_changed_files_are_read_again(data: Path, headers: Headers) -> None:
    first = opened(data).index
    assert headers.take() == ["a.PNG", "b.jpg", "c.JPEG", "d.webp", "e.bmp", "f.jpg"]
    again = opened(data).index
    assert headers.take() == []
    for name in ("sample_ids", "heights", "widths", "labels"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert first.fingerprint == again.fingerprint

    write(data / "cat" / "b.jpg", 50, 60)
    write(data / "dog" / "g.jpg", 70, 80)
    (data / "bee" / "e.bmp").unlink()
    changed = opened(data)
    assert headers.take() == ["b.jpg", "g.jpg"]
    sizes = dict(zip(paths_of(changed, data), changed.index.heights.tolist(), strict=True))
    assert sizes["cat/b.jpg"] == 50
    assert sizes["dog/g.jpg"] == 70
    assert "bee/e.bmp" not in sizes
    assert changed.index.fingerprint != first.fingerprint


def test_a_copy_elsewhere_is_the_same_data(data: Path, tmp_path: Path) -> None:
    first = opened(data).index
    copied = tmp_path / "elsewhere" / "copy"
    shutil.copytree(data, copied, copy_function=shutil.copy)  # times are not kept
    copy = opened(copied).index
    assert copy.fingerprint == first.fingerprint
    np.testing.assert_array_equal(copy.sample_ids, first.sample_ids)
    (copied / "cat" / "b.jpg").rename(copied / "cat" / "z.jpg")
    assert opened(copied).index.fingerprint != first.fingerprint


@pytest.mark.parametrize("content", [b"", b"no npz", None])
def test_a_broken_cache_is_made_again(
    data: Path, own_cache: Path, headers: Headers, content: bytes | None
) -> None:
    opened(data)
    (kept,) = own_cache.iterdir()
    if content is None:
        np.savez(kept, other=np.zeros(3))  # as another version might write it
    else:
        kept.write_bytes(content)
    headers.take()
    opened(data)
    assert len(headers.take()) == 6
    opened(data)
    assert headers.take() == []


def test_without_a_writable_cache_it_works_with_a_warning(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("not a folder")
    index = open_split(str(data), "train", tmp_path / "file" / "cache").index
    assert index.heights.min() > 0
    warning = capsys.readouterr().err
    assert warning.startswith("warning: cannot write the cache")
    assert warning.count("\n") == 1
    assert "FASTSSL_CACHE" in warning


LAYOUTS = {
    "roboflow": ("train", "valid"),
    "keras": ("train", "validation"),
    "kaggle": ("Train", "Test"),
    "mnist": ("training", "testing"),
    "coco": ("train2017", "val2017"),
    "upper": ("TRAIN", "VAL"),
    "sets": ("trainset", "test_set"),
}


@pytest.mark.parametrize("case", LAYOUTS)
def test_splits_go_by_many_names_in_any_case(case: str, tmp_path: Path) -> None:
    root, (train, test) = tmp_path / case, LAYOUTS[case]
    for split, count in ((train, 3), (test, 2)):
        for number in range(count):
            for name in ("cat", "dog"):
                write(root / split / name / f"{number}.jpg")
    index = opened(root).index
    assert index.class_names == ("cat", "dog")
    assert len(index) == 6
    assert index.summary() == "6 images of 2 classes (cat, dog)"
    assert len(opened(root, "test").index) == 4
    assert index.notes == ()


@pytest.mark.parametrize(
    ("folders", "named"),
    [
        (("train/cat", "dev/cat"), "train and dev"),
        (("train/cat", "extra"), "train and extra"),
        (("val/cat", "test/cat"), "val and test"),
        (("valid/cat", "other/cat"), "valid and other"),
        (("train2014/cat", "train2017/cat", "val2017/cat"), "train2014 and train2017"),
        (("Train/cat", "train/cat", "val/cat"), "Train and train"),
        (("train/cat", "valid/cat", "val/cat"), "val and valid"),
    ],
)
def test_folders_that_may_be_splits_or_classes_are_refused(
    folders: Sequence[str], named: str, tmp_path: Path
) -> None:
    for name in folders:
        write(tmp_path / "data" / name / "x.jpg")
    with refused(f"the folders {named} .* name the splits train and val"):
        opened(tmp_path / "data")


def test_folders_beside_the_splits_are_said(tmp_path: Path) -> None:
    for name in ("train/cat", "val/cat", "test", "extra"):
        write(tmp_path / "data" / name / "x.jpg")
    (tmp_path / "data" / "annotations").mkdir()
    (note,) = opened(tmp_path / "data").index.notes
    assert note == f"not used in {tmp_path}/data: 2 folders beside the splits (first: extra)"


def test_the_summary_names_the_first_classes(tmp_path: Path) -> None:
    for name in "abcdefg":
        write(tmp_path / "data" / name / "x.jpg")
    summary = opened(tmp_path / "data").index.summary()
    assert summary == "7 images of 7 classes (a, b, c, d, e, ...)"
    write(tmp_path / "one" / "ant\x1b[31m" / "x.jpg")
    assert opened(tmp_path / "one").index.summary() == r"1 images of 1 class (ant\x1b[31m)"
    write(tmp_path / "heap" / "x.jpg")
    assert opened(tmp_path / "heap").index.summary() == "1 images without classes"


def test_files_of_other_formats_are_counted_and_jpegs_by_other_names_read(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name in ("a/1.jpg", "b/1.jpg"):
        write(root / name)
    for name in ("b/2.jpe", "web/1.JFIF"):
        path = root / name
        path.parent.mkdir(exist_ok=True)
        shutil.copy(root / "a" / "1.jpg", path)
    for name in ("scans/1.tif", "scans/2.TIF", "anim/1.gif", "a/README"):
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_bytes(b"other")
    index = opened(root).index
    assert index.class_names == ("a", "b", "web")
    assert len(index) == 4
    assert index.notes == (
        f"not used in {root}: 2 .tif files (first: scans/1.tif); "
        "2 folders, left without images (first: anim, scans); "
        "1 .gif files (first: anim/1.gif); 1 files without extension (first: a/README)",
    )


def test_hidden_files_and_those_of_systems_are_no_data_and_no_word_is_lost_on_them(data: Path) -> None:
    before = opened(data).index
    names = ["cat/@eaDir/b.jpg/SYNOPHOTO_THUMB_M.jpg", "@eaDir/cover/x.jpg", "#recycle/x.jpg"]
    names += ["__MACOSX/cat/x.jpg", "cat/.ipynb_checkpoints/b-checkpoint.jpg", "$RECYCLE.BIN/x.jpg"]
    names += ["lost+found/x.jpg", "cat/._b.jpg", "cat/.hidden.jpg", ".thumbnails/x.jpg"]
    for name in names:
        write(data / name)
    (data / "dog").mkdir()
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini"):
        (data / "cat" / name).write_bytes(b"x")
    after = opened(data).index
    assert after.class_names == before.class_names
    assert after.fingerprint == before.fingerprint
    assert after.notes == ()


def test_a_pipe_never_blocks(data: Path) -> None:
    os.mkfifo(data / "cat" / "pipe.jpg")
    source = opened(data)
    assert len(source.index) == 6
    (note,) = source.index.notes
    assert note.endswith("1 pipes, sockets or devices (first: cat/pipe.jpg)")
    (data / "cat" / "b.jpg").unlink()
    os.mkfifo(data / "cat" / "b.jpg")
    with pytest.raises(OSError, match="not a regular file"):
        source.read(4)
    with pytest.raises(OSError, match="not a regular file"):
        image_size_of_file(data / "cat" / "b.jpg")


def test_a_header_that_the_disk_does_not_give_is_waited_for(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pipelines.files.patience._PAUSES", (0.0, 0.0))
    failures = iter([errno.EIO, errno.EMFILE])

    def read(path: str) -> tuple[int, int]:
        if path.endswith("e.bmp") and (number := next(failures, None)) is not None:
            raise OSError(number, os.strerror(number), path)
        return image_size_of_file(path)

    monkeypatch.setattr("pipelines.sources.image_sizes.image_size_of_file", read)
    assert opened(data).index.heights.min() > 0


def test_a_disk_that_does_not_recover_stops_with_its_words(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: str) -> tuple[int, int]:
        raise OSError(errno.EIO, os.strerror(errno.EIO), path)

    monkeypatch.setattr("pipelines.files.patience._PAUSES", (0.0,))
    monkeypatch.setattr("pipelines.sources.image_sizes.image_size_of_file", read)
    with refused("cannot read .*: Input/output error; start the same command again"):
        opened(data)


def test_a_file_changed_at_equal_size_and_time_is_noticed(tmp_path: Path) -> None:
    file = write(tmp_path / "data" / "a.bmp", 10, 20)
    opened(tmp_path / "data")
    before = file.stat()
    write(file, 20, 10)
    os.truncate(file, before.st_size)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert opened(tmp_path / "data").index.heights.tolist() == [20]


def test_a_mistake_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "data" / "cat").mkdir(parents=True)
    with refused("no images in .*data: .* in a folder per class"):
        opened(tmp_path / "data")
    for name in ("cat/a.jpg", "loose.jpg"):
        write(tmp_path / "data" / name)
    with refused("1 images beside them .*loose.jpg.*: move"):
        opened(tmp_path / "data")


def test_threads_read_at_once(data: Path) -> None:
    source = opened(data)
    alone = [source.read(number) for number in range(6)]
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(source.read, list(range(6)) * 50)) == alone * 50
