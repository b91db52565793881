"""Whole transfers to the scenes: an encoder that has learned the shapes is worth more than a fresh one.

Detection takes 14 minutes of one core, C4 24 (2026-11-28). ``pytest -s`` prints what the README tells.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from fastssl.transfer.options import TransferConfig, TransferOptions
from fastssl.transfer.task import find_task
from fastssl.transfer.trainer import transfer
from pipelines.sources import open_source
from pipelines.sources.scenes.labeled import LabeledScenes
from tests.helpers.commands import run_command
from tests.helpers.small_transfers import result

pytestmark = pytest.mark.slow

SEEDS = (0, 1, 2)
PRETRAINING = [
    *("quickstart", "--method", "supervised", "--backbone", "resnet", "--backbone.depth", "18"),
    *("--backbone.width", "0.25", "--views.0.num-views", "1", "--views.0.spec.size", "64", "--epochs", "6"),
    *("--optimizer", "adam", "--optimizer.base-lr", "0.008", "--monitor-every", "0"),
]


TASKS: Mapping[str, Mapping[str, Any]] = {
    "scenes-segmentation": {},
    "scenes-detection": {},
    "voc07-c4": {  # as scenes-detection, but for weight decay and length
        **{"scale": "small", "short_sides": (128,), "test_short_side": 128, "steps": 300, "warmup_steps": 20},
        **{"optimizer": "adam", "learning_rate": 0.001, "weight_decay": 0.0, "precise_bn": 20},
    },
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder pre-trained for some minutes on 3,000 images of one shape and their classes."""
    folder = tmp_path_factory.mktemp("pretraining")
    shapes = "scenes:single-0101,images=3000"
    packed = run_command("pipelines.pack", shapes, folder / "data", "--split", "train")
    assert packed.returncode == 0, packed.stderr
    done = run_command("fastssl.train", *PRETRAINING, "--data", folder / "data", "--out", folder / "run")
    assert done.returncode == 0, done.stderr
    return folder / "run"


def reached(name: str, run: Path, fresh: bool, seed: int, out: Path) -> float:
    """The leading metric of a training on 400 images, from the encoder of a run or fresh weights."""
    task = find_task(name)
    options = TransferOptions(
        encoder=str(run),
        from_scratch=fresh,
        data="scenes:multi-0101,images=400",
        test_images=100,
        out=str(out),
        device="cpu",
    )
    assert transfer(TransferConfig(name=name, task=task(seed=seed, **TASKS[name]), options=options)) == 0
    found: float = result(out)[task.leading]
    return found


@pytest.mark.parametrize("name", TASKS)
def test_a_pretrained_encoder_learns_more(
    name: str, run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By more than two standard errors over the seeds."""
    monkeypatch.setattr("fastssl.transfer.data.open_source", functools.cache(open_source))
    for part in ("read", "targets"):  # each scene is made once
        monkeypatch.setattr(LabeledScenes, part, functools.cache(getattr(LabeledScenes, part)))
    found = {
        fresh: [reached(name, run, fresh, seed, tmp_path / f"{seed}-{fresh}") for seed in SEEDS]
        for fresh in (False, True)
    }
    print(name, found)
    difference = statistics.mean(found[False]) - statistics.mean(found[True])
    error = (sum(statistics.variance(each) for each in found.values()) / len(SEEDS)) ** 0.5
    assert difference > 2 * error
