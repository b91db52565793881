"""The built-in data set: factors free and fixed, balance, determinism, a cache that is whole or absent."""

from __future__ import annotations

import colorsys
import hashlib
import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.sources.scenes import scenes
from pipelines.sources.scenes.factors import FACTORS, TEXTURES, draw_scenes
from pipelines.sources.scenes.raymarch import render
from pipelines.sources.scenes.solids import SOLIDS
from pipelines.sources.shards import ShardSource
from pipelines.sources.splits import Split
from tests.helpers import ROOT
from tests.helpers.known_labels import labels_of
from tests.helpers.refusals import refused

FREE: frozenset[str] = frozenset()
FIELDS = {
    "texture": {"texture", "texture_axes", "texture_scale", "texture_phase"},
    "color": {"primary", "secondary", "floor", "wall"},
    "viewpoint": {"azimuth", "elevation", "roll", "zoom", "offset"},
    "lighting": {"light_azimuth", "light_elevation", "light", "ambient"},
}
COUNT, SIDE = 40, 16


def small(cache: Path, split: Split = "train", fixed: frozenset[str] = FREE) -> ShardSource:
    return scenes._open(split, fixed, cache, COUNT, SIDE)


def pixels(source: ShardSource, number: int) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(source.read(number))))


def test_a_scene_depends_on_its_stream_and_number_alone() -> None:
    whole = draw_scenes(0, np.arange(100))
    some = draw_scenes(0, np.array([70, 3, 41]))
    assert some.tobytes() == whole[[70, 3, 41]].tobytes()
    assert len(np.unique(whole["azimuth"])) == 100
    assert not np.intersect1d(whole["azimuth"], draw_scenes(1, np.arange(100))["azimuth"]).size


@pytest.mark.parametrize("factor", FIELDS)
def test_fixing_a_factor_holds_its_fields_and_changes_no_other(factor: str) -> None:
    free, fixed = draw_scenes(0, np.arange(60)), draw_scenes(0, np.arange(60), frozenset({factor}))
    for name in free.dtype.names or ():
        if name in FIELDS[factor]:
            same = fixed[name][::10] if name in ("primary", "secondary") else fixed[name]  # of one solid
            assert (same == same[0]).all(), name
            assert len(np.unique(free[name], axis=0)) > (5 if name == "texture" else 59), name
        else:
            np.testing.assert_array_equal(fixed[name], free[name], err_msg=name)
    assert set(FIELDS) == set(FACTORS)


def test_free_factors_fill_their_ranges() -> None:
    drawn = draw_scenes(0, np.arange(6000))
    degrees = {name: np.degrees(drawn[name]) for name in ("azimuth", "elevation", "light_elevation")}
    for values, low, high in (
        (degrees["azimuth"], 0, 360),
        (degrees["elevation"], 15, 75),
        (degrees["light_elevation"], 30, 75),
        (drawn["zoom"], 0.65, 1.05),
        (drawn["offset"][:, 0], -0.16, 0.16),
        (drawn["offset"][:, 1], -0.16, 0.16),
    ):
        counts, _ = np.histogram(values, bins=10, range=(low, high))
        assert counts.sum() == 6000
        assert np.abs(counts - 600).max() < 5 * 600**0.5  # five standard deviations
    textures = np.bincount(drawn["texture"], minlength=len(TEXTURES))
    assert np.abs(textures - 1000).max() < 5 * 1000**0.5
    for name in ("primary", "secondary", "floor", "wall"):
        assert 0 <= drawn[name].min() < 0.1
        assert 0.9 < drawn[name].max() <= 1
    assert drawn["light"].min() > 0.2
    axes = drawn["texture_axes"]
    np.testing.assert_allclose(
        axes @ axes.transpose(0, 2, 1), np.broadcast_to(np.eye(3), axes.shape), atol=1e-9
    )
    np.testing.assert_allclose(np.linalg.det(axes), 1)
    assert np.abs(axes.mean(0)).max() < 0.05


@pytest.mark.parametrize(
    ("fixed", "digest"),
    [
        (FREE, "6d0244743f1d57456559823ffde17da6670e42f8b08936267eb5dc6efb48e502"),
        (frozenset(FIELDS), "b965d42d958f4929e9ee1a34de2e08dd334ab19343d6e369a6c57dede875c6c7"),
    ],
)
def test_pixels_stay_what_they_were(fixed: frozenset[str], digest: str) -> None:
    """Every number measured on the scenes stands on these pixels: SHA-256 of the first twenty images."""
    pixels = hashlib.sha256()
    for scene in draw_scenes(0, np.arange(20), fixed):
        pixels.update(render(scene, 48).tobytes())
    assert pixels.hexdigest() == digest


@pytest.mark.parametrize("name", ["primary", "secondary"])
def test_a_fixed_color_is_a_hue_per_class(name: str) -> None:
    """Hues a tenth of a turn apart, equally strong; the same for each solid of a class."""
    drawn = draw_scenes(0, np.arange(20), frozenset({"color"}))
    assert (drawn[name][:10] == drawn[name][10:]).all()
    colors = [colorsys.rgb_to_hsv(*np.sqrt(color)) for color in drawn[name][:10]]  # not by ours
    hues, saturations, values = np.array(colors).T
    np.testing.assert_allclose(np.diff(np.sort(hues), append=1 + hues.min()), 0.1)
    assert np.ptp(saturations) < 1e-9
    assert np.ptp(values) < 1e-9


