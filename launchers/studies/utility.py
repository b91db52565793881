"""Utility of four pretexts on four tasks, over the number of labels and twelve kinds of images.

Newell, Deng, "How useful is self-supervised pretraining for visual tasks?" (2020), supplement, figures 5 to
16: plots without numbers. Figures 5 to 7 are object classification, 8 to 10 pose, 11 to 13 segmentation, 14
to 16 depth, each with ResNet9, with ResNet50, and both (figure 7 has accuracy and utility of ResNet50).
Encoders are pre-trained and fine-tuned on images of the same factors; n is 100 to 200,000 labels. Figures 1
to 4 are the studies cross-transfer, pretext-tuning and backbones.

U(n) = n_hat / n - 1, n_hat labels from scratch reach what n reach with pre-training. CMC's network is half as
large; its utility is against the whole one. Expected: CMC saves the most labels where there are few, and
utility goes to 0 with many; which pretext is best on dense tasks depends on labels and network.

Rates are the code's, where the paper tunes them per method; poses are left out where the viewpoint is fixed.

Compute: 192 pre-trainings of 400 to 1,600 rounds of 10,000 to 50,000 images, 3,360 tasks of 200 and 600
epochs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from launchers.studies.scene_tasks import (
    FEW_LABELS,
    LABELS,
    METRICS,
    PRETEXTS,
    SCRATCH,
    label_figure,
    modes_of,
    scene_run,
    tasks_on,
)
from launchers.sweeps.study import Figure, PlannedRun, Scale, Study
from pipelines.sources.scenes.arrangement import COMBINATIONS

_NUMBERS = {  # of the supplement's figures
    ("classification", "resnet9"): ("5", "6"),
    ("classification", "resnet50"): ("7", "7"),
    ("pose", "resnet9"): ("8", "8"),
    ("pose", "resnet50"): ("9", "9"),
    ("segmentation", "resnet9"): ("11", "11"),
    ("segmentation", "resnet50"): ("12", "12"),
    ("depth", "resnet9"): ("14", "14"),
    ("depth", "resnet50"): ("15", "15"),
}
_BOTH_NETWORKS = {
    "pose": ("10", "single-1111"),
    "segmentation": ("13", "multi-1111"),
    "depth": ("16", "multi-1111"),
}
_TINY_PRETEXTS = ("rotation", "cmc")


def study(scale: Scale) -> Study:
    """The study at a scale; tiny: two pretexts on 4,000 images of one kind, one task, 100 to 4,000 labels."""
    pretexts = PRETEXTS if scale == "paper" else _TINY_PRETEXTS
    return utility_study("Utility of pre-training over the number of labels", scale, pretexts)


def utility_study(title: str, scale: Scale, pretexts: Sequence[str]) -> Study:
    """Pretexts and training from scratch on all images and tasks of a scale, with the paper's figures."""
    return Study(
        title=title,
        axes=("network", "images", "pretext"),
        runs=tuple(_runs(scale, pretexts)),
        figures=tuple(_figures(scale)),
        scale=scale,
    )


def _runs(scale: Scale, pretexts: Sequence[str]) -> Iterator[PlannedRun]:
    tiny = scale == "tiny"
    all_images = [f"{kind}-{factors}" for kind in ("single", "multi") for factors in COMBINATIONS]
    for network in ("resnet9",) if tiny else ("resnet9", "resnet50"):
        for images in ("single-1111",) if tiny else all_images:
            for pretext in (*pretexts, SCRATCH):
                names = ("classification",) if tiny else tuple(METRICS)
                labels = FEW_LABELS if tiny else LABELS
                tasks = tasks_on(scale, network, images, modes_of(pretext), labels, names)
                yield scene_run(scale, pretext, network, images, tasks)


def _figures(scale: Scale) -> Iterator[Figure]:
    for (task, network), numbers in _NUMBERS.items():
        if scale == "tiny" and (task, network) != ("classification", "resnet9"):
            continue
        shown: dict[str, Any] = {"panel": "images", "where": {"network": network}}
        accuracy, utility = (f"Figure {number}: {task}, {network}" for number in numbers)
        yield label_figure(accuracy, task, "pretext", **shown)
        yield label_figure(f"{utility}, utility", task, "pretext", "utility", **shown)
    for task, (number, images) in _BOTH_NETWORKS.items() if scale == "paper" else ():
        title = f"Figure {number}: {task}, both networks, {images}"
        yield label_figure(title, task, "network", panel="pretext", where={"images": images})
