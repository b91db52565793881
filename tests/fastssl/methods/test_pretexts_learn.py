"""Whole trainings of the ``-tiny`` recipes on the built-in scenes: each pretext learns what it is for.

Run by ``make test-slow``. One seed each; the probe's 2,000 test images have a standard error of a point.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fastssl import load_encoder
from fastssl.config import Config
from fastssl.distributed.dist_env import DistEnv
from fastssl.evaluate.data import labeled_data
from fastssl.evaluate.features import FeatureConfig, calibrated
from fastssl.evaluate.logistic import Logistic
from fastssl.evaluate.subject import Subject
from fastssl.methods import build_encoder
from fastssl.recipes import find_recipe
from fastssl.run.build import training_batches
from fastssl.run.data import open_training_data
from fastssl.train import train
from pipelines.backends.choose import open_loader
from pipelines.decode.bad_images import BadImages
from pipelines.views import evaluation_spec

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
CLEARLY = 0.05  # of the probe: five standard errors


def run(name: str, out: Path) -> tuple[Config, dict[str, float]]:
    """Train a recipe. Returns its config, and the means over its last logged 200 steps."""
    config = find_recipe(name)
    machine = replace(config.machine, out=str(out), device="cpu", monitor_every=0)
    config = replace(config, machine=machine)
    assert train(config) == 0
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    last = [row for row in rows if "loss" in row][-10:]
    return config, {name: sum(row[name] for row in last) / len(last) for name in last[0]}


def test_rotation_tells_the_turns(tmp_path: Path) -> None:
    _, metrics = run("rotation-tiny", tmp_path / "run")
    assert metrics["accuracy"] > 0.5  # of four


def test_vae_reconstructs_twice_as_well_as_the_mean_image(tmp_path: Path) -> None:
    config, metrics = run("vae-tiny", tmp_path / "run")
    data = open_training_data(config, DistEnv())
    with open_loader(training_batches(config, data, CPU, BadImages(None, 10), start=0, stop=50)) as loader:
        views = torch.cat([batch.views[0].clone() for batch in loader])
    error = (views - views.mean(0)).square().mean().item()
    assert metrics["reconstruction_error"] < error / 2


@pytest.mark.parametrize("name", ["cmc-tiny", "amdim-tiny"])
def test_a_linear_probe_beats_the_untrained_encoders(name: str, tmp_path: Path) -> None:
    config, _ = run(name, tmp_path / "run")
    experiment = config.experiment
    features = FeatureConfig(
        spec=evaluation_spec(experiment.views[0].spec, experiment.center_fraction),
        device=CPU,
        bad_images=BadImages(None, 10),
    )
    data = labeled_data("scenes")
    torch.manual_seed(0)
    untrained = calibrated(build_encoder(experiment.method, experiment.backbone), data.train, features)
    top1 = [
        Logistic(c=(0.01,)).measure(Subject(encoder=encoder, data=data, feature_config=features))["top1"]
        for encoder in (load_encoder(tmp_path / "run"), untrained)
    ]
    print(name, top1)
    assert top1[0] > top1[1] + CLEARLY
