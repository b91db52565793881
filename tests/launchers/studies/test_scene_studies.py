"""The studies of scenes of known factors: how many jobs, on which images, in which figures."""

from collections import Counter

import pytest

from fastssl.methods import AMDIM, CMC, MoCo
from fastssl.models import DenseResNet, ResNet9
from launchers.studies import STUDIES
from launchers.sweeps.study import PlannedRun, Scale
from pipelines.sources.scenes.arrangement import COMBINATIONS
from pipelines.sources.scenes.labeled import parse

SCENES = ("utility", "utility-modern", "cross-transfer", "pretext-tuning", "backbones", "probing")


def runs(study: str, scale: Scale = "paper") -> dict[str, PlannedRun]:
    return {run.name: run for run in STUDIES[study](scale).runs}


@pytest.mark.parametrize("scale", ["paper", "tiny"])
@pytest.mark.parametrize("name", SCENES)
def test_its_images_can_be_made(name: str, scale: Scale) -> None:
    study = STUDIES[name](scale)
    places = {run.config.machine.data for run in study.runs}
    places |= {task.where for run in study.runs for task in run.tasks}
    for place in places:
        kind, _, text = place.partition(":")
        assert kind == "scenes"
        parse(text)
    shown = {figure.y.partition(".")[0] for figure in study.figures}
    assert shown == {task.task for run in study.runs for task in run.tasks}
    assert all(run.tasks for run in study.runs)


def test_utility_has_four_pretexts_four_tasks_and_twelve_combinations() -> None:
    """Details of the paper's code: 100 to 200,000 labels; poses where the viewpoint is free."""
    found = runs("utility")
    assert len(found) == 2 * 2 * 12 * 5
    assert sum(run.trained for run in found.values()) == 192
    count = Counter(task.task for run in found.values() for task in run.tasks)
    free = sum(combination[2] == "1" for combination in COMBINATIONS)
    assert free == 6
    assert count == {"classification": 960, "pose": 480, "segmentation": 960, "depth": 960}
    assert {task.labels for task in found["cmc-resnet9-single-1111"].tasks} == {
        *(100, 250, 1000, 4000, 20_000, 50_000, 100_000, 200_000)
    }
    assert isinstance(found["cmc-resnet9-multi-1111"].config.experiment.backbone, ResNet9.Config)
    dense = found["amdim-resnet50-multi-0110"].config.experiment
    assert isinstance(dense.backbone, DenseResNet.Config)
    assert dense.backbone.dilated
    assert isinstance(dense.method, AMDIM.Config)
    words = found["scratch-resnet50-single-1111"].tasks[0].words
    assert words == ["classification", "--labels", "100", "--mode", "scratch", "--batch-size", "384"]


def test_each_figure_of_the_supplement_has_its_study() -> None:
    titles = [figure.title for name in SCENES for figure in STUDIES[name]("paper").figures]
    numbers = {int(title.split()[1].rstrip(":")) for title in titles if title.startswith("Figure")}
    assert numbers == set(range(1, 17))


def test_cross_transfer_is_twelve_by_twelve() -> None:
    found = runs("cross-transfer")
    assert [*found] == [f"single-{combination}" for combination in COMBINATIONS]
    for run in found.values():
        assert {task.images for task in run.tasks} == {*found}
        assert {task.labels for task in run.tasks} == {250, 1000, 4000}
        assert len(run.tasks) == 36


def test_tuning_takes_as_many_steps_on_an_eighth_of_the_images() -> None:
    found = runs("pretext-tuning")
    steps = {}
    for name, run in found.items():
        if run.trained:
            assert isinstance(run.config.experiment.method, CMC.Config)
            steps[name] = (
                run.config.experiment.epochs * parse(run.config.machine.data.partition(":")[2]).images
            )
    assert steps == {"whole": 4e7, "half-time": 2e7, "eighth-of-images": 4e7}  # 800 rounds of 50,000


def test_the_modern_pretexts_have_views_in_pairs() -> None:
    experiment = runs("utility-modern")["moco-v2-plus-resnet9-single-1111"].config.experiment
    assert isinstance(experiment.method, MoCo.Config)
    assert experiment.views[0].num_views == 2
    assert experiment.views[0].spec.channel_jitter.p == 0.8


def test_probing_shows_rgb_from_scratch_too() -> None:
    found = runs("probing")
    spaces = [
        found[f"scratch-{colors}"].config.experiment.views[0].spec.color_space for colors in ("lab", "rgb")
    ]
    assert spaces == ["lab", "rgb"]
    assert Counter(task.mode for task in found["cmc"].tasks) == {"finetune": 8, "linear": 8}
