"""Every study at both scales; their numbers are the papers', typed anew from the tables."""

import dataclasses
from typing import get_args

import numpy as np
import pytest
import torch

from fastssl.config_values import differing_fields, from_dict, to_dict
from fastssl.methods import build_method
from fastssl.models import ResNet9
from fastssl.recipes import find_recipe
from fastssl.recipes.moco import LADDER
from launchers.studies import STUDIES
from launchers.sweeps.study import PlannedRun, Scale, Study

SCALES: tuple[Scale, ...] = get_args(Scale)
ALL = [(name, scale) for name in STUDIES for scale in SCALES]


@pytest.mark.parametrize(("name", "scale"), ALL)
def test_a_study_is_sound(name: str, scale: Scale) -> None:
    study = STUDIES[name](scale)
    assert study.name == name
    assert study.title
    assert len(study.about.splitlines()) > 1
    names = [run.name for run in study.runs]
    assert len(set(names)) == len(names)
    for run in study.runs:
        assert set(run.values) == set(study.axes)
        assert not set(run.name) & set("/ =,:")
        assert from_dict(to_dict(run.config), run.name) == run.config
        if scale == "tiny":
            assert run.config.machine.data.partition(":")[0] == "scenes"
            assert run.config.experiment.epochs <= 20
        assert len(set(run.results)) == len(run.results)
        assert len({task.result for task in run.tasks}) == len(run.tasks)
        assert run.trained or not run.evaluations
    rows = {(run.row, tuple(run.values.items())) for run in study.runs}
    assert len(rows) == len({row for row, _ in rows}) == len(study.runs)
    for figure in study.figures:
        assert figure.x in ({"labels"} if figure.kind else {*study.axes, "epoch", "step"})
        assert {figure.panel, *figure.where} <= {*study.axes, None}
        assert figure.series is None or figure.series in study.axes


@pytest.mark.parametrize(("name", "scale"), ALL)
def test_its_methods_can_be_built(name: str, scale: Scale) -> None:
    """On the narrowest backbone: methods have checks of their own."""
    narrow, ids = ResNet9.Config(width=1 / 64), np.arange(4)
    for method in {run.config.experiment.method for run in STUDIES[name](scale).runs}:
        with torch.device("meta"):  # no memory for weights
            build_method(method, narrow, seed=0, total_steps=10, num_classes=10, sample_ids=ids)


@pytest.mark.parametrize(("name", "scale"), ALL)
def test_checkpoints_that_are_measured_are_kept(name: str, scale: Scale) -> None:
    for run in STUDIES[name](scale).runs:
        for epoch in run.checkpoints:
            assert epoch % run.config.machine.keep_every == 0
            assert epoch < run.config.experiment.epochs
            assert f"linear-epoch-{epoch:04d}" in run.results


def numbers(study: Study) -> dict[str, float]:
    """The papers' linear top-1, in percent, by run."""
    found = {run.name: dict(run.paper.results) for run in study.runs if run.paper}
    top1 = {name: results["linear top-1"] for name, results in found.items() if "linear top-1" in results}
    return {name: round(100 * number, 2) for name, number in top1.items()}


def test_the_ladder() -> None:
    found = numbers(STUDIES["moco-ladder"]("paper"))
    assert found == {
        "moco-v2": 67.2,
        "momentum-ascending": 70.0,
        "moco-v2-plus": 72.0,
        "complex": 72.4,
        "s-moco-v2-plus": 71.2,
        "byol-sgd": 72.1,
        "byol-lars": 72.4,
        "moco-v2-plus-lars": 72.5,
    }


def test_eqco() -> None:
    found = numbers(STUDIES["eqco"]("paper"))
    alphas = [found[f"simo-k256-a{alpha}"] for alpha in (256, 1024, 4096, 16384, 65536, 262144)]
    assert alphas == [68.0, 68.1, 68.1, 68.4, 68.5, 68.3]
    queues = [found[f"moco-v2-k{count}"] for count in (256, 1024, 4096, 16384, 65536, 262144)]
    assert queues == [67.0, 67.1, 67.6, 67.3, 67.5, 67.4]
    assert found["moco-v1-k256-a65536"] == 60.4
    assert found["simo-k16-a256"] == 68.1
    assert found["simo-k256-a65536-800ep"] == 72.1
    assert found["simo-k256-a256-beta-0-100ep"] == 62.1
    assert found["simo-k256-a65536-r50-4x"] == 72.3


