"""A supervised run's own classifier: what the run itself would answer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastssl.classes.training_classes import class_numbers, with_classes
from fastssl.evaluate.classifier import Classifier
from fastssl.evaluate.subject import open_subject
from fastssl.methods import Supervised
from fastssl.run import checkpoint
from pipelines.command.errors import UserError
from pipelines.sources import open_source
from tests.fastssl.evaluate.conftest import write_run
from tests.helpers.image_folder import write_colors


@pytest.fixture
def supervised(tmp_path: Path, own_cache: Path) -> Path:
    return write_run(tmp_path, Supervised.Config())


def answer(run: Path, wrong: float = 0.0) -> np.ndarray:
    """Give the run a classifier that separates the test images by least squares; their labels."""
    features, labels = open_subject(run).features("test")
    padded = torch.cat([features, torch.ones(len(features), 1)], 1).double()
    fitted = torch.linalg.lstsq(padded, torch.eye(3).double()[labels], driver="gelsd").solution.T.float()
    path = run / "checkpoints" / "last.pt"
    state = checkpoint.load(path)
    state["method"]["student.classifier.weight"] = fitted[:, :-1].contiguous()
    state["method"]["student.classifier.bias"] = fitted[:, -1] + torch.tensor([wrong, 0, 0])
    checkpoint.save(path, state)
    return labels.numpy()


def test_its_accuracy_is_the_run_s_own(supervised: Path) -> None:
    answer(supervised)
    assert Classifier().measure(open_subject(supervised))["top1"] == 1.0
    labels = answer(supervised, wrong=1e3)  # always the first class
    assert Classifier().measure(open_subject(supervised))["top1"] == pytest.approx((labels == 0).mean())


def test_a_run_without_a_classifier_is_told_what_to_do(run: Path) -> None:
    with pytest.raises(UserError, match=r"trained by moco and has no classifier: measure it by linear$"):
        Classifier().measure(open_subject(run))


def test_other_classes_are_refused(supervised: Path, tmp_path: Path) -> None:
    write_colors(tmp_path / "other", 20, names=("red", "blue"))
    with pytest.raises(UserError, match=r"has 2 classes, the classifier of .* 3$"):
        Classifier().measure(open_subject(supervised, str(tmp_path / "other")))


@pytest.mark.parametrize(("share", "grouped"), [(1.0, False), (1.0, True), (0.67, False)])
def test_labels_are_those_of_the_training(
    supervised: Path, tmp_path: Path, share: float, grouped: bool
) -> None:
    mapping = tmp_path / "mapping.tsv"
    mapping.write_text("blue\twater\ngreen\tland\nred\tland\n")
    taxonomy = str(mapping) if grouped else "classes"
    source = open_source(str(tmp_path / "data"), "train")
    seen: Any = with_classes(source, share, taxonomy, 3).index
    numbers = class_numbers(source.index.class_names, share, taxonomy, 3)
    assert source.index.labels is not None
    of_image = dict(zip(source.index.sample_ids.tolist(), source.index.labels.tolist(), strict=True))
    for sample, label in zip(seen.sample_ids.tolist(), seen.labels.tolist(), strict=True):
        assert numbers[of_image[sample]] == label
    kept = {of_image[sample] for sample in seen.sample_ids.tolist()}
    assert {i for i, number in enumerate(numbers) if number >= 0} == kept
