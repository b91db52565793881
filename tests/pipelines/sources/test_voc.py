from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines.command.errors import UserError
from pipelines.sources import NoSplitError, open_source
from pipelines.sources.objects import Objects
from pipelines.sources.subset import Subset
from pipelines.targets import TargetSource, target_kinds_of
from tests.helpers.refusals import refused
from tests.helpers.voc_devkit import HEIGHT, NAMES, SIDE, WIDTH, Square, annotation, write_voc


@pytest.fixture
def year(tmp_path: Path, own_cache: Path) -> Path:
    return tmp_path / "VOCdevkit" / "VOC2007"


def squares_of(objects: Objects, image: int) -> list[Square]:
    """What an index says of an image, as it was written."""
    found: list[Square] = []
    for number in range(objects.offsets[image], objects.offsets[image + 1]):
        left, top, right, bottom = objects.boxes[number].tolist()
        assert (right - left, bottom - top) == (SIDE, SIDE)
        found.append((NAMES[objects.labels[number]], left, top, bool(objects.difficult[number])))
    return found


def test_a_year_has_the_objects_of_its_annotations(year: Path) -> None:
    written = write_voc(year)
    for where in (year, year.parent):
        for split, names in (("train", list(written)[:24]), ("test", list(written)[24:])):
            source = open_source(str(where), split)  # type: ignore[arg-type]
            index = source.index
            assert (index.labels, index.class_names) == (None, NAMES)
            assert index.objects is not None
            assert [squares_of(index.objects, image) for image in range(len(index))] == [
                written[name] for name in names
            ]
            assert (set(index.heights.tolist()), set(index.widths.tolist())) == ({HEIGHT}, {WIDTH})
            assert source.describe(3).endswith(f"{names[3]}.jpg")
            assert source.read(3) == (year / "JPEGImages" / f"{names[3]}.jpg").read_bytes()
            assert index.summary() == f"{len(names)} images of 3 classes (blue, green, red)"


def test_presence_is_1_0_and_minus_1_for_difficult_objects_alone(year: Path) -> None:
    squares = {
        "difficult beside another": [("red", 0, 0, True), ("red", 16, 0, False)],
        "difficult alone": [("red", 0, 0, True), ("blue", 16, 0, False)],
        "none": [],
    }
    objects = Objects(
        offsets=np.array([0, 2, 4, 4]),
        labels=np.array([NAMES.index(name) for part in squares.values() for name, *_ in part]),
        boxes=np.zeros((4, 4), np.float32),
        difficult=np.array([difficult for part in squares.values() for *_, difficult in part]),
    )
    np.testing.assert_array_equal(objects.presence(3), [[0, 0, 1], [1, 0, -1], [0, 0, 0]])
    np.testing.assert_array_equal(objects.at(np.array([2, 1])).presence(3), [[0, 0, 0], [1, 0, -1]])


def test_a_subset_keeps_the_objects_of_its_images(year: Path) -> None:
    written = write_voc(year)
    part = Subset(open_source(str(year), "train"), np.array([7, 2, 11]))
    assert part.index.objects is not None
    assert [squares_of(part.index.objects, image) for image in range(3)] == [
        written[f"{number:06d}"] for number in (7, 2, 11)
    ]


def test_the_fingerprint_follows_labels_boxes_and_flags(year: Path) -> None:
    squares = write_voc(year)["000003"]
    path, prints = year / "Annotations" / "000003.xml", {open_source(str(year), "train").index.fingerprint}
    name, left, top, difficult = squares[0]
    other = NAMES[NAMES.index(name) - 1]
    for square in ((other, left, top, difficult), (name, left + 1, top, difficult), (name, left, top, True)):
        path.write_text(annotation([square, *squares[1:]]))
        prints.add(open_source(str(year), "train").index.fingerprint)
    assert len(prints) == 4


def test_without_test_txt_the_splits_are_train_and_val(year: Path) -> None:
    write_voc(year)
    lists = year / "ImageSets/Main"
    (lists / "test.txt").unlink()
    with pytest.raises(NoSplitError, match=r"neither test\.txt nor val\.txt"):
        open_source(str(year), "test")
    assert len(open_source(str(year), "train").index) == 24
    (lists / "train.txt").write_text("000001\n000002\n")
    (lists / "val.txt").write_text("000003\n")
    assert [len(open_source(str(year), split).index) for split in ("train", "test")] == [2, 1]


def test_a_list_may_be_named_and_has_no_test_split(year: Path) -> None:
    written = write_voc(year)
    source = open_source(f"{year}:test", "train")
    assert [source.describe(image)[-10:-4] for image in range(16)] == list(written)[24:]
    with pytest.raises(NoSplitError, match="test alone was asked for"):
        open_source(f"{year}:test", "test")
    with pytest.raises(UserError, match=r"no list all\.txt in .*Main: give one of test, trainval"):
        open_source(f"{year}:all", "train")
    with pytest.raises(UserError, match="no such folder or file"):
        open_source(f"{year}:", "train")