def test_eqco_changes_alpha_alone() -> None:
    """Points of figure 2, which is a plot; section 1 tells one of MoCo: 0.2 less than 60.6."""
    runs = {run.name: run for run in STUDIES["eqco"]("paper").runs}
    for moco in ("moco-v1", "moco-v2"):
        for count in (16, 256):
            without, using = runs[f"{moco}-k{count}"], runs[f"{moco}-k{count}-a65536"]
            assert differing_fields(without.config.experiment, using.config.experiment) == [
                "method.loss.eqco_alpha (None became 65536)"
            ]
            derived = moco == "moco-v1" and count == 256
            assert (using.paper is not None) == derived


@pytest.mark.parametrize("scale", SCALES)
def test_the_ladder_with_lars_trains_each_step_as_byol_is_trained(scale: Scale) -> None:
    runs = STUDIES["moco-ladder-lars"](scale).runs
    byol = find_recipe("byol-imagenet").experiment
    assert len(runs) == len(LADDER) == 8
    for run, step in zip(runs, LADDER, strict=True):
        own, experiment = step().experiment, run.config.experiment
        if scale == "paper":
            assert experiment.optimizer == byol.optimizer
            assert experiment.batch_size == byol.batch_size
            assert own == dataclasses.replace(experiment, optimizer=own.optimizer, batch_size=own.batch_size)
        else:
            assert experiment.optimizer.base_lr == pytest.approx(16 * byol.optimizer.base_lr)
    assert numbers(STUDIES["moco-ladder-lars"]("paper")) == {"moco-v2-plus-lars": 72.5}


def test_the_ladder_s_transfer_stands_beside_its_linear_accuracy() -> None:
    """Table 1's box AP of COCO by C4, table 4's of S-MoCo v2+, table 2's of both with LARS; mIoU of BYOL."""
    found = {run.name: dict(run.paper.results) for run in STUDIES["moco-ladder"]("paper").runs if run.paper}
    assert {name: results.get("COCO C4 box AP") for name, results in found.items()} == {
        "moco-v2": 0.388,
        "sync-bn": 0.386,
        "sync-bn-alone": None,
        "predictor": 0.390,
        "momentum-ascending": 0.390,
        "moco-v2-plus": 0.394,
        "complex": 0.392,
        "s-moco-v2-plus": 0.391,
        "byol-sgd": 0.388,
        "byol-lars": 0.353,
        "moco-v2-plus-lars": 0.321,
    }
    assert found["byol-lars"]["CityScapes mIoU"] == 0.764
    cross = {run.name: dict(run.paper.results) for run in STUDIES["crossover"]("paper").runs if run.paper}
    assert cross["byol-lars"]["CityScapes mIoU"] == 0.752  # the paper contradicts itself
    assert list(found["moco-v2"]) == [
        *("linear top-1", "VOC07 AP50", "VOC07+12 AP50", "COCO C4 box AP", "COCO C4 mask AP"),
        *("COCO FPN box AP", "COCO FPN mask AP", "CityScapes mIoU"),
    ]


DENSE_ROWS = {  # percent, of whole tables' rows
    ("taxonomies", "supervised-2-imbalanced"): (29.2, 46.8, 20.9, 19.2, 26.3, 24.4, 63.6),
    ("taxonomies", "supervised-1000"): (76.4, 81.8, 38.9, 33.9, 40.5, 36.4, 76.0),
    ("taxonomies", "byol"): (76.3, 82.1, 38.5, 33.8, 39.5, 35.7, 77.6),
    ("class-share", "moco-v2-plus-1"): (77.0, 82.3, 38.9, 34.1, 39.7, 35.8, 76.9),
    ("epochs", "byol-e200"): (77.2, 82.7, 39.3, 34.5, 40.6, 36.6, 77.1),
    ("augmentations", "s-moco-v2-plus-all"): (77.1, 82.4, 39.1, 34.2, 40.6, 36.7, 77.2),
    ("symmetric", "byol"): (77.2, 82.7, 39.3, 34.5, 40.6, 36.6, 77.1),
    ("crossover", "moco-v2-plus-lars"): (62.9, 74.4, 32.1, 28.9, 40.0, 36.2, 73.2),
    ("architectures", "moco-v2-resnet18"): (70.3, 40.9, 41.0, 78.3, 50.2, 54.2),
    ("architectures", "byol-sgd-resnet101"): (76.9, 50.2, 55.1, 82.6, 59.3, 65.6),
    ("norm-rescale", "byol-lars"): (
        *(71.7, 38.8, 37.0, 79.1, 48.7, 51.7, 56.2, 35.3, 37.5, 52.3, 31.1, 32.2),
        *(76.1, 47.9, 51.8, 82.3, 56.8, 62.7),
        *(76.6, 48.1, 51.6, 82.1, 56.7, 62.9, 59.3, 39.3, 42.6, 56.0, 34.5, 36.7),
        *(76.4, 48.1, 52.0, 82.2, 56.5, 62.8),
        *(76.2, 48.1, 52.2, 82.4, 56.7, 63.1),
        *(77.1, 47.0, 49.9, 81.4, 55.3, 61.1, 57.8, 37.9, 40.9, 54.3, 33.2, 35.0),
    ),
    ("msbreg-coco", "msbreg"): (41.8, 37.8),
    ("simo-coco", "random"): (31.4, 49.4, 34.0, 17.9, 32.3, 41.6),
    ("simo-coco", "simo"): (39.0, 59.2, 42.3, 22.9, 41.8, 50.5),
}


