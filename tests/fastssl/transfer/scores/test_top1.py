"""Accuracy of classes, by hand."""

import pytest

from fastssl.transfer.network import Prediction
from fastssl.transfer.scores.top1 import Top1
from pipelines.targets import Targets


def test_by_hand() -> None:
    evaluator = Top1(("cat", "dog", "cow"))
    assert evaluator.metrics() == {}
    for label, found in ((0, 0), (0, 1), (0, 0), (1, 2)):
        evaluator.add(Prediction(label=found), Targets(height=1, width=1, label=label))
    assert evaluator.metrics() == {"top1": 0.5}
    assert evaluator.per_class() == {"cat": {"top1": pytest.approx(2 / 3)}, "dog": {"top1": 0}}


def test_an_image_without_a_label_is_refused() -> None:
    with pytest.raises(ValueError, match="no label to measure"):
        Top1(("cat",)).add(Prediction(label=0), Targets(height=1, width=1))
