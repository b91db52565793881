import json
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import simplejpeg
import torch
from torch import Tensor

from fastssl.evaluate import linear
from fastssl.evaluate.__main__ import main
from fastssl.evaluate.fine_tuning import fine_tune, fine_tuned_predictions
from fastssl.evaluate.fine_tuning_setting import FineTuningSetting, OptimizerName
from fastssl.evaluate.finetune import Finetune
from fastssl.evaluate.linear_classifiers import LinearClassifiers
from fastssl.evaluate.linear_setting import LinearSetting
from fastssl.evaluate.resumable import Resumable, forget, resume_file
from fastssl.evaluate.subject import open_subject
from pipelines.command.errors import UserError
from tests.helpers.commands import ForkedCommand
from tests.helpers.power_cut import stopped_at

SETTING = FineTuningSetting(
    epochs=6, batch_size=12, learning_rate=0.1, encoder_rate=0.01, nesterov=True, drops=(), weight_decay=1e-4
)


def same(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> bool:
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.fixture
def patterns(tmp_path: Path) -> Path:
    """100 images of 16 random colors, whose class says nothing about them, in both splits."""
    generator = np.random.default_rng(0)
    for number in range(100):
        colors = generator.integers(0, 255, (4, 4, 3), dtype=np.uint8)
        image = np.ascontiguousarray(colors.repeat(4, 0).repeat(4, 1))
        for split in ("train", "test"):
            folder = tmp_path / "patterns" / split / f"class-{number % 4}"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{number}.jpg").write_bytes(simplejpeg.encode_jpeg(image, quality=95))
    return tmp_path / "patterns"


@pytest.mark.parametrize(("optimizer", "rate"), [("sgd", 0.2), ("lars", 5.0), ("adamw", 0.01)])
def test_it_overfits_100_images_with_labels_at_random(
    run: Path, patterns: Path, optimizer: OptimizerName, rate: float
) -> None:
    finetune = Finetune(
        optimizer=optimizer, classifier_rate=rate, encoder_rate=rate, batch_size=50, epochs=60
    )
    subject = replace(open_subject(run, str(patterns)), run=None)
    result = finetune.measure(subject)
    assert result["top1"] == 1.0
    assert result["train_loss"] < 0.3
    frozen = replace(finetune, encoder_rate=0.0, fixed_batch_norms=True, epochs=10).measure(subject)
    assert frozen["top1"] < 0.9


def test_an_encoder_rate_of_0_with_fixed_batch_norms_is_linear(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The encoder to the bit, classes of the test images, and the classifier to the rounding of float32."""
    made: list[LinearClassifiers] = []

    class Recorded(LinearClassifiers):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            made.append(self)

    monkeypatch.setattr(linear, "LinearClassifiers", Recorded)
    subject = open_subject(run)
    expected = LinearSetting(
        epochs=6, batch_size=12, learning_rate=0.1, nesterov=True, drops=(), weight_decay=1e-4
    )
    classes, theirs = linear.linear_predictions(subject, expected, "crop", 3, None)
    setting = replace(SETTING, encoder_rate=0.0, fixed_batch_norms=True)
    network, ours = fine_tune(subject, setting, "crop", 3, None)
    assert same(network.encoder.state_dict(), subject.encoder.state_dict())
    (classifiers,) = made
    torch.testing.assert_close(network.classifier.weight, classifiers.weights[0], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(network.classifier.bias, classifiers.biases[0], rtol=1e-5, atol=1e-6)
    assert ours["train_loss"] == pytest.approx(theirs["train_loss"], rel=1e-5)
    assert torch.equal(fine_tuned_predictions(subject, setting, "crop", 3, None)[0], classes)


def test_weights_and_statistics_move_in_a_copy(run: Path) -> None:
    subject = open_subject(run)
    before = {name: value.clone() for name, value in subject.encoder.state_dict().items()}
    moved = fine_tune(subject, SETTING, "flip", 0, None)[0].encoder.state_dict()
    frozen = fine_tune(subject, replace(SETTING, encoder_rate=0.0), "flip", 0, None)[0].encoder.state_dict()
    fixed = fine_tune(subject, replace(SETTING, fixed_batch_norms=True), "flip", 0, None)[
        0
    ].encoder.state_dict()
    assert same(subject.encoder.state_dict(), before)
    assert all(parameter.grad is None for parameter in subject.encoder.parameters())
    weights = {name for name, _ in subject.encoder.named_parameters()}
    statistics = before.keys() - weights
    for state, still in ((moved, set()), (frozen, weights), (fixed, statistics)):
        assert {name for name, value in state.items() if torch.equal(value, before[name])} == still


@pytest.mark.parametrize("optimizer", ["sgd", "lars", "adamw"])
def test_a_training_goes_on_to_the_bit(run: Path, tmp_path: Path, optimizer: OptimizerName) -> None:
    subject, setting = open_subject(run), replace(SETTING, optimizer=optimizer)
    whole, expected = fine_tune(subject, setting, "crop", 1, None)
    file = tmp_path / "state.pt"
    for step in (5, 17):  # of 18: the second time in the last epoch, whose losses are kept
        with stopped_at(step):
            fine_tune(subject, setting, "crop", 1, file)
    network, result = fine_tune(subject, setting, "crop", 1, file)
    assert result == expected
    assert same(network.state_dict(), whole.state_dict())
    again, result = fine_tune(subject, setting, "crop", 1, file)  # what was left of it: nothing
    assert result == expected
    assert same(again.state_dict(), whole.state_dict())


@pytest.mark.parametrize("damage", ["another setting", "cut short"])
def test_a_state_of_something_else_is_left_alone(
    run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    damage: str,
) -> None:
    subject, file = open_subject(run), tmp_path / "state.pt"
    other = replace(SETTING, encoder_rate=0.02) if damage == "another setting" else SETTING
    with stopped_at(5):
        fine_tune(subject, other, "flip", 1, file)
    if damage == "cut short":
        file.write_bytes(file.read_bytes()[:-100])
    network, result = fine_tune(subject, SETTING, "flip", 1, file)
    assert capsys.readouterr().err.splitlines()[-1].endswith("trained anew")
    whole, expected = fine_tune(subject, SETTING, "flip", 1, None)
    assert result == expected
    assert same(network.state_dict(), whole.state_dict())


def result_of(run: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "eval" / f"{name}.json").read_text())
    return {key: value for key, value in found.items() if key != "cost"}


def test_a_command_that_was_killed_ends_as_one_that_was_not(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FASTSSL_CACHE")  # where compiled kernels are
    words: list[str | Path] = [run, "--epochs", "40", "--batch-size", "12", "--device", "cpu"]
    state = run / "unfinished" / "finetune+batch_size=12+epochs=40.pt"
    killed = ForkedCommand("fastssl.evaluate", "finetune", *words)
    while not state.exists() and killed.poll() is None:
        time.sleep(0.02)
    killed.kill()
    assert killed.wait() == -signal.SIGKILL
    assert 0 < torch.load(state)["step"] < 120
    said = run_to_the_end(words)
    assert "finetune top-1" in said
    assert not state.parent.exists()
    ours = result_of(run, "finetune+batch_size=12+epochs=40")
    (run / "eval" / "finetune+batch_size=12+epochs=40.json").unlink()
    run_to_the_end(words)
    assert result_of(run, "finetune+batch_size=12+epochs=40") == ours


def run_to_the_end(words: list[str | Path]) -> str:
    process = ForkedCommand("fastssl.evaluate", "finetune", *words)
    said, _ = process.communicate(timeout=240)
    assert process.returncode == 0
    return said


def test_sigterm_saves_and_ends_with_its_status(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    is_due, asked = Resumable.is_due, []

    def ask(resumable: Resumable) -> bool:
        asked.append(1)
        if len(asked) == 4:
            os.kill(os.getpid(), signal.SIGTERM)
        return is_due(resumable)

    monkeypatch.setattr(Resumable, "is_due", ask)
    with pytest.raises(SystemExit) as ended:
        main(["finetune", str(run), "--batch-size", "12", "--epochs", "5"])
    assert ended.value.code == 143
    assert "stopped after step 4 of 15; the same command resumes it" in capsys.readouterr().err
    finetune, subject = Finetune(batch_size=12, epochs=5), open_subject(run)
    file = resume_file(finetune, subject)
    assert file is not None
    assert torch.load(file)["step"] == 4
    forget(finetune, subject)
    assert not file.parent.exists()


def test_a_training_that_diverges_is_one_line(run: Path) -> None:
    subject = open_subject(run)
    with pytest.raises(UserError, match=r"diverged before step \d+: lower its learning rates"):
        Finetune(classifier_rate=1e12, epochs=8).measure(subject)


def test_rates_that_are_left_out_are_the_optimizer_s_and_a_tenth() -> None:
    assert [
        (setting.learning_rate, setting.encoder_rate, setting.nesterov)
        for setting in (Finetune(optimizer=name).resolved_setting() for name in ("sgd", "lars", "adamw"))
    ] == [(0.1, 0.01, True), (1.0, 0.1, False), (0.001, 0.0001, False)]
    assert Finetune(classifier_rate=0.5, encoder_rate=0.0).resolved_setting().encoder_rate == 0.0
