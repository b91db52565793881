from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from fastssl.config import Config
from fastssl.config_values import to_dict
from fastssl.methods import BYOL, Method, MoCo, build_method
from fastssl.models import ResNet9
from fastssl.recipes import quickstart
from fastssl.run import checkpoint
from fastssl.run.init import take_weights
from pipelines.command.errors import UserError
from tests.helpers.methods import narrow

MOCO = narrow(MoCo, {"loss.num_negatives": 16}, hidden_dim=8, out_dim=4)


def built(config: Any, seed: int, width: float = 0.0625) -> Method:
    return build_method(config, ResNet9.Config(width=width), seed=seed, total_steps=10, num_classes=None)


def saved(folder: Path, method: Method) -> Path:
    experiment = replace(quickstart().experiment, backbone=ResNet9.Config(width=0.0625))
    config = Config(recipe="here", experiment=experiment)
    state = {
        "config": to_dict(config),
        "step": 7,
        "method": method.state_dict(),
        "encoder": method.encoder.state_dict(),
    }
    checkpoint.save(folder / "checkpoints" / "last.pt", state)
    return folder


def assert_equal(left: torch.nn.Module, right: torch.nn.Module) -> None:
    ours, theirs = left.state_dict(), right.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_the_whole_method_is_taken_where_it_fits(tmp_path: Path) -> None:
    old, new = built(MOCO, seed=1), built(MOCO, seed=2)
    line = take_weights(new, saved(tmp_path, old))
    assert line.startswith(f"init: all {len(old.state_dict())} tensors of the method")
    assert "step 7" in line
    assert_equal(new, old)


def test_another_method_takes_the_encoder_and_its_teacher_follows(tmp_path: Path) -> None:
    old, new = built(MOCO, seed=1), built(narrow(BYOL, {}, hidden_dim=8, out_dim=4), seed=2)
    fresh = built(narrow(BYOL, {}, hidden_dim=8, out_dim=4), seed=2)
    line = take_weights(new, saved(tmp_path, old) / "checkpoints" / "last.pt")
    assert line.startswith(f"init: {len(old.encoder.state_dict())} tensors of the encoder")
    assert_equal(new.encoder, old.encoder)
    assert_equal(new.teacher.encoder, old.encoder)  # type: ignore[union-attr, arg-type]
    assert_equal(new.student.predictor, fresh.student.predictor)  # type: ignore[arg-type]


def test_an_encoder_of_another_shape_is_refused(tmp_path: Path) -> None:
    where = saved(tmp_path, built(MOCO, seed=1))
    with pytest.raises(UserError, match=r"holds another encoder \(\d+ tensors differ, first \S+\)"):
        take_weights(built(MOCO, seed=2, width=0.125), where)
    with pytest.raises(UserError, match="there is no checkpoint"):
        take_weights(built(MOCO, seed=2), tmp_path / "absent")
