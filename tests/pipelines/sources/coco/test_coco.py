"""COCO's folders: targets as pycocotools has them, the cache, what is left out, mistakes."""

from __future__ import annotations

import contextlib
import io
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipelines.command.errors import UserError
from pipelines.sources import NoSplitError, open_source
from pipelines.sources.cache import cache_file
from pipelines.sources.coco import coco_file
from pipelines.sources.coco.coco import CocoSource
from pipelines.sources.splits import Split
from tests.helpers.coco_folder import CATEGORIES, NAMES, SETS, write_coco, write_json
from tests.helpers.mutations import damaged_files, mutations
from tests.helpers.refusals import refused

SPLITS: dict[Split, str] = {"train": "train2017", "test": "val2017"}
Content = dict[str, Any]


@pytest.fixture
def root(tmp_path: Path, own_cache: Path) -> Path:
    return tmp_path / "coco"


def opened(root: Path, split: Split = "train") -> CocoSource:
    source = open_source(str(root), split)
    assert isinstance(source, CocoSource)
    return source


def assert_as_pycocotools(source: CocoSource, root: Path, name: str, order: list[str]) -> int:
    """Compare all targets with pycocotools' own reading of the JSON; returns the number of objects."""
    coco_api = pytest.importorskip("pycocotools.coco")
    with contextlib.redirect_stdout(io.StringIO()):
        reference = coco_api.COCO(root / "annotations" / f"instances_{name}.json")
    images = {info["file_name"]: info for info in reference.dataset["images"]}
    names = {each["id"]: each["name"] for each in reference.dataset["categories"]}
    count = 0
    for position, file_name in enumerate(order):
        info, targets = images[file_name], source.targets(position)
        objects = reference.loadAnns(reference.getAnnIds(info["id"]))
        assert (targets.height, targets.width) == (info["height"], info["width"])
        assert source.describe(position) == str(root / name / file_name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of numpy, on pycocotools
            masks = [reference.annToMask(each) for each in objects]
        shape = (0, info["height"], info["width"])
        expected = np.stack(masks).astype(bool) if masks else np.zeros(shape, bool)
        np.testing.assert_array_equal(targets.masks, expected, strict=True)
        x, y, width, height = np.array([each["bbox"] for each in objects], np.float64).reshape(-1, 4).T
        boxes = np.stack([x, y, x + width, y + height], axis=1).astype(np.float32)
        np.testing.assert_array_equal(targets.boxes, boxes, strict=True)
        areas = np.array([each["area"] for each in objects], np.float32)
        np.testing.assert_array_equal(targets.areas, areas, strict=True)
        crowd = np.array([each["iscrowd"] for each in objects], bool)
        np.testing.assert_array_equal(targets.crowd, crowd, strict=True)
        assert targets.classes is not None
        assert targets.classes.dtype == np.int64
        found = [source.index.class_names[label] for label in targets.classes]
        assert found == [names[each["category_id"]] for each in objects]
        count += len(objects)
    return count


@pytest.mark.parametrize("split", SPLITS)
def test_targets_are_pycocotools(root: Path, split: Split) -> None:
    made = write_coco(root)[SPLITS[split]]
    source = opened(root, split)
    order = [info["file_name"] for info in made["images"]]
    for again in (source, opened(root, split)):  # from the JSON, and from the cache
        assert assert_as_pycocotools(again, root, SPLITS[split], order) == len(made["annotations"])
    assert source.target_kinds == {"boxes", "masks"}
    index = source.index
    assert (index.labels, index.class_names) == (None, NAMES)
    assert index.heights.tolist() == [info["height"] for info in made["images"]]
    assert index.objects is not None
    assert len(index.objects.labels) == len(made["annotations"])
    folder = root / SPLITS[split]
    without = [f"1 of {len(order)} images in {folder} have no object"] if SPLITS[split] == "train2017" else []
    assert list(index.notes) == without
    assert source.read(2) == (folder / order[2]).read_bytes()


def test_a_json_is_read_once_until_it_changes(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = write_coco(root)["train2017"]
    first = opened(root).index.fingerprint
    with monkeypatch.context() as patch:
        patch.setattr(coco_file._Reading, "_text", lambda _: pytest.fail("read again"))
        assert opened(root).index.fingerprint == first
    content["annotations"][0]["bbox"][0] += 1
    write_json(root, "train2017", content)
    assert opened(root).index.fingerprint != first


def test_a_damaged_cache_is_made_again(root: Path, tmp_path: Path) -> None:
    write_coco(root)
    whole = opened(root)
    kept = cache_file(tmp_path / "cache", "coco", root / "annotations" / "instances_train2017.json")
    for _ in damaged_files(kept, mutations([kept.read_bytes()], 25)):
        again = opened(root)
        assert again.index.fingerprint == whole.index.fingerprint
        np.testing.assert_array_equal(again.targets(0).masks, whole.targets(0).masks)


def test_lists_may_stand_in_any_order_and_ids_differ_between_sets(root: Path) -> None:
    content = write_coco(root)["train2017"]
    before = opened(root).targets(0)
    turned = {name: content[name] for name in ("annotations", "categories", "info", "images")}
    write_json(root, "train2017", {**turned, "licenses": []})
    after = opened(root).targets(0)
    np.testing.assert_array_equal(after.boxes, before.boxes)
    write_json(root, "train2017", {**content, "categories": [*CATEGORIES, {"id": 4, "name": "bus"}]})
    for split in SPLITS:
        source = opened(root, split)
        assert source.index.class_names == ("zebra", "bus", "kite", "apple")
        assert assert_as_pycocotools(source, root, SPLITS[split], [Path(p).name for p in source._paths])


def test_boxes_without_area_and_polygons_without_corners_are_left_out(root: Path) -> None:
    content = write_coco(root)["train2017"]
    number = len(content["annotations"])
    first, polygons = content["annotations"][0], [[1, 2, 3, 4], [1, 2, 3, 4, 5]]
    for box, segmentation in (
        ([5, 5, -2, 4], first["segmentation"]),
        ([5, 5, 2, 0], first["segmentation"]),
        ([5e5, 5, 1e-4, 3], first["segmentation"]),  # no area in float32
        ([5, 5, 2, 2], polygons),
    ):
        extra = {**first, "id": 900 + len(content["annotations"]), "bbox": box, "segmentation": segmentation}
        content["annotations"].append(extra)
    write_json(root, "train2017", content)
    for _ in ("read", "from the cache"):
        index = opened(root).index
        assert index.objects is not None
        assert len(index.objects.labels) == number
        assert index.notes[0] == (
            f"not used in {root}/train2017: 3 objects whose box has no area "
            f"(first: annotation {900 + number}); 1 objects without a polygon of three corners "
            f"(first: annotation {903 + number})"
        )


def test_missing_images_and_those_of_another_size_are_left_out_up_to_a_limit(root: Path) -> None:
    content = write_coco(root)["train2017"]
    names = [info["file_name"] for info in content["images"]]
    for extra in range(9):
        content["images"].append({**content["images"][0], "id": extra, "file_name": f"lost-{extra}.jpg"})
    write_json(root, "train2017", content)
    (root / "train2017" / names[1]).unlink()
    Image.new("RGB", (60, 40)).save(root / "train2017" / names[2])
    (root / "train2017" / names[3]).write_bytes(b"broken")
    source = opened(root)
    kept = [names[0], *names[3:]]
    assert assert_as_pycocotools(source, root, "train2017", kept) > 3
    assert source.index.heights.tolist()[:2] == [40, 0]  # 0: unreadable, as in every source
    assert source.index.notes[0] == (
        f"not used in {root}/train2017: 10 missing images (first: {names[1]}); 1 images of another size than "
        f"the JSON says (first: {names[2]}, 40 x 60 for 50 x 50)"
    )
    (root / "train2017" / names[0]).unlink()
    with pytest.raises(UserError, match=r"11 of 15 images are not in .*train2017, the first is .*unpack"):
        opened(root)


def test_objects_without_segmentation_have_boxes_alone(root: Path) -> None:
    content = write_coco(root)["train2017"]
    del content["annotations"][0]["segmentation"]
    write_json(root, "train2017", content)
    source = opened(root)
    assert source.target_kinds == {"boxes"}
    assert source.targets(0).masks is None
    assert "1 objects without segmentation, for which all masks are left out" in source.index.notes[0]
    assert opened(root, "test").target_kinds == {"boxes", "masks"}


def test_splits_are_those_with_images(root: Path) -> None:
    write_coco(root)
    (root / "val2017").rename(root / "elsewhere")
    with pytest.raises(NoSplitError, match="has no test split"):
        opened(root, "test")
    assert len(opened(root).index) == SETS["train2017"]
    (root / "train2017").rename(root / "val2017")
    with pytest.raises(UserError, match="has no train split"):
        opened(root)


OTHER_SIZE = {"size": [5, 6], "counts": [30]}


@pytest.mark.parametrize(
    ("place", "changes", "said"),
    [
        ("annotations", {"image_id": 3}, "502: there is no image 3: mend it"),
        ("annotations", {"image_id": "3"}, "502: image_id must be a whole number, not 3"),
        ("annotations", {"category_id": 3}, "502: there is no category 3: mend it"),
        ("annotations", {"bbox": [1, 2, 3]}, "502: bbox must be four numbers"),
        ("annotations", {"bbox": [1, 2, 3, float("nan")]}, "502: bbox must be four numbers of pixels"),
        ("annotations", {"segmentation": OTHER_SIZE}, r"502: its mask has the size \[5, 6\], its image \["),
        ("annotations", {"segmentation": [[1, 2, 3, 4, 5, 1e300]]}, "a corner of its polygon is 1e[+]300"),
        ("annotations", {"segmentation": [3]}, "neither a list of polygons nor run lengths"),
        ("", {"categories": []}, "train2017.json lists no categories: its objects would have no classes"),
        ("", {"images": []}, "train2017.json lists no images"),
        ("", {"annotations": []}, "train2017.json lists no annotations"),
        (
            "",
            {"categories": [*CATEGORIES, CATEGORIES[0]]},
            "categories: the category kite, id 7, stands there",
        ),
        ("", {"annotations": [[1]]}, "its annotations are no objects"),
        ("images", {"file_name": "../secret.jpg"}, "images: the image ../secret.jpg lies outside its folder"),
        ("images", {"id": 1000}, "images: the image .*, id 1000, stands there twice"),
        ("images", {"height": 0}, "images: the image .* is said to have 0 x 50 pixels"),
        ("images", {"width": None}, "images: width must be a whole number, not None"),
    ],
)
def test_mistakes_are_one_line(root: Path, place: str, changes: Content, said: str) -> None:
    """In the third element of a list, or in the lists themselves."""
    content = write_coco(root)["train2017"]
    (content[place][2] if place else content).update(changes)
    write_json(root, "train2017", content)
    with refused(said):
        opened(root)


def test_one_category_has_one_name_in_both_sets(root: Path) -> None:
    content = write_coco(root)["train2017"]
    write_json(root, "train2017", {**content, "categories": [{"id": 2, "name": "horse"}, *CATEGORIES[::2]]})
    with pytest.raises(UserError, match="category 2 is horse in one file and zebra in the other"):
        opened(root)


def test_a_json_cut_anywhere_is_one_line(root: Path) -> None:
    write_coco(root)
    path = root / "annotations" / "instances_train2017.json"
    text = path.read_text()
    for end in range(0, len(text) - 2, len(text) // 40):
        path.write_text(text[:end])
        with pytest.raises(UserError, match=r"train2017\.json is no JSON of COCO .*: fetch it again"):
            opened(root)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"is no JSON of COCO \(it is no text\)"):
        opened(root)


def test_two_training_sets_are_refused(root: Path) -> None:
    content = write_coco(root)["train2017"]
    (root / "train2014").mkdir()
    write_json(root, "train2014", content)
    with pytest.raises(UserError, match="holds train2014 and train2017: give a folder with one of them"):
        opened(root)
