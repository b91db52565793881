"""Scenes with labels as a source: names, splits, factors, pixels, one's own textures, mistakes."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.command.errors import UserError
from pipelines.pack import Options, pack
from pipelines.sources import open_source
from pipelines.sources.relabeled import Relabeled
from pipelines.sources.scenes import labeled
from pipelines.sources.scenes.arrangement import COMBINATIONS, POSES, Arrangement, Kind, arrange, bucket_of
from pipelines.sources.scenes.labeled import LabeledScenes, open_labeled, paint_arrangement
from pipelines.sources.scenes.shapes import CLASSES
from pipelines.sources.scenes.textures import BuiltInTextures, FolderTextures
from pipelines.sources.splits import Split
from tests.helpers.known_labels import labels_of
from tests.helpers.loader_checks import COUNT, load_threaded, numbers_of
from tests.helpers.refusals import refused

SPLITS: dict[Split, int] = {"train": 12, "test": 3}


def opened(text: str, split: Split = "train") -> LabeledScenes:
    source = open_source(f"scenes:{text}", split)
    assert isinstance(source, LabeledScenes)
    return source


def test_the_combinations_are_the_papers_twelve() -> None:
    paper = "0000 1000 0100 0010 0001 1100 0110 0101 0111 1110 1011 1111"
    assert paper.split() == list(COMBINATIONS)


@pytest.mark.parametrize(
    ("kind", "side", "train", "objects"), [("single", 64, 400_000, 1), ("multi", 128, 250_000, 4)]
)
def test_sizes_are_the_papers(kind: str, side: int, train: int, objects: int) -> None:
    counts: dict[Split, int] = {"train": train, "test": 5_000}
    for split, count in counts.items():
        source = opened(f"{kind}-1111", split)
        assert len(source.index) == count
        assert (source.index.heights == side).all()
        assert source.read(count - 1).shape == (side, side, 3)
        assert len(source.labels(count - 1).class_ids) == objects


def test_labels_of_the_index_are_those_of_the_images() -> None:
    classes, poses = opened("single-0010,images=40"), opened("single-0010,images=40,label=pose")
    assert classes.index.class_names == CLASSES
    assert poses.index.class_names == POSES
    assert np.bincount(labels_of(classes.index)).tolist() == [4] * 10
    found = [classes.labels(number) for number in range(40)]
    assert labels_of(classes.index) == [labels.class_ids[0] for labels in found]
    assert labels_of(poses.index) == [labels.poses[0] for labels in found]
    np.testing.assert_array_equal(classes.read(7), poses.read(7))
    assert classes.index.fingerprint != poses.index.fingerprint
    assert opened("multi-1111,images=5").index.labels is None


def test_an_image_depends_on_its_number_alone() -> None:
    some, more = opened("single-1111,images=30"), opened("single-1111,images=400")
    for number in (29, 3):
        np.testing.assert_array_equal(some.read(number), more.read(number))
    assert (some.index.sample_ids == more.index.sample_ids[:30]).all()
    assert len({more.read(number).tobytes() for number in range(40)}) == 40
    assert some.describe(3) == "scenes:single-1111:train-000003"


def test_targets_are_the_labels_of_what_is_seen() -> None:
    source = opened("multi-1111,images=120")
    assert source.index.class_names == CLASSES
    hidden = [number for number in range(120) if not source.labels(number).masks.any((1, 2)).all()]
    assert hidden  # so that the next lines see one
    for number in (0, *hidden[:3]):
        labels, targets = source.labels(number), source.targets(number)
        seen = [place for place, mask in enumerate(labels.masks) if mask.any()]
        assert (targets.height, targets.width, targets.difficult, targets.crowd) == (128, 128, None, None)
        np.testing.assert_array_equal(targets.boxes, labels.boxes[seen].astype(np.float32), strict=True)
        np.testing.assert_array_equal(targets.classes, labels.class_ids[seen], strict=True)
        np.testing.assert_array_equal(targets.masks, labels.masks[seen], strict=True)
        areas = np.array([labels.masks[place].sum() for place in seen], np.float32)
        np.testing.assert_array_equal(targets.areas, areas, strict=True)
        np.testing.assert_array_equal(targets.segmentation, labels.segmentation, strict=True)
        np.testing.assert_array_equal(targets.depth, labels.depth, strict=True)
        names = source.index.segmentation_names
        assert targets.classes is not None
        shown = {"background", *(CLASSES[label] for label in targets.classes)}
        assert {names[value] for value in np.unique(labels.segmentation)} == shown


def test_regrouped_classes_are_those_of_the_targets() -> None:
    source = opened("single-1111,images=10")
    groups = Relabeled(source, np.arange(10) // 5 * 7, tuple("abcdefgh"))
    assert groups.target_kinds == source.target_kinds
    for number in (0, 9):
        np.testing.assert_array_equal(groups.targets(number).classes, labels_of(groups.index)[number])


@pytest.mark.parametrize(("kind", "per_bucket"), [("single", 40_000), ("multi", 25_000)])
def test_splits_share_no_shape(kind: Kind, per_bucket: int) -> None:
    train = {bucket_of(kind, number) for number in range(0, 10 * per_bucket, 7)}
    validation = {bucket_of(kind, number) for number in range(10 * per_bucket, 11 * per_bucket)}
    test = {bucket_of(kind, number) for number in range(11 * per_bucket, 12 * per_bucket)}
    assert (train, validation, test) == (set(range(10)), {10}, {11})
    assert {bucket_of(kind, number) for number in range(100)} == set(range(10))  # few images have all
    for text, bucket in ((f"{kind}-0000", 11), (f"{kind}-0000,heldout=validation", 10)):
        source = opened(text, "test")
        for number in (0, 4_999):
            assert {placed.bucket for placed in source.arrangement(number).objects} == {bucket}
    names = "validation", "test"
    first, second = (opened(f"{kind}-0000,heldout={name}", "test").index.sample_ids for name in names)
    assert not np.intersect1d(first, second).size


def values(arrangement: Arrangement) -> dict[str, list[object]]:
    """All that an arrangement holds, by the factor that frees it."""
    objects = arrangement.objects
    return {
        "texture": [arrangement.textured],
        "color": [placed.color.tolist() for placed in objects],
        "viewpoint": [(placed.rotation.tolist(), placed.pose) for placed in objects],
        "lighting": [arrangement.lamp.tolist()],
        "rest": [
            (p.class_id, p.bucket, p.instance, p.scale.tolist(), p.location.tolist(), p.texture)
            for p in objects
        ]
        + [arrangement.background.tolist(), arrangement.background_texture, arrangement.background_shift],
    }


@pytest.mark.parametrize("kind", ["single", "multi"])
def test_a_factor_changes_what_is_its_own(kind: Kind) -> None:
    for number in range(3):
        fixed = values(arrange(kind, number, "0000"))
        for factor, combination in zip(fixed, ("1000", "0100", "0010", "0001"), strict=False):
            free = values(arrange(kind, number, combination))
            assert {name for name in fixed if fixed[name] != free[name]} == {factor}


def test_fixed_factors_are_the_same_for_all() -> None:
    arrangements = [arrange("single", number, "0000") for number in range(0, 3000, 10)]  # of one class
    assert len({values(a)["lighting"][0].__repr__() for a in arrangements}) == 1
    assert len({values(a)["viewpoint"][0].__repr__() for a in arrangements}) == 1
    hue = np.array([a.objects[0].color for a in arrangements]).mean(0)
    assert hue.argmax() == 0  # airplanes are reddish
    lamps = np.array([arrange("single", number, "0001").lamp for number in range(300)])
    np.testing.assert_allclose(np.hypot(lamps[:, 1], lamps[:, 2]), 1.5)
    assert np.abs(lamps.mean(0)).max() < 0.3  # all around


def test_scale_is_the_papers() -> None:
    scales = np.array([arrange("single", number, "0000").objects[0].scale for number in range(500)])
    assert scales.mean() == pytest.approx(0.7 * 0.8, abs=0.01)
    spread = 0.7 * 0.8 * 0.1 * (2 / 3) ** 0.5  # the mean of the three is taken off
    assert scales.std() == pytest.approx(spread, rel=0.1)


def test_the_background_is_lit_as_physics_has_it() -> None:
    """A matte plane under a lamp of 100 W, a sun of 1 W per square meter and 0.08 from everywhere."""
    arrangement = arrange("single", 3, "0000")
    image = paint_arrangement(arrangement, BuiltInTextures(64))
    turn = 0.36 * np.pi
    for row, column in ((0, 0), (0, 63), (63, 5)):
        right, up = 0.36 * (2 * (column + 0.5) / 64 - 1), 0.36 * (1 - 2 * (row + 0.5) / 64)
        ray = np.array([-np.sin(turn) - up * np.cos(turn), right, -np.cos(turn) + up * np.sin(turn)])
        normal = np.array([np.sin(turn), 0, np.cos(turn)])
        eye = np.array([1.0, 0, 0.4])
        point = eye + ray * (normal @ (np.array([-3, 0, -1.2]) - eye)) / (normal @ ray)
        to_lamp = arrangement.lamp - point
        cosine = normal @ to_lamp / np.linalg.norm(to_lamp)
        light = 100 / (4 * np.pi * (to_lamp @ to_lamp)) * cosine / np.pi + normal[2] / np.pi
        light += 0.08 * (1 + 0.3 * normal[2])
        expected = 255 * np.sqrt(np.minimum(arrangement.background * light, 1))
        np.testing.assert_allclose(image[row, column], expected, atol=0.51)


def test_objects_are_lit_from_the_lamps_side() -> None:
    arrangement = arrange("single", 8, "0000")  # a table
    top = paint_arrangement(replace(arrangement, lamp=np.array([0, 0, 1.5])), BuiltInTextures(64))
    below = paint_arrangement(replace(arrangement, lamp=np.array([0, 0, -1.5])), BuiltInTextures(64))
    mask = opened("single-0000").labels(8).masks[0]
    assert top[mask].mean() > below[mask].mean() + 30


@pytest.mark.parametrize("number", [0, 8])
def test_a_texture_of_one_color_is_that_color(number: int, tmp_path: Path) -> None:
    Image.new("RGB", (30, 20), (200, 100, 50)).save(tmp_path / "a.png")
    linear = (np.array([200, 100, 50]) / 255) ** 2
    textured = arrange("single", number, "1111")
    plain = replace(
        textured,
        textured=False,
        background=linear,
        objects=tuple(replace(p, color=linear, texture_share=0.0) for p in textured.objects),
    )
    shown = paint_arrangement(textured, FolderTextures(tmp_path, 64)).astype(int)
    expected = paint_arrangement(plain, BuiltInTextures(64))
    assert np.abs(shown - expected).max() <= 1


def test_own_textures_are_read_from_a_folder(tmp_path: Path) -> None:
    (tmp_path / "a, b").mkdir()
    for name, level in (("x.jpg", 0), ("a, b/y.png", 255)):
        Image.new("L", (40, 50), level).save(tmp_path / name)
    own = opened(f"single-1100,images=20,textures={tmp_path}")
    built_in = opened("single-1100,images=20")
    assert own.index.fingerprint != built_in.index.fingerprint
    images = np.stack([own.read(number) for number in range(20)])
    assert np.ptp(images[:, 0, 0].astype(int), axis=1).max() <= 1  # gray textures
    (tmp_path / "x.jpg").write_bytes(b"broken")
    with pytest.raises(UserError, match=r"x\.jpg.*remove it"):
        FolderTextures(tmp_path, 8).take(1)


def test_built_in_textures_differ_and_repeat_without_seams() -> None:
    made = [BuiltInTextures(64).take(position) for position in range(64)]
    assert len({texture.tobytes() for texture in made}) == 64
    assert np.mean([texture.astype(float).std(axis=(0, 1)).max() for texture in made]) > 15
    smooth = [texture.astype(int) for texture in made[5::8]]  # noise
    seam = np.mean([np.abs(t[0] - t[-1]).mean() for t in smooth])
    assert seam < 1.5 * np.mean([np.abs(np.diff(t, axis=0)).mean() for t in smooth])


MISTAKES = {
    "single-0011": ["single-0011", "0000 1000 0100", "1 is free"],
    "single": ["no such combination"],
    "multi-11111": ["no such combination"],
    "singles-1111": ["no such combination"],
    "single-1111,images=400001": ["images=400001", "1 to 400000"],
    "multi-1111,images=250001": ["1 to 250000"],
    "single-1111,images=0": ["images=0"],
    "single-1111,images=many": ["images=many"],
    "single-1100,label=pose": ["viewpoint is fixed", "third digit"],
    "multi-1111,label=class": ["several objects", "leave label= out"],
    "single-1111,label=depth": ["no label named 'depth'", "label=class or label=pose"],
    "single-1111,heldout=train": ["heldout=train", "heldout=validation"],
    "single-1111,size=32": ["no option named 'size'", "images=N"],
    "single-1111,images=5,images=6": ["images"],
    "single-1111,images": ["cannot read 'images'"],
    "single-1111,textures=/no/such": ["/no/such", "no such folder"],
}


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_named_in_one_line(text: str) -> None:
    with refused(*MISTAKES[text]):
        open_source(f"scenes:{text}", "train")


def test_no_image_beyond_the_last() -> None:
    source = opened("single-0000,images=10")
    for number in (-1, 10):
        with pytest.raises(IndexError, match="10 images"):
            source.labels(number)


def test_the_loader_takes_them() -> None:
    source = open_labeled("train", f"single-1111,images={COUNT},label=pose")
    batches = load_threaded(source)
    assert batches
    labels = np.array(labels_of(source.index))
    for batch in batches:
        assert batch.labels is not None
        assert batch.labels.tolist() == labels[numbers_of(source, batch)].tolist()


def test_packed_scenes_keep_pixels_ids_and_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labeled, "HELDOUT", 3)
    where = "scenes:single-1111,images=12"
    pack(Options(src=where, dst=tmp_path / "packed"))
    for split, count in SPLITS.items():
        packed, source = open_source(str(tmp_path / "packed"), split), opened(where.partition(":")[2], split)
        assert len(packed.index) == len(source.index) == count
        order = np.argsort(packed.index.sample_ids), np.argsort(source.index.sample_ids)
        for here, there in zip(*order, strict=True):
            assert packed.index.sample_ids[here] == source.index.sample_ids[there]
            assert labels_of(packed.index)[here] == labels_of(source.index)[there]
            read = packed.read(int(here))
            assert isinstance(read, bytes)
            np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(read))), source.read(int(there)))
