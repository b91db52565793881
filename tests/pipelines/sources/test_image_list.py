"""A list of images: paths and labels as they stand in it, and one line on what does not fit."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.decode.decode import decode
from pipelines.pack import Options, pack
from pipelines.sources import open_source
from tests.helpers.encoded import encoded
from tests.helpers.known_labels import labels_of
from tests.helpers.refusals import refused

pytestmark = pytest.mark.usefixtures("own_cache")


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Six images of different sizes and colors in two folders."""
    for i, name in enumerate(("a/0.png", "a/1.png", "b/2.png", "b/3.png", "b/4.png", "5.png")):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20 + i, 30), (40 * i, 0, 100)).save(path)
    return tmp_path / "images"


def write(path: Path, *lines: str, end: str = "\n") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + end for line in lines).encode())
    return str(path)


def test_images_and_labels_are_those_of_the_lines(images: Path) -> None:
    where = write(images / "list.tsv", "b/2.png\tdog", "a/0.png\tcat", "5.png\tdog", f"{images}/a/1.png\tcat")
    source = open_source(where, "train")
    index = source.index
    assert index.class_names == ("cat", "dog")
    assert labels_of(index) == [1, 0, 1, 0]
    assert index.widths.tolist() == [22, 20, 25, 21]
    assert index.heights.tolist() == [30] * 4
    assert [decode(source.read(i))[0, 0, 0] for i in range(4)] == [80, 0, 200, 40]
    assert source.describe(0) == f"{images}/b/2.png"


def test_without_labels_there_are_no_classes(images: Path) -> None:
    index = open_source(write(images / "list.tsv", "a/0.png", "", "b/2.png", end="\r\n"), "train").index
    assert index.labels is None
    assert index.class_names == ()
    assert len(index) == 2


def test_ids_are_those_of_the_same_paths_in_a_folder(images: Path) -> None:
    """The views of an image do not change when its folder is listed."""
    (images / "5.png").unlink()
    folder = open_source(str(images), "train").index
    names = ["b/3.png", "a/1.png", "b/4.png", "a/0.png", "b/2.png"]
    listed = open_source(write(images / "list.tsv", *names), "train").index
    assert listed.sample_ids.tolist() == [folder.sample_ids[sorted(names).index(name)] for name in names]


def test_an_id_does_not_depend_on_how_a_path_is_written(images: Path, tmp_path: Path) -> None:
    plain = open_source(write(images / "list.tsv", "a/0.png", "b/2.png"), "train").index
    other = open_source(write(images / "list.tsv", "./a//0.png", f"{images}/b/2.png"), "train").index
    assert other.sample_ids.tolist() == plain.sample_ids.tolist()
    pack(Options(src=str(images / "list.tsv"), dst=tmp_path / "packed", workers=1))


def test_a_folder_of_that_name_is_a_folder(images: Path, tmp_path: Path) -> None:
    images.rename(tmp_path / "images.tsv")
    with refused("class folders and 1 images beside them"):
        open_source(str(tmp_path / "images.tsv"), "train")


def test_numbers_are_sorted_as_numbers(images: Path) -> None:
    where = write(images / "list.tsv", "a/0.png\t10", "a/1.png\t9", "b/2.png\t0")
    index = open_source(where, "train").index
    assert index.class_names == ("0", "9", "10")
    assert labels_of(index) == [2, 1, 0]


@pytest.mark.parametrize("word", ["val", "test", "valid", "validation", "testing"])
def test_a_list_beside_it_is_the_test_split(images: Path, word: str) -> None:
    train = write(images / "my-train.tsv", "a/0.png\tcat", "b/2.png\tdog")
    write(images / f"my-{word}.tsv", "b/3.png\tdog", "a/1.png\tcat", "5.png\tfox")
    test = open_source(train, "test").index
    assert test.widths.tolist() == [23, 21, 25]
    assert test.class_names == open_source(train, "train").index.class_names == ("cat", "dog", "fox")
    assert labels_of(test) == [1, 0, 2]


def test_a_path_that_is_listed_twice_is_two_samples(images: Path) -> None:
    where = write(images / "list.tsv", "a/0.png", "b/2.png", "a/0.png", "./a/0.png")
    for _ in range(2):  # the second time with the sizes that were kept
        index = open_source(where, "train").index
        assert len(set(index.sample_ids.tolist())) == 4
        assert index.widths.tolist() == [20, 22, 20, 20]


def test_the_fingerprint_tells_of_labels_and_order(images: Path) -> None:
    lists = (
        ("a/0.png\tcat", "a/1.png\tdog"),
        ("a/0.png\tdog", "a/1.png\tcat"),
        ("a/1.png\tdog", "a/0.png\tcat"),
    )
    found = {open_source(write(images / "list.tsv", *lines), "train").index.fingerprint for lines in lists}
    assert len(found) == 3


def test_a_list_is_packed_with_its_ids_and_labels(images: Path, tmp_path: Path) -> None:
    where = write(images / "list.tsv", "b/2.png\tdog", "a/0.png\tcat", "5.png\tdog")
    pack(Options(src=where, dst=tmp_path / "packed", workers=1))
    listed, packed = open_source(where, "train").index, open_source(str(tmp_path / "packed"), "train").index
    np.testing.assert_array_equal(packed.sample_ids, listed.sample_ids)
    assert labels_of(packed) == labels_of(listed)
    assert packed.class_names == listed.class_names


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], ["no images in", "one path per line"]),
        (["a/0.png", "a/9.png"], ["line 2", "no such file", "a/9.png"]),
        (["path\tlabel", "a/0.png\tcat"], ["line 1", "no such file", "no header line"]),
        (["a/0.png\tcat", "a/1.png"], ["line 2", "some lines have a label"]),
        (["a/0.png", "a/1.png\tcat"], ["line 2", "some lines have a label"]),
        (["a/0.png\tcat\tdog"], ["line 1", "PATH<tab>LABEL"]),
        (["\tcat"], ["line 1", "PATH<tab>LABEL"]),
        (["a/\0.png"], ["line 1", "no such file"]),
        (["a/0.png", "", "a"], ["line 3", "no file"]),
    ],
)
def test_a_mistake_is_one_line_with_its_place(images: Path, lines: list[str], words: list[str]) -> None:
    with refused("list.tsv", *words):
        open_source(write(images / "list.tsv", *lines), "train")


def test_a_missing_list_is_named(tmp_path: Path) -> None:
    with refused(r"cannot read the list .*gone\.tsv: No such file"):
        open_source(str(tmp_path / "gone.tsv"), "train")


def test_a_damaged_image_is_a_bad_sample_and_no_mistake(images: Path) -> None:
    (images / "a/0.png").write_bytes(b"no image")
    index = open_source(write(images / "list.tsv", "a/0.png", "a/1.png"), "train").index
    assert index.widths.tolist() == [0, 21]


def test_names_need_not_be_valid_text(images: Path) -> None:
    name = b"a/\xff\xfe.png"
    with open(bytes(images) + b"/" + name, "wb") as out:
        out.write(encoded(Image.new("RGB", (9, 8)), "PNG"))
    (images / "list.tsv").write_bytes(name + b"\n")
    source = open_source(str(images / "list.tsv"), "train")
    assert source.index.widths.tolist() == [9]
    source.describe(0).encode()  # can be printed
