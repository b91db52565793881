import json
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch

from fastssl.evaluate.data import LabeledData, labeled_data
from fastssl.evaluate.features import FeatureConfig
from fastssl.evaluate.monitor import open_monitor
from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages
from pipelines.ops import CenterCrop
from pipelines.sources import open_source
from pipelines.sources.shards import write_shard
from pipelines.views import ViewSpec
from tests.helpers.image_folder import write_colors

pytestmark = pytest.mark.usefixtures("own_cache")


def names(data: LabeledData) -> tuple[set[str], set[str]]:
    """The files of training and test images."""
    train, test = (
        {Path(source.describe(i)).as_posix() for i in range(len(source.index))}
        for source in (data.train, data.test)
    )
    return train, test


def test_a_test_split_is_taken_whole(tmp_path: Path) -> None:
    write_colors(tmp_path / "data" / "train", 5)
    write_colors(tmp_path / "data" / "test", 2)
    data = labeled_data(str(tmp_path / "data"))
    assert data.test_images_are == "test split"
    assert data.num_classes == 3
    assert data.train.index.class_names == ("blue", "green", "red")
    bank, queries = names(data)
    assert bank == {path.as_posix() for path in (tmp_path / "data" / "train").rglob("*.jpg")}
    assert queries == {path.as_posix() for path in (tmp_path / "data" / "test").rglob("*.jpg")}


def test_one_class_has_no_accuracy(tmp_path: Path) -> None:
    """An unpacked archive with a folder too many; or just one class."""
    write_colors(tmp_path / "data" / "PetImages", 10)
    outer, inner = tmp_path / "data", tmp_path / "data" / "PetImages"
    with pytest.raises(UserError, match=f"{outer} has one class, PetImages: give {inner}\\?"):
        labeled_data(str(outer))
    config = FeatureConfig(spec=ViewSpec(), device=torch.device("cpu"), bad_images=BadImages(None, 10))
    monitor, line = open_monitor(str(outer), config)
    assert monitor is None
    assert line == f"no kNN monitor: {outer} has one class, PetImages: give {inner}?"
    assert labeled_data(str(inner)).num_classes == 3
    write_colors(tmp_path / "flat", 10, names=("red",))
    with pytest.raises(UserError, match="has one class, red: accuracies need two or more"):
        labeled_data(str(tmp_path / "flat"))


def test_without_a_test_split_a_fifth_is_held_out_for_good(tmp_path: Path) -> None:
    write_colors(tmp_path / "data", 200, side=8)
    bank, queries = names(labeled_data(str(tmp_path / "data")))
    assert len(bank | queries) == 600
    assert not bank & queries
    assert abs(len(queries) / 600 - 0.2) < 4 * (0.2 * 0.8 / 600) ** 0.5
    assert names(labeled_data(str(tmp_path / "data"))) == (bank, queries)
    assert "20%" in labeled_data(str(tmp_path / "data")).test_images_are
    assert "seen in pre-training" in labeled_data(str(tmp_path / "data")).test_images_are


def test_the_held_out_images_are_the_same_wherever_the_folder_lies_and_whatever_is_added(
    tmp_path: Path,
) -> None:
    write_colors(tmp_path / "here", 60, side=8)
    write_colors(tmp_path / "there" / "copy", 80, side=8, seed=1)  # other pixels, twenty more a class
    here, there = (
        {Path(path).relative_to(folder).as_posix() for path in names(labeled_data(str(folder)))[1]}
        for folder in (tmp_path / "here", tmp_path / "there" / "copy")
    )
    assert here <= there
    assert {name for name in there if int(Path(name).stem) < 60} == here


def test_labels_and_files_stay_together(tmp_path: Path) -> None:
    write_colors(tmp_path / "data", 30, side=8)
    data = labeled_data(str(tmp_path / "data"), largest_train=40)
    for source in (data.train, data.test):
        assert source.index.labels is not None
        for i, label in enumerate(source.index.labels):
            assert Path(source.describe(i)).parent.name == data.train.index.class_names[label]


