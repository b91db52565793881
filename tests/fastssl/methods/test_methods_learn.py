"""Whole trainings on textures: every method learns, EqCo and a collapse show.

Run by ``make test-slow``. One seed each; the kNN of 1,024 queries has a standard error of a point and a half.
"""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastssl.config import Experiment
from fastssl.methods import AMDIM, BYOL, CMC, METHODS, VAE, Method, Rotation, SimCLR
from fastssl.models import ResNet9
from fastssl.recipes import quickstart
from fastssl.train import train
from tests.helpers.methods import experiment_with, narrow
from tests.helpers.textures import write_textures

pytestmark = pytest.mark.slow

PRETEXTS = (Rotation, VAE, CMC, AMDIM)  # need shapes or memories, and minutes: test_pretexts_learn.py
EPOCHS, BASE_LR = 32, 0.3  # of a method's small config: a quick teacher, narrow heads
CLEARLY = 0.05  # kNN top-1 above the untrained encoder's: three standard errors


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("textures")
    write_textures(folder, train=128, test=128)
    return folder


def with_method(method: Method.Config, epochs: float, base_lr: float, batch_size: int = 64) -> Experiment:
    """Losses differ in scale by a hundred: gradients are clipped, so that one rate serves all."""
    optimizer = replace(quickstart().experiment.optimizer, base_lr=base_lr, clip_grad_norm=1.0)
    experiment = experiment_with(
        method,
        epochs=epochs,
        optimizer=optimizer,
        batch_size=batch_size,
        backbone=ResNet9.Config(width=0.125),
    )
    (group,) = experiment.views
    return replace(experiment, views=(replace(group, spec=replace(group.spec, size=24)),))


def run(experiment: Experiment, data: Path, out: Path) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Its summary and its metrics."""
    config = quickstart()
    machine = replace(config.machine, data=str(data), out=str(out), monitor_every=10**9)
    assert train(replace(config, experiment=experiment, machine=machine)) == 0
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return json.loads((out / "summary.json").read_text()), [row for row in rows if "loss" in row]


@pytest.mark.parametrize("method", [method for method in METHODS if method not in PRETEXTS])
def test_every_method_beats_the_untrained_encoder(method: type[Method], data: Path, tmp_path: Path) -> None:
    experiment = with_method(method.Config().small(), EPOCHS, BASE_LR)
    summary, _ = run(experiment, data, tmp_path / "run")
    assert summary["knn_top1"] > summary["knn_top1_untrained"] + CLEARLY


def test_eqco_makes_few_negatives_bound_as_many_do(data: Path, tmp_path: Path) -> None:
    """Figure 1 of Zhu et al. (2020) in miniature: the bound at the end, over the last 80 steps."""
    bounds = {}
    for count, alpha in ((256, 256.0), (4, 256.0), (4, None)):
        method = narrow(
            SimCLR,
            {"loss.num_negatives": count, "loss.eqco_alpha": alpha, "loss.temperature": 0.3},
            hidden_dim=512,
            out_dim=128,
        )
        _, rows = run(with_method(method, 30, 0.24, 129), data, tmp_path / f"{count}-{alpha}")
        bounds[count, alpha] = np.mean([row["mi_bound"] for row in rows[-5:-1]])
    many, few, plain = bounds.values()
    assert abs(few / many - 1) < 0.15
    assert plain < math.log(5) < many
    assert plain < 0.75 * many


def test_byol_with_layer_norms_collapses_and_is_warned_of(
    data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Table 4 of Moon et al. (2022): 10.6 % on STL-10; with batch norms in the heads it does not."""
    spreads = []
    for norm in ("batch", "layer"):
        method = narrow(
            BYOL,
            {"teacher.momentum": 0.9, "projector.norm": norm, "predictor.norm": norm},
            hidden_dim=512,
            out_dim=128,
        )
        _, rows = run(with_method(method, 10, 0.3), data, tmp_path / norm)
        spreads.append(rows[-1]["feature_std"])
        warned = "embeddings are all but one" in capsys.readouterr().err
        assert warned == (norm == "layer")
    assert spreads[0] > 0.2
    assert spreads[1] < 0.05