def test_targets_are_the_boxes_of_an_image(year: Path) -> None:
    written = write_voc(year)
    source = open_source(str(year), "train")
    assert isinstance(source, TargetSource)
    assert source.target_kinds == {"boxes"}
    for image, name in ((7, "000007"), (0, "000000")):
        targets, squares = source.targets(image), written[name]
        assert (targets.height, targets.width, targets.masks) == (HEIGHT, WIDTH, None)
        boxes = [[left, top, left + SIDE, top + SIDE] for _, left, top, _ in squares]
        np.testing.assert_array_equal(targets.boxes, np.array(boxes, np.float32).reshape(-1, 4), strict=True)
        np.testing.assert_array_equal(targets.classes, [NAMES.index(square[0]) for square in squares])
        np.testing.assert_array_equal(targets.areas, np.full(len(squares), SIDE**2, np.float32), strict=True)
        np.testing.assert_array_equal(targets.difficult, np.array([s[3] for s in squares], bool), strict=True)


def test_trainval_of_two_years_is_one_data_set(year: Path) -> None:
    """VOC07+12 of detection: trainval of both, test of VOC2007; a class that one lacks counts too."""
    write_voc(year)
    other = year.parent / "VOC2012"
    written = write_voc(other, seed=1)
    for file in (other / "Annotations").iterdir():
        file.write_text(file.read_text().replace("blue", "azure"))
    where = f"{year} + {other}:trainval"
    train, test = open_source(where, "train"), open_source(where, "test")
    assert (len(train.index), len(test.index)) == (48, 16)
    assert train.index.class_names == test.index.class_names == ("azure", "blue", "green", "red")
    assert isinstance(train, TargetSource)
    assert train.target_kinds == target_kinds_of(test) == {"boxes"}
    classes = train.targets(24 + 7).classes
    assert classes is not None
    names = ["azure" if name == "blue" else name for name, *_ in written["000007"]]
    assert [train.index.class_names[label] for label in classes] == names
    assert train.index.objects is not None
    np.testing.assert_array_equal(train.index.objects.at(np.array([31])).labels, classes)
    np.testing.assert_array_equal(Subset(train, np.array([5, 31])).targets(1).classes, classes)


def rewrite(file: str, old: str, new: str) -> Callable[[Path], None]:
    def change(year: Path) -> None:
        text = (year / file).read_text()
        assert old in text
        (year / file).write_text(text.replace(old, new, 1))

    return change


XML = "Annotations/000003.xml"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (rewrite(XML, "<annotation>", "<annotation"), r"000003\.xml is no annotation of VOC \("),
        (rewrite(XML, "annotation>", "page>"), r"000003\.xml is no annotation of VOC"),
        (rewrite(XML, "<xmin>1</xmin>", "<xmin>left</xmin>"), r"xmin of \w+ must be a number, not 'left'"),
        (rewrite(XML, "<xmin>1</xmin>", "<xmin>nan</xmin>"), r"xmin of \w+ must be a number, not 'nan'"),
        (rewrite(XML, "<xmin>1</xmin>", ""), r"xmin of \w+ must be a number, not ''"),
        (rewrite(XML, "<xmin>1</xmin>", "<xmin>99</xmin>"), r"box of \w+ ends before it begins"),
        (rewrite(XML, "<difficult>0", "<difficult>maybe"), "difficult of .* must be 0 or 1, not maybe"),
        (rewrite(XML, "<name>", "<title>"), "is no annotation of VOC"),
        (lambda year: (year / XML).unlink(), r"no such annotation: .*000003\.xml; its image has no labels"),
        (lambda year: (year / "JPEGImages/000003.jpg").unlink(), r"cannot read the image .*000003\.jpg"),
        (rewrite("ImageSets/Main/trainval.txt", "000003", "000003  1"), "line 4: give the name of an image"),
        (rewrite("ImageSets/Main/trainval.txt", "000003", "000002"), "line 4: 000002 stands there twice"),
        (lambda year: (year / "ImageSets/Main/trainval.txt").write_text("\n"), "no images in"),
        (lambda year: (year / "ImageSets/Main/trainval.txt").unlink(), r"neither train\.txt nor trainval"),
        (lambda year: write_voc(year.parent / "VOC2012"), "holds several years: give .*VOC2007 or .*VOC2012"),
    ],
)
def test_mistakes_are_one_line(year: Path, change: Callable[[Path], object], said: str) -> None:
    write_voc(year)
    change(year)
    where = year.parent if "years" in said else year
    with refused(said):
        open_source(str(where), "train")