def test_large_parts_are_cut_by_keys(tmp_path: Path) -> None:
    write_colors(tmp_path / "data" / "train", 40, side=8)
    write_colors(tmp_path / "data" / "test", 9, side=8)
    where = str(tmp_path / "data")
    whole, queries = names(labeled_data(where, largest_train=120, largest_test=27))
    assert (len(whole), len(queries)) == (120, 27)
    part, same_queries = names(labeled_data(where, largest_train=60))
    assert len(part) == 60
    assert part < whole
    assert same_queries == queries
    assert names(labeled_data(where, largest_train=60))[0] == part
    labels = labeled_data(where, largest_train=60).train.index.labels
    assert labels is not None
    assert np.bincount(labels, minlength=3).min() >= 10  # of every class
    same_bank, few = names(labeled_data(where, largest_test=10))
    assert len(few) == 10
    assert few < queries
    assert same_bank == whole
    assert names(labeled_data(where, largest_test=10))[1] == few


def one_line_about(where: Path) -> str:
    with pytest.raises(UserError) as refusal:
        labeled_data(str(where))
    assert "\n" not in str(refusal.value)
    assert str(where) in str(refusal.value)
    return str(refusal.value)


def test_no_classes_is_a_users_mistake_with_its_remedy(tmp_path: Path) -> None:
    write_colors(tmp_path / "heap", 5)
    heap = tmp_path / "heap" / "red"
    line = one_line_about(heap)
    assert "no classes" in line
    assert "folder" in line
    spec = ViewSpec(size=8, crop=CenterCrop())
    how = FeatureConfig(spec=spec, device=torch.device("cpu"), bad_images=BadImages(None, 10))
    monitor, said = open_monitor(str(heap), how)
    assert monitor is None
    assert line in said


def test_a_class_without_test_images_is_none_the_less_a_class(tmp_path: Path) -> None:
    write_colors(tmp_path / "data" / "train", 3)
    write_colors(tmp_path / "data" / "test", 3, names=("red", "green"))
    data = labeled_data(str(tmp_path / "data"))
    assert data.num_classes == 3
    assert data.test.index.labels is not None
    assert set(data.test.index.labels.tolist()) == {1, 2}


def test_test_images_without_classes_are_refused(tmp_path: Path) -> None:
    write_colors(tmp_path / "data" / "train", 3)
    write_colors(tmp_path / "other", 3)
    (tmp_path / "other" / "red").rename(tmp_path / "data" / "test")
    assert "test images" in one_line_about(tmp_path / "data")


def write_shards(folder: Path, train: list[tuple[int, str]], test: list[tuple[int, str]]) -> str:
    """Two tar shards of gray images with these labels (a name or "") and the pattern that finds them."""
    picture = simplejpeg.encode_jpeg(np.full((8, 8, 3), 128, np.uint8))
    for split, labels in (("train", train), ("val", test)):
        write_shard(
            folder / f"{split}-0.tar",
            [
                (f"{split}{i}", {"jpg": picture, "json": json.dumps(fields_of(*label)).encode()})
                for i, label in enumerate(labels)
            ],
        )
    return str(folder / "*.tar")


def fields_of(number: int, name: str) -> dict[str, object]:
    return {"label": number} | ({"class_name": name} if name else {})


def test_shards_whose_test_images_lack_the_last_class_are_fine(tmp_path: Path) -> None:
    where = write_shards(tmp_path, [(0, ""), (1, ""), (2, "")], [(1, ""), (0, "")])
    data = labeled_data(where)
    assert data.num_classes == 3
    assert data.test.index.labels is not None
    assert data.test.index.labels.tolist() == [1, 0]


@pytest.mark.parametrize(
    "test", [[(0, "cat"), (1, "dog")], [(0, "ant"), (2, "cow")], [(0, "ant"), (5, "bat")]]
)
def test_shards_that_number_classes_otherwise_are_refused(
    tmp_path: Path, test: list[tuple[int, str]]
) -> None:
    where = write_shards(tmp_path, [(0, "ant"), (1, "bat")], test)
    with pytest.raises(UserError, match=r"have a class that its training images lack[^\n]*$"):
        labeled_data(where)


def test_too_few_images_to_hold_some_out(tmp_path: Path) -> None:
    write_colors(tmp_path / "data", 1, names=("red", "blue"))
    train = open_source(str(tmp_path / "data"), "train")
    assert len(train.index) == 2
    assert "too few images" in one_line_about(tmp_path / "data")


def test_one_image_a_class_leaves_nothing_to_be_near_to(tmp_path: Path) -> None:
    write_colors(tmp_path / "red", 40, names=("red",))
    for number, image in enumerate((tmp_path / "red").rglob("*.jpg")):
        alone = tmp_path / "data" / f"class {number}" / image.name
        alone.parent.mkdir(parents=True)
        image.rename(alone)
    assert "too few images per class" in one_line_about(tmp_path / "data")
