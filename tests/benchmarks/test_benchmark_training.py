"""The benchmark of whole training: every contender takes the steps it is asked for, and is clocked."""

from dataclasses import replace

import pytest
import torch

from benchmarks import training
from benchmarks.training import Options, measure
from fastssl.models import ResNet9
from fastssl.recipes import quickstart
from pipelines.command.errors import UserError

pytestmark = pytest.mark.filterwarnings("ignore")  # of torchvision's decoder

CPU = torch.device("cpu")


def test_contenders_train_on_files(monkeypatch: pytest.MonkeyPatch) -> None:
    config = quickstart()
    small = replace(config.experiment, batch_size=8, backbone=ResNet9.Config(width=0.0625))
    monkeypatch.setattr(training, "find_recipe", lambda name: replace(config, experiment=small))
    monkeypatch.setattr(training, "_ROUNDS", 1)
    monkeypatch.setattr(training, "_WARM_UP", 1)
    ours, plain, *others = measure(replace(Options(), recipe="quickstart", images=17, steps=2), CPU)
    assert (ours.contender, plain.contender) == ("fastssl", "plain")
    assert [row.contender for row in others] in ([], ["lightly"])
    for row in (ours, plain, *others):
        assert row.images == 8
        assert row.images_per_s > 0
        assert row.core_ms_per_image > 0


def test_a_recipe_without_a_plain_loop_is_refused() -> None:
    with pytest.raises(UserError, match="there is no plain loop of its method"):
        measure(replace(Options(), recipe="byol-layer-norm-brownian-stl10", images=600), CPU)
