"""Fresh weights in the halves of a recipe's network, or like the config of a run."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch

from fastssl.config_values import to_dict
from fastssl.models import ResNet9
from fastssl.models.lab_halves import LabHalves
from fastssl.recipes import find_recipe
from fastssl.transfer.options import TransferOptions
from fastssl.transfer.starting_point import SCRATCH, EncoderOptions, open_starting_point
from pipelines.command.errors import UserError


def test_scratch_is_like_the_config_of_a_run(tmp_path: Path) -> None:
    config = find_recipe("cmc-tiny")
    experiment = dataclasses.replace(config.experiment, backbone=ResNet9.Config(width=0.125))
    path = tmp_path / "config.json"
    path.write_text(json.dumps({"config": to_dict(dataclasses.replace(config, experiment=experiment))}))
    found = open_starting_point(EncoderOptions(encoder=SCRATCH, like=str(path)), fresh=True, seed=0)
    assert found.about["architecture"]["width"] == 0.125
    assert found.view.color_space == "lab"
    assert isinstance(found.encoder, ResNet9)


def test_halves_are_those_that_cmc_trains() -> None:
    options = EncoderOptions(encoder=SCRATCH, like="cmc-tiny", halves=True)
    found = open_starting_point(options, fresh=True, seed=0)
    assert isinstance(found.encoder, LabHalves)
    assert found.about["halves"]
    views = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        features = found.encoder(views)
        views[:, 1:] += 1
        lightness, colors = (found.encoder(views) != features).chunk(2, 1)
    assert not lightness.any()
    assert colors.any()
    whole = open_starting_point(dataclasses.replace(options, halves=False), fresh=True, seed=0)
    assert "halves" not in whole.about
    assert isinstance(whole.encoder, ResNet9)
    with pytest.raises(UserError, match="--halves tells of scratch --like RECIPE"):
        TransferOptions(encoder=SCRATCH, data="scenes", halves=True)
