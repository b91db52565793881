import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score
from sklearn.model_selection import cross_val_score
from sklearn.svm import LinearSVC

from fastssl.evaluate.__main__ import main
from fastssl.evaluate.monitor import open_monitor
from fastssl.evaluate.subject import open_subject
from fastssl.evaluate.svm import Svm
from pipelines.command.errors import UserError
from pipelines.ops import WholeImage
from tests.fastssl.evaluate.conftest import Part, measure
from tests.helpers.image_folder import COLORS
from tests.helpers.voc_devkit import write_voc

NAMES = ("cat", "dog", "owl")


def clusters(count: int, seed: int, spread: float) -> Part:
    """Points of three classes about orthogonal centers, float32 [N, 5]."""
    labels = np.arange(count) % 3
    points = np.eye(5)[labels] + spread * np.random.default_rng(seed).normal(size=(count, 5))
    return points.astype(np.float32), labels


def unit(points: np.ndarray) -> np.ndarray:
    return points / np.sqrt((points.astype(np.float64) ** 2).sum(1, keepdims=True))


def liblinear(cost: float) -> LinearSVC:
    """VISSL's."""
    return LinearSVC(C=cost, class_weight={1: 2, -1: 1}, loss="squared_hinge", max_iter=2000, random_state=0)


def test_it_is_liblinear_s_with_the_cost_of_the_best_three_folds() -> None:
    train, test = clusters(90, 0, 0.7), clusters(60, 1, 0.7)
    costs = (0.01, 0.3, 10.0)
    result = measure(Svm(costs=costs), train, test, NAMES)
    expected = []
    for label, name in enumerate(NAMES):
        signs = np.where(train[1] == label, 1, -1)
        folds = {
            cost: cross_val_score(
                liblinear(cost), unit(train[0]), signs, cv=3, scoring="average_precision"
            ).mean()
            for cost in costs
        }
        cost = max(costs, key=lambda cost: folds[cost])
        assert result["per_class"][name]["cost"] == cost
        scores = liblinear(cost).fit(unit(train[0]), signs).decision_function(unit(test[0]))
        expected.append(average_precision_score(test[1] == label, scores))
        assert result["per_class"][name]["average_precision"] == pytest.approx(expected[-1], abs=1e-3)
    settings = result["settings"]
    assert (settings["classes"], settings["converged"], settings["crop"]) == (3, True, "center")
    assert 0.4 < np.mean(expected) < 0.95  # neither chance nor certainty
    assert result["map"] == pytest.approx(np.mean(expected), abs=1e-3)


def test_mistakes_are_one_line() -> None:
    train, test = clusters(60, 0, 0.5), clusters(30, 1, 0.5)
    few = train[0][:5], train[1][:5]
    with pytest.raises(UserError, match="class cat or the rest has 2 training images, too few for 3 folds"):
        measure(Svm(), few, test, NAMES)
    assert measure(Svm(costs=(1.0,)), few, test, NAMES)["settings"]["classes"] == 3


def test_voc_is_measured_as_vissl_does(run: Path, tmp_path: Path) -> None:
    """Difficult objects: negatives in training, left out of the test; the view is the whole image."""
    year = tmp_path / "VOCdevkit" / "VOC2007"
    squares = list(write_voc(year).values())
    assert main(["svm", str(run), "--data", str(year), "--costs", "1.0"]) == 0
    (path,) = (run / "eval").glob("svm*.json")
    found = json.loads(path.read_text())
    assert found["settings"]["view"]["crop"]["kind"] == found["settings"]["crop"] == "whole"
    subject = open_subject(run, str(year))
    config = subject.feature_config
    whole = replace(subject, feature_config=replace(config, spec=replace(config.spec, crop=WholeImage())))
    points = [unit(whole.features(split)[0].numpy()) for split in ("train", "test")]
    expected = {}
    for name in COLORS:
        targets = np.array(
            [
                max((-1 if difficult else 1 for color, _, _, difficult in image if color == name), default=0)
                for image in squares
            ]
        )
        model = liblinear(1.0).fit(points[0], np.where(targets[:24] == 1, 1, -1))
        kept = targets[24:] != -1
        scores = model.decision_function(points[1][kept])
        expected[name] = average_precision_score(targets[24:][kept] == 1, scores)
    assert {name: about["average_precision"] for name, about in found["per_class"].items()} == {
        name: pytest.approx(value, abs=1e-3) for name, value in expected.items()
    }
    assert found["map"] == pytest.approx(np.mean(list(expected.values())), abs=1e-3)
    assert any(difficult for image in squares[24:] for *_, difficult in image)
    with pytest.raises(UserError, match="knn needs one class per image, and these may have several"):
        main(["knn", str(run), "--data", str(year)])
    assert open_monitor(str(year), config)[1].endswith("VOC2007 have several classes")
