from pathlib import Path

import numpy as np
import pytest
import torch

from fastssl.evaluate.longtail import Longtail, _accuracies
from fastssl.evaluate.subject import open_subject
from pipelines.command.errors import UserError


def test_a_part_is_learned_from_and_accuracies_are_per_class_and_group(run: Path) -> None:
    subject = open_subject(run)
    found = Longtail(factor=4.0, epochs=30).measure(subject)
    images = {name: about["images"] for name, about in found["per_class"].items()}
    assert images == {"blue": 12, "green": 6, "red": 3}  # 12 4^(-c/2)
    assert found["settings"]["images"] == 21
    accuracies = [about["accuracy"] for about in found["per_class"].values()]
    assert found["top1"] == pytest.approx(np.mean(accuracies))  # the test split is balanced
    assert found["few"] == pytest.approx(np.mean(accuracies))  # all have fewer than 20 training images
    assert not {"many", "medium"} & found.keys()
    assert "few" in Longtail().report(subject, found)


def test_groups_of_classes_are_those_with_more_than_100_and_fewer_than_20_images(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastssl.evaluate import longtail

    monkeypatch.setattr(longtail, "long_tailed_counts", lambda *_: np.array([12, 6, 3]))
    monkeypatch.setattr(longtail, "_MANY", 6)
    monkeypatch.setattr(longtail, "_FEW", 6)
    found = Longtail(epochs=5).measure(open_subject(run))
    accuracies = {name: about["accuracy"] for name, about in found["per_class"].items()}
    expected = {"many": "blue", "medium": "green", "few": "red"}
    assert {name: found[name] for name in expected} == {
        name: accuracies[color] for name, color in expected.items()
    }


def test_accuracy_of_each_class_by_hand() -> None:
    found = _accuracies(torch.tensor([0, 1, 1, 3, 3]), torch.tensor([0, 0, 1, 3, 1]), 4)
    np.testing.assert_array_equal(found, [0.5, 0.5, np.nan, 1.0])


def test_a_part_tunes_the_encoder(run: Path) -> None:
    subject = open_subject(run)
    longtail = Longtail(factor=4.0, encoder="tuned", classifier_rate=0.2, epochs=2)
    found = longtail.measure(subject)
    settings = found["settings"]
    assert settings["images"] == 21
    assert (settings["classifier_rate"], settings["encoder_rate"], settings["epochs"]) == (0.2, 0.02, 2)
    assert found["few"] == pytest.approx(found["top1"])  # all have fewer than 20 training images
    assert "encoder tuned" in longtail.report(subject, found)


def test_rates_and_settings_of_the_other_encoder_are_one_line() -> None:
    with pytest.raises(UserError, match="--encoder-rate is of a fine-tuned encoder: add --encoder tuned"):
        Longtail(encoder_rate=0.1)
    with pytest.raises(UserError, match="--setting sgd is of a frozen encoder: leave it out"):
        Longtail(setting="sgd", encoder="tuned")
