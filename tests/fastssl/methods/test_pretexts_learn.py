"""Whole trainings of ``-tiny`` recipes on the built-in scenes: a pretext learns what it is for.

Run by ``make test-slow``. One seed each.
"""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fastssl.config import Config
from fastssl.distributed.dist_env import DistEnv
from fastssl.evaluate.features import calibrated
from fastssl.evaluate.logistic import Logistic
from fastssl.evaluate.subject import open_subject
from fastssl.methods import build_encoder
from fastssl.recipes import find_recipe
from fastssl.run.build import training_batches
from fastssl.run.data import open_training_data
from fastssl.train import train
from pipelines.backends.choose import open_loader
from pipelines.decode.bad_images import BadImages

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def run(name: str, out: Path) -> tuple[Config, dict[str, float]]:
    """Train a recipe. Returns its config, and the means over its last logged 200 steps."""
    config = find_recipe(name)
    machine = replace(config.machine, out=str(out), device="cpu", monitor_every=0)
    experiment = replace(config.experiment, precision="fp32")
    config = replace(config, machine=machine, experiment=experiment)
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
def test_contrastive_features_tell_shapes_better_than_before_training(name: str, tmp_path: Path) -> None:
    """Logistic top-1 on 5,000 images of shapes that no training image has."""
    config, _ = run(name, tmp_path / "run")
    trained = open_subject(config.out, device="cpu")
    torch.manual_seed(config.experiment.seed)
    encoder = build_encoder(config.experiment.method, config.experiment.backbone)
    at_rest = calibrated(encoder, trained.data.train, trained.feature_config)
    untrained = replace(trained, encoder=at_rest, cache=None, run=None)
    after, before = (
        Logistic(c=(0.01, 0.1, 1.0)).measure(subject)["top1"] for subject in (trained, untrained)
    )
    print(f"{name}: {before:.3f} untrained, {after:.3f} trained")
    assert after > before + 0.05
