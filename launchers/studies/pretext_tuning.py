"""Utility of CMC after half the time, and on an eighth of the images.

Newell, Deng, "How useful is self-supervised pretraining for visual tasks?" (2020), supplement 2.2, figure 2,
a plot: classification by CMC's ResNet9, (epochs, images) of (all, 400,000), (half, 400,000) and (8 times as
many, 50,000): as many steps. Expected: no effect, or a modest adverse one.

Compute: 3 pre-trainings of 400 or 800 rounds of 50,000 images, 32 tasks of 200 to 600 epochs.
"""

from __future__ import annotations

from collections.abc import Iterator

from launchers.studies.scene_tasks import (
    FEW_LABELS,
    LABELS,
    SCRATCH,
    label_figure,
    modes_of,
    scene_run,
    tasks_on,
)
from launchers.sweeps.study import PlannedRun, Scale, Study

_IMAGES = "single-1111"


def study(scale: Scale) -> Study:
    """The study at a scale; tiny: 2 epochs of 4,000 images, 1 of these, and 16 of 500."""
    return Study(
        title="Utility of CMC after half the time, and on an eighth of the images",
        axes=("pretraining",),
        runs=tuple(_runs(scale)),
        figures=(
            label_figure("Figure 2: classification", "classification", "pretraining"),
            label_figure("Figure 2: utility", "classification", "pretraining", "utility"),
        ),
        scale=scale,
    )


def _runs(scale: Scale) -> Iterator[PlannedRun]:
    epochs, images, labels = (100.0, 400_000, LABELS) if scale == "paper" else (2.0, 4_000, FEW_LABELS)
    for name, length, count in (
        ("whole", epochs, images),
        ("half-time", epochs / 2, images),
        ("eighth-of-images", epochs * 8, images // 8),
        (SCRATCH, 0.0, 0),
    ):
        pretext = "cmc" if count else SCRATCH
        yield scene_run(
            scale,
            pretext,
            "resnet9",
            _IMAGES,
            tasks_on(scale, "resnet9", _IMAGES, modes_of(pretext), labels, ("classification",)),
            name=name,
            values={"pretraining": name},
            changes={"epochs": length} if count else {},
            options=f",images={count}" if count else "",
        )
