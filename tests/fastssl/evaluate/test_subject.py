"""Features of a subject: computed once, kept beside the run, and made anew where they do not fit."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import torch

from fastssl.evaluate import feature_cache
from fastssl.evaluate.__main__ import main
from fastssl.evaluate.feature_cache import FeatureCache
from fastssl.evaluate.knn import Knn
from fastssl.evaluate.subject import Subject, open_subject
from pipelines.files.atomic import atomic_file
from pipelines.ops import CenterCrop


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each forward of an encoder took."""
    from fastssl.evaluate import features

    counts: list[int] = []
    encode = features.encode

    def count(encoder: torch.nn.Module, views: torch.Tensor, *more: Any) -> torch.Tensor:
        counts.append(len(views))
        return encode(encoder, views, *more)

    monkeypatch.setattr(features, "encode", count)
    return counts


def test_the_second_protocol_encodes_nothing(run: Path, encoded: list[int]) -> None:
    assert main(["knn", str(run)]) == 0
    assert sum(encoded) == 36 + 18
    encoded.clear()
    assert main(["logistic", str(run)]) == 0  # another command
    assert main(["knn,logistic", str(run), "--k", "3"]) == 0
    assert encoded == []
    assert main(["linear", str(run), "--epochs", "1"]) == 0
    assert sum(encoded) == 36  # the mirror images, which nobody has asked for before
    encoded.clear()
    assert main(["linear", str(run), "--epochs", "2"]) == 0
    assert encoded == []
    assert len(list((run / "features").iterdir())) == 3


def test_cached_features_are_the_encoder_s_to_the_bit(run: Path) -> None:
    fresh = replace(open_subject(run), cache=None)
    for split in ("train", "test"):
        for mirrored in (False, True):
            features, labels = fresh.features(split, mirrored=mirrored)
            for _ in range(2):  # written, and read
                found = open_subject(run).features(split, mirrored=mirrored)
                assert torch.equal(found[0], features)
                assert torch.equal(found[1], labels)
                assert found[0].dtype == torch.float32
                assert not found[0].is_inference()


def changed_weight(subject: Subject) -> Subject:
    with torch.no_grad():
        next(subject.encoder.parameters())[0] += 1
    return subject


@pytest.mark.parametrize("change", ["weights", "view", "images", "precision", "checkpoint"])
def test_whatever_decides_features_makes_them_anew(
    run: Path, encoded: list[int], change: str, tmp_path: Path
) -> None:
    subject = open_subject(run)
    subject.features("test")
    encoded.clear()
    config = subject.feature_config
    if change == "weights":
        other = changed_weight(open_subject(run))
    elif change == "view":
        smaller = replace(config, spec=replace(config.spec, crop=CenterCrop(fraction=0.5)))
        other = replace(subject, feature_config=smaller)
    elif change == "precision":
        other = replace(subject, feature_config=replace(config, precision="bf16"))
    elif change == "images":
        shutil.copy(tmp_path / "data/test/red/000.jpg", tmp_path / "data/test/red/new.jpg")
        other = open_subject(run)
    else:
        other = changed_weight(open_subject(run / "checkpoints" / "epoch-0001.pt"))
    other.features("test")
    assert sum(encoded) == len(other.data.test.index)
    encoded.clear()
    subject.features("test")  # what was there is there still
    assert encoded == []


@pytest.mark.parametrize("damage", ["cut", "empty", "flipped", "foreign", "renamed"])
def test_damaged_files_are_made_anew(
    run: Path, encoded: list[int], damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    features, _ = open_subject(run).features("train")
    open_subject(run).features("test")
    (path,) = (run / "features").glob("*-train-*")
    content = path.read_bytes()
    if damage == "foreign":
        path.write_bytes(b"not a zip file")
    elif damage == "renamed":
        next((run / "features").glob("*-test-*")).replace(path)
    else:
        middle = len(content) // 2
        spoilt = content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]
        path.write_bytes({"cut": content[:-100], "empty": b"", "flipped": spoilt}[damage])
    encoded.clear()
    capsys.readouterr()
    assert torch.equal(open_subject(run).features("train")[0], features)
    assert sum(encoded) == 36
    (line,) = capsys.readouterr().err.splitlines()
    assert str(path) in line
    assert "made anew" in line
    encoded.clear()
    open_subject(run).features("train")
    assert encoded == []


def test_a_full_disk_loses_no_measurement(
    run: Path, encoded: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    @contextmanager
    def full(path: Path) -> Iterator[BinaryIO]:
        with atomic_file(path) as file:
            yield file
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(feature_cache, "atomic_file", full)
    assert main(["knn,logistic", str(run)]) == 0
    assert sum(encoded) == 36 + 18  # held for the second protocol
    assert {path.name for path in (run / "eval").iterdir()} == {"knn.json", "logistic.json"}
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2
    assert all("not kept" in line and "No space left" in line for line in said)
    assert not list((run / "features").iterdir())  # nor a half file


def test_a_folder_that_nothing_can_be_written_to(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "features").write_text("a file")
    expected = Knn().measure(replace(open_subject(run), cache=None))
    assert Knn().measure(open_subject(run)) == expected
    assert "not kept" in capsys.readouterr().err


def write(cache: FeatureCache, name: str, images: int = 100) -> bool:
    return cache.write(name, {"name": name}, (torch.ones(images, 8), torch.zeros(images, dtype=torch.int64)))


def test_the_cache_is_bounded_and_forgets_what_was_used_longest_ago(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert write(FeatureCache(tmp_path), "size")
    (size,) = (path.stat().st_size for path in tmp_path.iterdir())
    cache = FeatureCache(tmp_path / "features", largest=3 * size + size // 2)
    for age, name in enumerate("abc"):
        assert write(cache, name)
        (path,) = cache.folder.glob(f"{name}-*")
        os.utime(path, (1000 + age, 1000 + age))
    assert cache.read("a", {"name": "a"}) is not None  # used just now
    assert write(cache, "d")
    assert sorted(path.name[0] for path in cache.folder.iterdir()) == ["a", "c", "d"]
    assert not write(cache, "e", 1000)
    assert "more than" in capsys.readouterr().err
    assert sorted(path.name[0] for path in cache.folder.iterdir()) == ["a", "c", "d"]


def test_little_space_is_left_to_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Usage:
        free = 10_000

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage)
    assert not write(FeatureCache(tmp_path / "features"), "a")
    assert "not kept" in capsys.readouterr().err


def test_features_kept_of_all_training_images_serve_a_part(run: Path, encoded: list[int]) -> None:
    numbers = np.array([1, 5, 30])
    subject = open_subject(run)
    part = subject.on_part(numbers)
    alone, labels = part.features("train")
    assert sum(encoded) == len(part.data.train.index) == 3  # nothing is kept: no more than needed
    whole = subject.features("train")
    encoded.clear()
    later = open_subject(run).on_part(numbers + 1).features("train")
    assert encoded == []
    assert torch.equal(later[0], whole[0][numbers + 1])
    assert torch.equal(later[1], whole[1][numbers + 1])
    torch.testing.assert_close(alone, whole[0][numbers])
    assert torch.equal(labels, whole[1][numbers])
    assert torch.equal(part.features("test")[0], subject.features("test")[0])
