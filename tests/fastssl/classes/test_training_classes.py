"""A run on a share of the classes, and on their groups."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fastssl.classes.training_classes import with_classes
from fastssl.train import main
from pipelines.command.errors import UserError
from pipelines.sources import open_source

CLASSES = ("ant", "bee", "cat", "dog", "eel")
PER_CLASS = 8


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("classes") / "data"
    generator = np.random.default_rng(0)
    for name in CLASSES:
        (root / "train" / name).mkdir(parents=True)
        for number in range(PER_CLASS):
            pixels = generator.integers(0, 256, (12, 12, 3), np.uint8)
            Image.fromarray(pixels).save(root / "train" / name / f"{number}.jpg")
    return root


@pytest.fixture(scope="module")
def mapping(data: Path) -> Path:
    path = data.parent / "groups.txt"
    path.write_text("ant insect\nbee insect\ncat mammal\ndog mammal\neel fish\n")
    return path


def test_groups_are_labels_and_ids_stay(data: Path, mapping: Path) -> None:
    whole = open_source(str(data), "train")
    grouped = with_classes(whole, 1.0, str(mapping), 0)
    assert sorted(grouped.index.class_names) == ["fish", "insect", "mammal"]
    np.testing.assert_array_equal(grouped.index.sample_ids, whole.index.sample_ids)
    expected = {"ant": "insect", "bee": "insect", "cat": "mammal", "dog": "mammal", "eel": "fish"}
    assert whole.index.labels is not None
    assert grouped.index.labels is not None
    for before, after in zip(whole.index.labels.tolist(), grouped.index.labels.tolist(), strict=True):
        assert grouped.index.class_names[after] == expected[whole.index.class_names[before]]


def test_a_share_of_the_classes_keeps_all_their_images(data: Path) -> None:
    part = with_classes(open_source(str(data), "train"), 0.6, "classes", 0)
    assert len(part.index.class_names) == 3
    assert part.index.labels is not None
    assert np.bincount(part.index.labels).tolist() == [PER_CLASS] * 3


def test_all_classes_are_the_source_itself(data: Path) -> None:
    whole = open_source(str(data), "train")
    assert with_classes(whole, 1.0, "classes", 0) is whole


def test_one_class_and_no_classes_are_refused(data: Path, mapping: Path) -> None:
    with pytest.raises(UserError, match=r"class share 0\.2 and taxonomy classes leave one class"):
        with_classes(open_source(str(data), "train"), 0.2, "classes", 0)
    heap = open_source(str(data / "train" / "ant"), "train")
    with pytest.raises(UserError, match="no classes"):
        with_classes(heap, 0.5, "classes", 0)


def test_steps_and_their_rates_are_those_of_all_classes(data: Path, tmp_path: Path) -> None:
    arguments = ["quickstart", "--data", str(data), "--batch-size", "8", "--epochs", "2", "--workers", "1"]
    arguments += ["--views.0.spec.size", "16", "--monitor-every", "0", "--log-every", "1"]
    arguments += ["--optimizer.warmup-epochs", "1"]
    rates = {}
    for share in ("1.0", "0.6"):
        out = tmp_path / share
        assert main([*arguments, "--class-share", share, "--out", str(out)]) == 0
        summary = json.loads((out / "summary.json").read_text())
        assert summary["steps_done"] == 2 * (len(CLASSES) * PER_CLASS // 8)
        assert json.loads((out / "config.json").read_text())["data"]["images"] == PER_CLASS * (
            5 if share == "1.0" else 3
        )
        assert summary["epochs_done"] == 2
        rows = map(json.loads, (out / "metrics.jsonl").read_text().splitlines())
        rates[share] = [row["learning_rate"] for row in rows if "learning_rate" in row]
    assert rates["0.6"] == rates["1.0"]
    assert len(rates["1.0"]) == 2 * (len(CLASSES) * PER_CLASS // 8)
