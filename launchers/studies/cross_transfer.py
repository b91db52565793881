"""Pre-training on images of some factors, fine-tuning on images of others: a heat map of twelve by twelve.

Newell, Deng, "How useful is self-supervised pretraining for visual tasks?" (2020), supplement 2.1, figure 1:
classification by AMDIM's ResNet9, the mean change over 250, 1,000 and 4,000 labels. The paper does not say
against what: here against the encoder that was trained on the task's own images. Expected: the viewpoint
matters most: pre-training without it and fine-tuning with it loses the most consistently.

Compute: 12 pre-trainings of 800 rounds of 25,000 images, each twice, and 432 tasks of 200 epochs.
"""

from __future__ import annotations

from launchers.studies.scene_tasks import label_figure, scene_run, tasks_on
from launchers.sweeps.study import Scale, Study
from pipelines.sources.scenes.arrangement import COMBINATIONS

_LABELS = (250, 1000, 4000)
_TINY_COMBINATIONS = ("0000", "0010")  # without viewpoint, and with it


def study(scale: Scale) -> Study:
    """The study at a scale; tiny: two kinds of images and 250 labels."""
    combinations = COMBINATIONS if scale == "paper" else _TINY_COMBINATIONS
    labels = _LABELS if scale == "paper" else _LABELS[:1]
    images = [f"single-{combination}" for combination in combinations]
    runs = tuple(
        scene_run(
            scale,
            "amdim",
            "resnet9",
            own,
            [
                task
                for other in images
                for task in tasks_on(scale, "resnet9", other, ("finetune",), labels, ("classification",))
            ],
            name=own,
            values={"images": own},
        )
        for own in images
    )
    return Study(
        title="Pre-training and fine-tuning on images of different factors",
        axes=("images",),
        runs=runs,
        figures=(
            label_figure(
                "Figure 1: change of accuracy by the images of training and task",
                "classification",
                "images",
                "heat map",
            ),
        ),
        scale=scale,
    )
