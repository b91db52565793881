"""Cityscapes' folders: classes of the benchmark, other classes, label files that are missing or damaged."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.command.errors import UserError
from pipelines.sources import NoSplitError, open_source
from pipelines.sources.cityscapes import CityscapesSource
from pipelines.sources.splits import Split
from pipelines.targets import target_kinds_of
from tests.helpers.refusals import refused

HEIGHT, WIDTH = 24, 36
PICTURES = {"train": ["aachen_000000_000019", "aachen_000001_000019", "bochum_000000_000313"]}
PICTURES["val"] = ["ulm_000000_000019"]
# The benchmark's classes: label id, train id, name.
PAPER = """
7 0 road, 8 1 sidewalk, 11 2 building, 12 3 wall, 13 4 fence, 17 5 pole, 19 6 traffic light,
20 7 traffic sign, 21 8 vegetation, 22 9 terrain, 23 10 sky, 24 11 person, 25 12 rider, 26 13 car,
27 14 truck, 28 15 bus, 31 16 train, 32 17 motorcycle, 33 18 bicycle
"""


def place(root: Path, split: str, name: str, kind: str) -> Path:
    folder, end = {"image": ("leftImg8bit", "leftImg8bit"), "label": ("gtFine", "gtFine_labelIds")}[kind]
    return root / folder / split / name.partition("_")[0] / f"{name}_{end}.png"


def write_labels(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(path)


@pytest.fixture
def root(tmp_path: Path, own_cache: Path) -> Path:
    root = tmp_path / "cityscapes"
    generator = np.random.default_rng(0)
    for split, names in PICTURES.items():
        for name in names:
            pixels = generator.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            write_labels(place(root, split, name, "image"), pixels)
            ids = generator.integers(-1, 34, (HEIGHT, WIDTH)).astype(np.uint8)  # -1, a license plate, is 255
            write_labels(place(root, split, name, "label"), ids)
    (root / "gtFine/train/aachen/aachen_000000_000019_gtFine_polygons.json").write_text("{}")
    return root


def opened(root: Path, split: Split = "train") -> CityscapesSource:
    source = open_source(str(root), split)
    assert isinstance(source, CityscapesSource)
    return source


def test_classes_are_the_nineteen_of_the_benchmark(root: Path) -> None:
    train_id = {int(words.split()[0]): int(words.split()[1]) for words in PAPER.split(",")}
    for split, folder in (("train", "train"), ("test", "val")):
        source = opened(root, split)  # type: ignore[arg-type]
        assert source.index.segmentation_names == tuple(" ".join(w.split()[2:]) for w in PAPER.split(","))
        assert (source.index.labels, source.index.objects, source.index.class_names) == (None, None, ())
        assert target_kinds_of(source) == {"segmentation"}
        for index, name in enumerate(PICTURES[folder]):
            assert source.key(index) == name
            path = place(root, folder, name, "image")
            assert (source.describe(index), source.read(index)) == (str(path), path.read_bytes())
            ids = np.asarray(Image.open(place(root, folder, name, "label")))
            expected = np.vectorize(lambda number: train_id.get(number, 255))(ids).astype(np.uint8)
            targets = source.targets(index)
            np.testing.assert_array_equal(targets.segmentation, expected, strict=True)
            assert (targets.height, targets.width, targets.boxes) == (HEIGHT, WIDTH, None)
            assert {0, 18, 255} <= set(np.unique(expected))
    assert opened(root).index.notes == ()


def test_a_set_of_other_classes_names_them(root: Path) -> None:
    first = opened(root).index.fingerprint
    (root / "classes.txt").write_text("background\na cat\ndog\n")
    labels = np.random.default_rng(1).choice(np.array([0, 1, 2, 255], np.uint8), (HEIGHT, WIDTH))
    for form in (Image.fromarray(labels), Image.fromarray(labels).convert("P")):
        form.putpalette(list(range(256)) * 3) if form.mode == "P" else None
        form.save(place(root, "train", PICTURES["train"][0], "label"))
        np.testing.assert_array_equal(opened(root).targets(0).segmentation, labels)
    index = opened(root).index
    assert index.segmentation_names == ("background", "a cat", "dog")
    assert index.fingerprint != first
    with pytest.raises(UserError, match=r"aachen_000001_000019.* holds numbers that are no label ids"):
        opened(root).targets(1)
    for text in ("", "a\n\nb\n", "a\nb\na\n"):
        (root / "classes.txt").write_text(text)
        with pytest.raises(UserError, match=r"classes\.txt must hold 1 to 253 names, a line each"):
            opened(root)


SAVED_AS: dict[str, np.ndarray] = {
    "RGB": np.zeros((HEIGHT, WIDTH, 3), np.uint8),
    "16 bits": np.zeros((HEIGHT, WIDTH), np.uint16),
    "smaller": np.zeros((WIDTH, HEIGHT), np.uint8),
    "no id": np.full((HEIGHT, WIDTH), 34, np.uint8),
}


def four_bits(path: Path) -> None:
    """Save as a gray PNG of 4 bits, whose levels Pillow multiplies by 17."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        length, checksum = struct.pack(">I", len(content)), struct.pack(">I", zlib.crc32(kind + content))
        return length + kind + content + checksum

    header = struct.pack(">IIBBBBB", WIDTH, HEIGHT, 4, 0, 0, 0, 0)
    rows = zlib.compress(HEIGHT * (b"\0" + WIDTH // 2 * b"\x11"))
    content = chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)


def saved(name: str) -> Callable[[Path], None]:
    return lambda path: write_labels(path, SAVED_AS[name])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (Path.unlink, r"1 of 3 images have no label file in .*train, .*NAME: unpack"),
        (saved("smaller"), "NAME has 36 x 24 pixels, its image 24 x 36"),
        (lambda path: path.write_bytes(b"broken"), "NAME has 0 x 0 pixels"),
        (lambda path: path.write_bytes(path.read_bytes()[:200]), r"NAME is damaged \(.*: fetch it again"),
        (saved("RGB"), "NAME has no numbers of 8 bits"),
        (saved("16 bits"), "NAME has no numbers of 8 bits"),
        (four_bits, "NAME has no numbers of 8 bits"),
        (saved("no id"), "NAME holds numbers that are no label ids"),
    ],
)
def test_mistakes_are_one_line(root: Path, change: Callable[[Path], object], said: str) -> None:
    path = place(root, "train", PICTURES["train"][1], "label")
    change(path)
    with refused(said.replace("NAME", path.name)):
        opened(root).targets(1)


def test_what_is_not_used_is_counted(root: Path) -> None:
    Image.new("RGB", (3, 4)).save(root / "leftImg8bit/train/aachen/photo.png")
    assert opened(root).index.notes == (
        f"not used in {root}/leftImg8bit/train: 1 images that are not named CITY/NAME_leftImg8bit.png "
        "(first: aachen/photo.png)",
    )
    (root / "leftImg8bit/val").rename(root / "leftImg8bit/test")
    with pytest.raises(NoSplitError, match="has no test split: no folder leftImg8bit/val"):
        opened(root, "test")
    (root / "leftImg8bit/train").rename(root / "elsewhere")
    with refused("has no train split"):
        opened(root)
