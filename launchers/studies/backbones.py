"""Networks of pretexts: CMC's two halves from scratch, and AMDIM's own encoder against a ResNet-50.

Newell, Deng, "How useful is self-supervised pretraining for visual tasks?" (2020), supplement 2.3, plots.
Figure 3: classification and pose from scratch by ResNet9 and by CMC's halves of it, which have half its
parameters. Figure 4: AMDIM with the encoder of its paper and with a ResNet-50, of the same size: here 96
channels, 768 features and depth 2, 25.0 million parameters against 24.0. Expected: the halves are modestly
worse; AMDIM's encoder is much better linear, ResNet-50 better fine-tuned, most so with many labels.

Compute: 2 pre-trainings of 1,600 rounds of 25,000 images, each twice; 64 tasks of 200 to 600 epochs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from fastssl.models import AMDIMEncoder
from launchers.studies.scene_tasks import FEW_LABELS, LABELS, SCRATCH, label_figure, scene_run, tasks_on
from launchers.sweeps.study import PlannedRun, Scale, Study
from launchers.sweeps.task import Mode, Option

_IMAGES = "single-1111"
_MODES: tuple[Mode, ...] = ("finetune", "linear")
_ENCODER = AMDIMEncoder.Config(channels=96, feature_dim=768, depth=2)
_HALVES: dict[str, Option] = {"halves": True}


def study(scale: Scale) -> Study:
    """The study at a scale; tiny: up to 4,000 labels."""
    return Study(
        title="Networks of CMC and AMDIM",
        axes=("pretext", "network"),
        runs=tuple(_runs(scale)),
        figures=(
            *(
                label_figure(f"Figure 3: {task} from scratch", task, "network", where={"pretext": SCRATCH})
                for task in ("classification", "pose")
            ),
            label_figure(
                "Figure 4: AMDIM, linear and fine-tuned",
                "classification",
                "network",
                where={"pretext": "amdim"},
                modes=_MODES,
            ),
        ),
        scale=scale,
    )


def _runs(scale: Scale) -> Iterator[PlannedRun]:
    labels = LABELS if scale == "paper" else FEW_LABELS
    scratch = [*tasks_on(scale, "resnet9", _IMAGES, ("scratch",), labels)]
    halves = [replace(task, options={**task.options, **_HALVES}) for task in scratch]
    for network, tasks in (("resnet9", scratch), ("resnet9 halves", halves)):
        name, values = f"{SCRATCH}-{network.replace(' ', '-')}", {"pretext": SCRATCH, "network": network}
        yield scene_run(scale, SCRATCH, "resnet9", _IMAGES, tasks, name=name, values=values)
    tuned = [*tasks_on(scale, "resnet50", _IMAGES, _MODES, labels, ("classification",))]
    own = _ENCODER if scale == "paper" else _ENCODER.small()
    for network, changes in (("resnet50", {}), ("amdim-encoder", {"backbone": own})):
        name, values = f"amdim-{network}", {"pretext": "amdim", "network": network}
        yield scene_run(scale, "amdim", "resnet50", _IMAGES, tuned, name=name, values=values, changes=changes)