def test_a_fixed_color_is_read_from_the_cache_by_another_name(tmp_path: Path) -> None:
    """Shards of the time when all solids had one color are not taken for it; those of the rest are."""
    variants = FREE, frozenset({"lighting"}), frozenset({"color"}), frozenset({"color", "lighting"})
    assert len({small(tmp_path, fixed=fixed).read(0) for fixed in variants}) == 4
    assert sorted(path.name for path in tmp_path.glob("*.tar")) == [
        "scenes-v1-fixed-lighting-16px-40-train.tar",
        "scenes-v1-free-16px-40-train.tar",
        "scenes-v2-fixed-color-16px-40-train.tar",
        "scenes-v2-fixed-color-lighting-16px-40-train.tar",
    ]


def test_colors_of_images_are_fixed_or_free() -> None:
    def corners(fixed: frozenset[str]) -> np.ndarray:
        rows = draw_scenes(0, np.arange(30), fixed)
        return np.stack([render(row, 12)[0, 0] for row in rows]).astype(float)

    rest = frozenset({"viewpoint", "lighting", "texture"})
    assert corners(rest | {"color"}).std(0).max() < 6  # the height of the floor remains
    assert corners(rest).std(0).min() > 20


def test_classes_are_balanced_and_the_index_is_right(tmp_path: Path) -> None:
    for split in ("train", "test"):
        source = small(tmp_path, split)
        index = source.index
        assert len(index) == COUNT
        assert (index.heights == SIDE).all()
        assert (index.widths == SIDE).all()
        assert index.class_names == SOLIDS == tuple(sorted(SOLIDS))
        drawn = draw_scenes(0 if split == "train" else 1, np.arange(COUNT))
        assert labels_of(index) == drawn["solid"].tolist()
        assert np.bincount(drawn["solid"]).tolist() == [COUNT // 10] * 10
        for number in (0, 17, 39):
            shown = pixels(source, number).astype(float)
            assert shown.shape == (SIDE, SIDE, 3)
            assert np.abs(shown - render(drawn[number], SIDE)).mean() < 6  # what JPEG loses


def test_splits_share_no_image_and_no_id(tmp_path: Path) -> None:
    train, test = small(tmp_path), small(tmp_path, "test")
    ids = np.concatenate([train.index.sample_ids, test.index.sample_ids])
    assert len(np.unique(ids)) == 2 * COUNT
    assert len({bytes(source.read(n)) for source in (train, test) for n in range(COUNT)}) == 2 * COUNT
    assert train.index.fingerprint != test.index.fingerprint


def test_a_cached_set_is_not_rendered_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = bytes(small(tmp_path).read(5))

    def refuse(*_: object) -> np.ndarray:
        raise AssertionError("rendered again")

    monkeypatch.setattr(scenes, "render", refuse)
    assert bytes(small(tmp_path).read(5)) == first


def test_open_scenes_makes_what_was_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert sum(scenes._COUNTS.values()) == 12_000
    assert scenes._SIDE == 48
    monkeypatch.setattr(scenes, "_COUNTS", {"train": 20, "test": 10})
    monkeypatch.setenv("FASTSSL_CACHE", str(tmp_path / "here"))
    train = scenes.open_scenes("train", variant="fixed=lighting,texture")
    test = scenes.open_scenes("test", tmp_path / "there", "fixed=texture,lighting")
    assert (len(train.index), len(test.index)) == (20, 10)
    assert pixels(train, 0).shape == (48, 48, 3)
    assert list((tmp_path / "here").glob("*fixed-lighting-texture*train.tar"))
    assert list((tmp_path / "there").glob("*fixed-lighting-texture*test.tar"))
    drawn = draw_scenes(0, np.arange(20), frozenset({"texture", "lighting"}))
    assert np.abs(pixels(train, 7).astype(float) - render(drawn[7], 48)).mean() < 4


@pytest.mark.parametrize(
    "variant", ["fixed=color,shape", "fixed=", "fixed", "free=color", "plain", "fixed=color,"]
)
def test_an_unknown_variant_names_the_known_ones(tmp_path: Path, variant: str) -> None:
    with refused(f"scenes:{variant}", "; .*texture, color, viewpoint, lighting"):
        scenes.open_scenes("train", tmp_path, variant)
    assert not list(tmp_path.iterdir())


def test_a_cache_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with refused("FASTSSL_CACHE"):
        small(tmp_path / "file" / "cache")


GENERATE = """
import os, signal, sys
from pathlib import Path
from pipelines.sources.scenes import scenes

die_at, threads = int(sys.argv[2]), int(sys.argv[3])
os.cpu_count = lambda: threads
encode, done = scenes._encode, 0

def encode_or_die(image):
    global done
    done += 1
    if done == die_at:
        os.kill(os.getpid(), signal.SIGKILL)
    return encode(image)

scenes._encode = encode_or_die
scenes._open("train", frozenset(), Path(sys.argv[1]), 40, 16)
"""


def generate(cache: Path, *, die_at: int = 0, threads: int = 2) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", GENERATE, str(cache), str(die_at), str(threads)]
    return subprocess.Popen(command, cwd=ROOT)


def test_processes_killed_or_racing_leave_one_whole_and_equal_set(tmp_path: Path) -> None:
    small(tmp_path / "alone")
    (alone,) = (tmp_path / "alone").glob("*.tar")

    killed = tmp_path / "killed"
    assert generate(killed, die_at=25).wait(60) == -9
    assert not list(killed.glob("*.tar"))
    racing = [generate(killed, threads=threads) for threads in (1, 5)]
    assert [process.wait(60) for process in racing] == [0, 0]
    (tar,) = killed.glob("*.tar")
    assert tar.read_bytes() == alone.read_bytes()
    assert not list(killed.glob(".*.part"))
    assert len(small(killed).index) == COUNT
