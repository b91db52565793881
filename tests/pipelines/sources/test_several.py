"""Several places as one data set."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.command.errors import UserError
from pipelines.pack import Options, pack
from pipelines.sources import NoSplitError, open_source
from pipelines.sources.several import SeveralSources, _name
from pipelines.targets import target_kinds_of, targets_of
from tests.helpers.known_labels import labels_of


@pytest.fixture(autouse=True)
def here(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(*names: str) -> None:
    """Images whose widths count up from 20."""
    for width, name in enumerate(names, 20):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (width, 30), (width, 0, 0)).save(name)


@pytest.fixture
def zoo_and_farm(here: Path) -> None:
    write("zoo/cat/0.png", "zoo/emu/0.png", "farm/cat/0.png", "farm/cow/1.png", "farm/cow/2.png")


@pytest.mark.usefixtures("zoo_and_farm")
def test_samples_of_both_with_the_classes_of_both() -> None:
    source = open_source("zoo + farm", "train")
    index = source.index
    assert index.widths.tolist() == [20, 21, 22, 23, 24]
    assert index.class_names == ("cat", "cow", "emu")
    assert labels_of(index) == [0, 2, 0, 1, 1]
    assert source.describe(2) == "farm/cat/0.png"
    assert source.read(2) == Path("farm/cat/0.png").read_bytes()
    assert isinstance(source, SeveralSources)
    assert [source.key(i) for i in (0, 2)] == ["zoo/cat/0", "farm/cat/0"]
    assert len(set(index.sample_ids.tolist())) == 5
    with pytest.raises(NoSplitError):
        open_source("zoo + farm", "test")


@pytest.mark.usefixtures("zoo_and_farm")
def test_classes_may_be_kept_apart() -> None:
    index = open_source("zoo + farm?classes=separate", "train").index
    assert index.class_names == ("farm/cat", "farm/cow", "zoo/cat", "zoo/emu")
    assert labels_of(index) == [2, 3, 0, 1, 1]
    assert index.fingerprint != open_source("zoo + farm", "train").index.fingerprint


@pytest.mark.usefixtures("zoo_and_farm")
def test_ids_do_not_depend_on_where_a_place_lies_or_what_is_beside_it(here: Path) -> None:
    ids = open_source("zoo + farm", "train").index.sample_ids.tolist()
    turned = open_source(f"{here}/farm + ./zoo/", "train").index
    assert turned.sample_ids.tolist() == ids[2:] + ids[:2]
    assert turned.fingerprint != open_source("zoo + farm", "train").index.fingerprint
    write("elsewhere/farm/cat/0.png")
    assert open_source("zoo + elsewhere/farm", "train").index.sample_ids.tolist() == ids[:3]


@pytest.mark.usefixtures("zoo_and_farm")
def test_shards_and_folders_go_together_and_pack_to_shards(here: Path) -> None:
    pack(Options(src="farm", dst=Path("packed"), workers=1))
    both = "zoo + packed/train-*.tar"
    source = open_source(both, "train")
    assert source.index.class_names == ("cat", "cow", "emu")
    assert isinstance(source, SeveralSources)
    assert source.key(2) == "packed/cat/0"
    source.read_ahead(0, 5)
    source.read_ahead(4, 5)
    pack(Options(src=both, dst=Path("all"), workers=1))
    again = open_source("all", "train")
    assert again.index.sample_ids.tolist() == source.index.sample_ids.tolist()
    assert again.index.class_names == source.index.class_names
    assert [again.read(i) for i in range(5)] == [source.read(i) for i in range(5)]


def test_the_test_split_is_that_of_the_places_that_have_one() -> None:
    write("a/train/x/0.png", "a/train/y/0.png", "a/val/x/1.png", "a/val/y/1.png", "b/v/0.png", "b/x/1.png")
    test = open_source("a + b", "test").index
    assert test.widths.tolist() == [22, 23]
    assert test.class_names == open_source("a + b", "train").index.class_names == ("v", "x", "y")
    assert test.notes == ("without a test split, and so not in it: b",)


def test_without_labels_in_one_there_are_none() -> None:
    write("a/x/0.png", "a/y/0.png", "b/0.png", "b/1.png")
    index = open_source("a + b", "train").index
    assert index.labels is None
    assert index.class_names == ()
    assert "labels are not used: some places have none" in index.notes


def test_targets_are_those_of_the_place() -> None:
    write("farm/cat/0.png", "farm/cow/1.png")
    single, multi = "scenes:single-1111,images=3", "scenes:multi-1111,images=2"
    source, second = open_source(f"{single} + {multi}", "train"), open_source(multi, "train")
    assert (source.index.labels, source.index.class_names[:2]) == (None, ("airplane", "bench"))
    assert source.index.segmentation_names == second.index.segmentation_names
    assert target_kinds_of(source) == target_kinds_of(second) == {"boxes", "masks", "segmentation", "depth"}
    theirs, ours = vars(targets_of(second, 1)), vars(targets_of(source, 4))
    for name, value in theirs.items():
        np.testing.assert_array_equal(ours[name], value, strict=isinstance(value, np.ndarray))
    shifted = open_source(f"{multi} + {single},label=pose", "train")  # poses come before classes
    np.testing.assert_array_equal(targets_of(shifted, 1).classes, 5 + theirs["classes"])
    assert target_kinds_of(open_source(f"farm + {multi}", "train")) == set()
    with pytest.raises(TypeError, match="has no targets"):
        targets_of(open_source("farm", "train"), 0)


@pytest.mark.usefixtures("zoo_and_farm")
@pytest.mark.parametrize(
    ("where", "words"),
    [
        ("zoo + lost", "no such folder or file: lost; give"),
        ("zoo + ", "a place has no name"),
        ("zoo + zoo", "these are zoo and zoo: give folders of different names, or links"),
    ],
)
def test_a_mistake_is_one_line(where: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        open_source(where, "train")


@pytest.mark.parametrize(
    ("where", "name"),
    [
        ("s3://bucket/birds/train-{000..127}.tar", "birds"),
        ("s3://bucket/birds/*.parquet?cache=20e9&image=photo", "birds"),
        ("gs://bucket/birds/?cache=1GB", "birds"),
        ("gs://bucket/birds", "birds"),
        ("https://host/sets/birds.tar?cache=1GB", "birds"),
        ("s3://bucket/*.tar", "bucket"),
    ],
)
def test_an_address_is_named_as_the_same_place_on_a_disk(where: str, name: str) -> None:
    assert _name(where) == name
