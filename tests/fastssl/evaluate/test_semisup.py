from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from fastssl.evaluate import semisup
from fastssl.evaluate.fine_tuning_setting import FineTuningSetting
from fastssl.evaluate.semisup import Semisup, _paper_schedule
from fastssl.evaluate.subject import Subject, open_subject
from pipelines.command.errors import UserError


@pytest.fixture
def subject(run: Path) -> Subject:
    return open_subject(run)


def test_a_share_of_the_labels_is_used_evenly(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[np.ndarray] = []
    on_part = Subject.on_part

    def record(subject: Subject, numbers: np.ndarray) -> Subject:
        parts.append(numbers)
        return on_part(subject, numbers)

    monkeypatch.setattr(Subject, "on_part", record)
    found = [Semisup(share=share, epochs=2).measure(subject) for share in (0.01, 0.25)]
    labels = subject.data.train.index.labels
    assert labels is not None
    assert [np.bincount(labels[part]).tolist() for part in parts] == [[1, 1, 1], [3, 3, 3]]
    assert set(parts[0]) <= set(parts[1])
    assert [result["settings"]["images"] for result in found] == [3, 9]
    assert [result["settings"]["setting"] for result in found] == ["search", "search"]


def test_features_alone_decide_with_all_labels_and_the_paper_s_rates_are_by_the_share(
    subject: Subject,
) -> None:
    found = Semisup(share=1.0, setting="paper", epochs=3, encoder="frozen").measure(subject)
    assert found["settings"]["learning_rate"] == 0.25
    assert found["settings"]["nesterov"] is True
    assert _paper_schedule(0.01)["learning_rate"] == 2.0
    assert _paper_schedule(0.1)["learning_rate"] == 0.25
    assert _paper_schedule(0.1)["batch_size"] == 1024


def test_a_file_names_the_images(subject: Subject, tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("red/003.jpg\nblue/000.JPEG\n\ngreen/001\nred/003\n")
    found = Semisup(names=str(names), epochs=2).measure(subject)
    assert found["settings"]["images"] == 3
    for text, said in (
        ("red/003.jpg\n777.jpg\n", "777.jpg names no training image"),
        ("003.jpg\n", "003.jpg names 3 training images"),
        ("", "is empty"),
    ):
        names.write_text(text)
        with pytest.raises(UserError, match=said):
            Semisup(names=str(names)).measure(subject)
    with pytest.raises(UserError, match="cannot be read"):
        Semisup(names=str(tmp_path / "absent.txt")).measure(subject)


def test_the_encoder_moves_as_in_the_paper_from_one_twentieth_on(
    subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def record(part: Subject, setting: FineTuningSetting, *others: object) -> object:
        asked.append((len(part.data.train.index), setting))
        return torch.zeros(18), {"top1": 0.0, "settings": {}}

    monkeypatch.setattr(semisup, "fine_tuned_predictions", record)
    many = Semisup(share=0.25, setting="paper", epochs=1)
    assert many.measure(subject)["settings"]["encoder"] == "tuned"
    count, setting = asked[-1]
    assert count == 9
    assert (setting.learning_rate, setting.encoder_rate, setting.batch_size) == (0.25, 2.5e-4, 1024)
    assert (setting.nesterov, setting.drops, setting.epochs) == (True, (), 1)
    for others in (replace(many, encoder="frozen"), replace(many, setting="auto")):  # auto: search
        assert others.measure(subject)["settings"]["encoder"] == "frozen"
    monkeypatch.setattr(semisup, "_BETWEEN", 0.3)  # the images are too few for a share of 1 %
    assert many.measure(subject)["settings"]["encoder"] == "frozen"
    assert len(asked) == 1


def test_few_labels_tune_a_whole_encoder(subject: Subject) -> None:
    tuned = Semisup(share=0.5, encoder="tuned", epochs=2)
    found = tuned.measure(subject)
    assert (found["settings"]["setting"], found["settings"]["encoder"]) == ("paper", "tuned")
    assert found["settings"]["images"] == 18
    assert "encoder tuned" in tuned.report(subject, found)
    with pytest.raises(UserError, match="--setting search has no rate for the encoder"):
        Semisup(setting="search", encoder="tuned")
