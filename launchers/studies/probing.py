"""Linear classifiers against fine-tuning, and training from scratch on L*a*b* against RGB.

Newell, Deng, "How useful is self-supervised pretraining for visual tasks?" (2020): all images are shown in
L*a*b*, as CMC needs it; supplement 1 says, without a figure, that from scratch with many labels this makes no
difference. Linear accuracies of the four pretexts stand beside those of fine-tuning, ResNet9, classification:
the order of pretexts is not the same in both.

Compute: 4 pre-trainings of 400 to 800 rounds of 50,000 images, 80 tasks of 200 to 600 epochs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from launchers.studies.scene_tasks import (
    FEW_LABELS,
    LABELS,
    PRETEXTS,
    SCRATCH,
    label_figure,
    scene_run,
    tasks_on,
)
from launchers.sweeps.study import PlannedRun, Scale, Study
from launchers.sweeps.task import Mode
from pipelines.views import ViewSpec

_IMAGES = "single-1111"
_MODES: tuple[Mode, ...] = ("finetune", "linear")


def study(scale: Scale) -> Study:
    """The study at a scale; tiny: rotation alone, and up to 4,000 labels."""
    return Study(
        title="Linear classifiers against fine-tuning, and L*a*b* against RGB",
        axes=("pretext", "colors"),
        runs=tuple(_runs(scale)),
        figures=(
            label_figure(
                "Linear and fine-tuned classification",
                "classification",
                "pretext",
                where={"colors": "lab"},
                modes=_MODES,
            ),
            label_figure(
                "From scratch, in L*a*b* and in RGB", "classification", "colors", where={"pretext": SCRATCH}
            ),
        ),
        scale=scale,
    )


def _runs(scale: Scale) -> Iterator[PlannedRun]:
    labels = LABELS if scale == "paper" else FEW_LABELS
    for pretext in PRETEXTS if scale == "paper" else ("rotation",):
        tasks = tasks_on(scale, "resnet9", _IMAGES, _MODES, labels, ("classification",))
        values = {"pretext": pretext, "colors": "lab"}
        yield scene_run(scale, pretext, "resnet9", _IMAGES, tasks, name=pretext, values=values)
    for colors in ("lab", "rgb"):
        tasks = tasks_on(scale, "resnet9", _IMAGES, ("scratch",), labels, ("classification",))
        name, values = f"{SCRATCH}-{colors}", {"pretext": SCRATCH, "colors": colors}
        run = scene_run(scale, SCRATCH, "resnet9", _IMAGES, tasks, name=name, values=values)
        yield _in_rgb(run) if colors == "rgb" else run


def _in_rgb(run: PlannedRun) -> PlannedRun:
    """The same with RGB images, normalized as usual."""
    experiment = run.config.experiment
    (group,) = experiment.views
    usual = ViewSpec()
    spec = replace(group.spec, color_space=usual.color_space, mean=usual.mean, std=usual.std)
    views = (replace(group, spec=spec),)
    return replace(run, config=replace(run.config, experiment=replace(experiment, views=views)))
