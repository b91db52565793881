"""Whole trainings of minutes on the built-in scenes: every family learns, EqCo and a collapse show.

Run by ``make test-slow``. One seed each; the kNN of 2,000 queries has a standard error of about a point.
"""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fastssl.config import Experiment
from fastssl.methods import (
    BYOLConfig,
    MethodConfig,
    MSBRegConfig,
    SimCLRConfig,
    SiMoConfig,
    SupervisedConfig,
)
from fastssl.recipes import quickstart
from fastssl.recipes.derive import with_changes
from fastssl.train import train

pytestmark = pytest.mark.slow

CLEARLY = 0.05  # kNN top-1 above the untrained encoder's: five standard errors

# method, epochs, rate at 256 images; settings of minutes: a quick teacher, narrow heads
FAMILIES: dict[str, tuple[MethodConfig, float, float]] = {
    "moco": (quickstart().experiment.method, 7, 0.12),
    "simclr": (SimCLRConfig(hidden_dim=512), 3, 0.12),
    "simo": (
        SiMoConfig(hidden_dim=512, num_negatives=63, eqco_alpha=None, teacher_momentum=0.9),
        6,
        0.12,
    ),
    "byol": (BYOLConfig(hidden_dim=512, out_dim=128, teacher_momentum=0.9), 10, 0.3),
    "msbreg": (
        MSBRegConfig(hidden_dim=512, out_dim=128, teacher_momentum=0.9, projector_out_norm=True),
        5,
        0.12,
    ),
    "supervised": (SupervisedConfig(), 2, 0.12),
}


def with_method(method: MethodConfig, epochs: float, base_lr: float) -> Experiment:
    experiment = quickstart().experiment
    views = (replace(experiment.views[0], num_views=method.num_views),)
    optimizer = replace(experiment.optimizer, base_lr=base_lr)
    return replace(experiment, method=method, views=views, epochs=epochs, optimizer=optimizer)


def run(experiment: Experiment, out: Path) -> tuple[dict[str, float], list[dict[str, float]]]:
    """Its summary and its metrics."""
    config = quickstart()
    machine = replace(config.machine, out=str(out), monitor_every=0)
    assert train(replace(config, experiment=experiment, machine=machine)) == 0
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return json.loads((out / "summary.json").read_text()), [row for row in rows if "loss" in row]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_beats_the_untrained_encoder(family: str, tmp_path: Path) -> None:
    summary, _ = run(with_method(*FAMILIES[family]), tmp_path / "run")
    assert summary["knn_top1"] > summary["knn_top1_untrained"] + CLEARLY


def test_eqco_makes_few_negatives_bound_as_many_do(tmp_path: Path) -> None:
    """Figure 1 of Zhu et al. (2020) in miniature: the bound at the end, over the last 80 steps."""
    bounds = {}
    for count, alpha in ((256, 256.0), (4, 256.0), (4, None)):
        method = SimCLRConfig(hidden_dim=512, num_negatives=count, eqco_alpha=alpha, temperature=0.3)
        experiment = with_changes(with_method(method, 5, 0.24), {"batch_size": 129})
        _, rows = run(experiment, tmp_path / f"{count}-{alpha}")
        bounds[count, alpha] = np.mean([row["mi_bound"] for row in rows[-5:-1]])
    many, few, plain = bounds.values()
    assert abs(few / many - 1) < 0.15
    assert plain < math.log(5) < many
    assert plain < 0.75 * many


def test_byol_with_layer_norms_collapses_and_is_warned_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Table 4 of Moon et al. (2022): 10.6 % on STL-10; with batch norms in the heads it does not."""
    spreads = []
    for norm in ("batch", "layer"):
        method = BYOLConfig(hidden_dim=512, out_dim=128, teacher_momentum=0.9, head_norm=norm)
        _, rows = run(with_method(method, 1, 0.3), tmp_path / norm)
        spreads.append(rows[-1]["feature_std"])
        warned = "embeddings are all but one" in capsys.readouterr().err
        assert warned == (norm == "layer")
    assert spreads[0] > 0.2
    assert spreads[1] < 0.05