@pytest.mark.parametrize(("study", "name"), DENSE_ROWS)
def test_detection_and_segmentation_are_the_tables(study: str, name: str) -> None:
    (run,) = (run for run in STUDIES[study]("paper").runs if run.name == name)
    assert run.paper is not None
    found = [number for metric, number in run.paper.results if not metric.startswith("linear")]
    assert found == pytest.approx([percent / 100 for percent in DENSE_ROWS[study, name]])
    assert len({metric for metric, _ in run.paper.results}) == len(run.paper.results)


def test_uniformity() -> None:
    runs = STUDIES["uniformity"]("paper").runs
    found = [(run.name, *(number for _, number in run.paper.results)) for run in runs if run.paper]
    assert found == [
        ("byol", 0.719, 0.25, -1.52),
        ("byol-uniformity", 0.721, 0.27, -2.95),
        ("byol-lb-ls", 0.728, 0.26, -2.92),
        ("msbreg-4-views", 0.804, 0.36, -3.8),
    ]


def test_msbreg() -> None:
    study = STUDIES["msbreg"]("paper")
    found = numbers(study)
    assert len(found) == 60
    assert found["k2-ls0-lb0"] == 71.9
    assert found["k2-ls0.01-lb2"] == 70.3
    assert found["k4-ls0.004-lb0.5"] == 80.4
    assert found["k8-ls0.002-lb1"] == 81.1
    assert found["k8-ls0.004-lb0.5"] == max(found.values()) == 81.6
    rates = {run.values["num_views"]: run.config.experiment.optimizer.base_lr for run in study.runs}
    assert rates == pytest.approx({2: 0.8, 4: 1.6, 8: 3.2})  # 0.4 a view


def test_the_other_tables() -> None:
    assert list(numbers(STUDIES["batch-size"]("paper")).values()) == [67.5, 67.5, 67.4]
    norms = list(numbers(STUDIES["norms"]("paper")).values())
    assert norms == [89.5, 91.4, 10.6, 75.3, 10.6, 80.7, 82.3, 78.7]
    taxonomies = list(numbers(STUDIES["taxonomies"]("paper")).values())
    assert taxonomies == [9.2, 0.7, 10.6, 45.4, 53.3, 77.1, 69.1, 69.3, 69.4]
    found = STUDIES["architectures"]("paper")
    by_cell = {
        (run.values["backbone"], run.values["method"]): number
        for run, number in zip(found.runs, numbers(found).values(), strict=True)
    }
    assert by_cell == {
        ("resnet18", "MoCo v2"): 51.9,
        ("resnet18", "MoCo v2+"): 57.3,
        ("resnet18", "BYOL-SGD"): 57.8,
        ("resnet101", "MoCo v2"): 65.0,
        ("resnet101", "MoCo v2+"): 70.8,
        ("resnet101", "BYOL-SGD"): 71.7,
    }


def augmentations_left(run: PlannedRun) -> tuple[bool, ...]:
    spec = run.config.experiment.views[0].spec
    return tuple(value > 0 for value in (spec.solarize.p, spec.blur.p, spec.grayscale.p, spec.jitter.p))


@pytest.mark.parametrize("scale", SCALES)
def test_augmentations_go_in_the_papers_order(scale: Scale) -> None:
    """ "solarization, Gaussian blur, gray scale converting, and color jittering" (section 4.3)."""
    byol = [run for run in STUDIES["augmentations"](scale).runs if run.values["method"] == "BYOL"]
    assert [augmentations_left(run) for run in byol] == [
        (True, True, True, True),
        (False, True, True, True),
        (False, False, True, True),
        (False, False, False, True),
        (False, False, False, False),
    ]


def test_the_batch_size_study_changes_the_batch_and_each_gpus_share_of_it() -> None:
    runs = STUDIES["batch-size"]("paper").runs
    sizes = [(run.config.experiment.batch_size, run.config.experiment.batch_norm_group) for run in runs]
    assert sizes == [(256, 32), (512, 64), (1024, 128)]
    same = [dataclasses.replace(run.config.experiment, batch_size=256, batch_norm_group=32) for run in runs]
    assert same[0] == same[1] == same[2]  # base_lr is that of 256: the rate follows the batch
