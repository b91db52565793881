"""Encoders rank as they must in every protocol: untrained, briefly pre-trained, supervised.

Takes 5,000 training and 2,000 test images of CIFAR-10, the first by name in each class folder of
``FASTSSL_CIFAR10/train`` and ``test``; skipped where it is not set. ``pytest -s -m slow`` prints the table of
fastssl/README.md.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from fastssl.config import Config, Experiment
from fastssl.evaluate.__main__ import main
from fastssl.methods import Supervised
from fastssl.recipes import find_recipe
from fastssl.recipes.augmentations import SUPERVISED_CIFAR10
from fastssl.train import train
from pipelines.views import ViewGroup

CIFAR10 = os.environ.get("FASTSSL_CIFAR10", "")
EPOCHS = 6
FIGURES = {"knn": "top1_k20", "linear": "top1", "logistic": "top1", "svm": "map"}
MARGIN = 0.03  # three standard errors of the accuracy on 2,000 images

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not CIFAR10, reason="FASTSSL_CIFAR10 is not set"),
]


def link_images(out: Path) -> None:
    for split, count in (("train", 500), ("test", 200)):
        for folder in sorted((Path(CIFAR10) / split).iterdir()):
            (out / split / folder.name).mkdir(parents=True)
            for image in sorted(folder.iterdir())[:count]:
                (out / split / folder.name / image.name).symlink_to(image.resolve())


def supervised(experiment: Experiment) -> Experiment:
    views = (ViewGroup(spec=SUPERVISED_CIFAR10),)
    return replace(experiment, method=Supervised.Config(), views=views)


def untrained(experiment: Experiment) -> Experiment:
    """An epoch at no rate to speak of, for the statistics of batch norms."""
    return replace(experiment, epochs=1, optimizer=replace(experiment.optimizer, base_lr=1e-12))


def figure_of(run: Path, protocol: str) -> float:
    (result,) = (run / "eval").glob(f"{protocol}*.json")  # its options stand behind the name
    return float(json.loads(result.read_text())[FIGURES[protocol]])


def test_untrained_pretrained_supervised(tmp_path: Path) -> None:
    link_images(tmp_path / "images")
    recipe: Config = find_recipe("moco-v2-plus-cifar10-cpu")
    pretrained = replace(recipe.experiment, epochs=EPOCHS, precision="fp32")
    kinds = {
        "untrained": untrained(pretrained),
        "pre-trained": pretrained,
        "supervised": supervised(pretrained),
    }
    runs = {}
    for name, experiment in kinds.items():
        runs[name] = tmp_path / name
        machine = replace(
            recipe.machine, data=str(tmp_path / "images"), out=str(runs[name]), device="cpu", monitor_every=0
        )
        assert train(replace(recipe, experiment=experiment, machine=machine)) == 0
    assert main([",".join(FIGURES), *map(str, runs.values()), "--costs", "0.1", "1", "10"]) == 0
    print("\n| encoder |", " | ".join(FIGURES), "|")
    rows = []
    for name, run in runs.items():
        rows.append([figure_of(run, protocol) for protocol in FIGURES])
        print(f"| {name} |", " | ".join(f"{value:.3f}" for value in rows[-1]), "|")
    for protocol, low, middle, high in zip(FIGURES, *rows, strict=True):
        assert low + MARGIN < middle, protocol
        assert middle + MARGIN < high, protocol
