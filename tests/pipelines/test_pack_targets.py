"""``python -m pipelines.pack --format coco|cityscapes``: images and targets come back as they were."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from pipelines.command.errors import UserError
from pipelines.decode.decode import decode
from pipelines.pack import Options, pack
from pipelines.packing import coco_folder
from pipelines.sources import Source, open_source
from pipelines.sources.coco.run_lengths import encode_mask
from pipelines.sources.scenes import labeled
from pipelines.sources.splits import Split
from pipelines.targets import Targets, target_kinds_of, targets_of
from tests.helpers.coco_folder import write_coco

SCENES = "scenes:multi-1111,images=12"
SPLITS: dict[Split, int] = {"train": 12, "test": 2}
FIELDS = {
    "coco": ("boxes", "classes", "areas", "masks"),
    "cityscapes": ("segmentation",),
}
Form = Literal["coco", "cityscapes"]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTSSL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(labeled, "HELDOUT", SPLITS["test"])


def run(src: object, dst: Path, form: Form, split: Literal["train", "test", "all"] = "all") -> None:
    pack(Options(src=str(src), dst=dst, format=form, split=split, workers=2))


def assert_same(one: Source, other: Source, fields: tuple[str, ...]) -> list[Targets]:
    """Compare ids, pixels and targets to the bit; returns the targets."""
    np.testing.assert_array_equal(one.index.sample_ids, other.index.sample_ids)
    found = []
    for index in range(len(one.index)):
        pixels = decode(one.read(index))
        np.testing.assert_array_equal(pixels, decode(other.read(index)))
        ours, theirs = targets_of(one, index), targets_of(other, index)
        assert (ours.height, ours.width) == (theirs.height, theirs.width) == pixels.shape[:2]
        for name in fields:
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name), strict=True)
        found.append(ours)
    return found


@pytest.mark.parametrize("form", ["coco", "cityscapes"])
def test_scenes_come_back_as_they_were(
    form: Form, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(SCENES, tmp_path / "scenes", form)
    said = capsys.readouterr()
    assert "train: 12 images verified (12 re-encoded), 0 undecodable left out" in said.out
    kept = {"coco": {"boxes", "masks"}, "cityscapes": {"segmentation"}}[form]
    others = ", ".join(sorted({"boxes", "masks", "segmentation", "depth"} - kept))
    assert f"{SCENES}: not packed: {others}" in said.err
    for split, count in SPLITS.items():
        source, packed = open_source(SCENES, split), open_source(str(tmp_path / "scenes"), split)
        assert len(packed.index) == count
        assert target_kinds_of(packed) == kept
        targets = assert_same(source, packed, FIELDS[form])
        if form == "coco":
            assert packed.index.class_names == source.index.class_names
            assert {len(each.boxes) for each in targets if each.boxes is not None} == (
                {3, 4} if split == "train" else {4}  # one of the train split is hidden
            )
        else:
            assert packed.index.segmentation_names == source.index.segmentation_names
    run(tmp_path / "scenes", tmp_path / "again", form, "test")
    assert_same(open_source(str(tmp_path / "again"), "test"), open_source(SCENES, "test"), FIELDS[form])


def test_photographs_keep_their_bytes_and_crowds(tmp_path: Path) -> None:
    made = write_coco(tmp_path / "coco")
    run(tmp_path / "coco", tmp_path / "copy", "coco")
    names: dict[Split, str] = {"train": "train2017", "test": "val2017"}
    for split, name in names.items():
        source, copy = (open_source(str(tmp_path / each), split) for each in ("coco", "copy"))
        targets = assert_same(source, copy, (*FIELDS["coco"], "crowd"))
        assert [source.read(index) for index in range(3)] == [copy.read(index) for index in range(3)]
        crowds = sum(each["iscrowd"] for each in made[name]["annotations"])
        assert sum(int(each.crowd.sum()) for each in targets if each.crowd is not None) == crowds > 0
    content = json.loads((tmp_path / "copy" / "annotations" / "instances_val.json").read_text())
    assert list(content) == ["annotations", "images", "categories"]


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    write_coco(tmp_path / "coco")
    with pytest.raises(UserError, match="val2017 has no boxes and masks for --format coco: give data that"):
        run(tmp_path / "coco" / "val2017", tmp_path / "a", "coco")
    with pytest.raises(UserError, match="has no segmentation for --format cityscapes"):
        run(tmp_path / "coco", tmp_path / "a", "cityscapes")
    both = f"{SCENES} + scenes:multi-0000,images=2"
    with pytest.raises(UserError, match="cannot keep its sample id in cityscapes's folders"):
        run(both, tmp_path / "a", "cityscapes")
    with pytest.raises(UserError, match="--max-side scales images alone"):
        pack(Options(src=SCENES, dst=tmp_path / "a", format="coco", max_side=64))
    with pytest.raises(UserError, match="--format coco makes a folder: choose another name"):
        run(SCENES, tmp_path / "a.beton", "coco")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "coco"]


def test_targets_that_change_on_the_way_are_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coco_folder, "encode_mask", lambda mask: encode_mask(~mask))
    with pytest.raises(UserError, match=r"targets of scenes.* read differently; nothing was kept"):
        run("scenes:multi-1111,images=2", tmp_path / "a", "coco", "train")
    assert not (tmp_path / "a").exists()
