"""Parts of the studies of scenes of known factors: pretexts, networks, and the tasks that follow.

Newell, Deng, "How useful is self-supervised pretraining for visual tasks?" (2020), with the settings of its
public code. ``single`` images are of one object at 64 pixels, ``multi`` of four at 128; their digits are
texture, color, viewpoint and lighting, 1 free. The paper pre-trains no ResNet9 on ``multi`` images that its
code tells of: here it has the ResNet50's settings.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from fastssl.config import Config
from fastssl.methods import Method, Supervised
from fastssl.models import ResNet9
from fastssl.recipes import find_recipe
from fastssl.recipes.augmentations import SCENES_LAB
from launchers.studies.build import recipe_run
from launchers.sweeps.study import Figure, FigureKind, PlannedRun, Scale, Value
from launchers.sweeps.task import Mode, Option, PlannedTask
from pipelines.views import ViewGroup

SCRATCH = "scratch"
PRETEXTS = ("vae", "rotation", "cmc", "amdim")
LABELS = (100, 250, 1000, 4000, 20_000, 50_000, 100_000, 200_000)
FEW_LABELS = (100, 250, 1000, 4000)
METRICS = {
    "classification": "classification.top1",
    "pose": "pose.top1",
    "segmentation": "segmentation.mIoU",
    "depth": "depth.delta_1_25",
}

_MODERN = {"moco-v2-plus": "moco-v2-plus-complex-imagenet", "byol": "byol-sgd-imagenet"}
_COLUMNS = {"single": "{}-scenes64", "multi": "resnet50-scenes128"}
_TINY_IMAGES = 4_000
_TINY_TASK: Mapping[str, Option] = {
    "test_images": 1000,
    "epochs": 4,
    "epoch_images": 1280,
    "batch_size": 64,
    "warmup_epochs": 1,
    "learning_rate": 0.004,
}
_TINY_EPOCHS = {"vae": 3, "rotation": 6}  # others 4: of minutes, on the network of rotation-tiny
_RESNET50_BATCH = 384  # of tasks at 64 pixels


def scene_run(
    scale: Scale,
    pretext: str,
    network: str,
    images: str,
    tasks: Iterable[PlannedTask],
    *,
    name: str = "",
    values: Mapping[str, Value] | None = None,
    changes: Mapping[str, Any] | None = None,
    options: str = "",
) -> PlannedRun:
    """A pretext on images, and its tasks; of ``SCRATCH`` the tasks alone.

    Args:
        scale: tiny takes the pretext's short recipe on the network of rotation's, for 3 to 6 epochs of 4,000
            images, and no kNN on the way.
        pretext: of ``PRETEXTS``, ``moco-v2-plus``, ``byol``, or ``SCRATCH``.
        network: resnet9 or resnet50.
        images: single-1111 and the like.
        tasks: see ``tasks_on``.
        name: of the run; left out, pretext, network and images.
        values: of the study's axes; left out, these three.
        changes: fields of the experiment.
        options: further ones of the images, ``,images=50000``.
    """
    own: Mapping[str, Value] = values or {"network": network, "images": images, "pretext": pretext}
    run = recipe_run(
        "paper",  # the short recipes are small as they are
        name or f"{pretext}-{network}-{images}",
        _config(scale, pretext, network, images.partition("-")[0]),
        own,
        changes,
        row=", ".join(str(value) for value in own.values()),
        evaluations=(),
        tasks=tuple(tasks),
        trained=pretext != SCRATCH,
    )
    machine = replace(run.config.machine, data=f"scenes:{images}{options or _fewer(scale)}")
    if scale == "tiny":
        machine = replace(machine, monitor_every=0)
    return replace(run, config=replace(run.config, machine=machine))


def tasks_on(
    scale: Scale,
    network: str,
    images: str,
    modes: Sequence[Mode],
    labels: Sequence[int],
    names: Sequence[str] = tuple(METRICS),
) -> Iterator[PlannedTask]:
    """The tasks that images have labels for, in each mode at each number of labels.

    Args:
        scale: tiny trains 80 steps, and tests on 1,000 images.
        network: decides the batch size.
        images: single-1111 and the like.
        modes: of the tasks.
        labels: counts.
        names: of tasks to choose from.
    """
    kind, _, factors = images.partition("-")
    known = ("classification", "pose") if kind == "single" else ("segmentation", "depth")
    options = {"batch_size": _RESNET50_BATCH} if kind == "single" and network == "resnet50" else {}
    with_poses = factors[2] == "1"  # one viewpoint has one pose
    chosen = [task for task in known if task in names and (task != "pose" or with_poses)]
    for mode, task, count in itertools.product(modes, chosen, labels):
        yield PlannedTask(
            task=task,
            labels=count,
            mode=mode,
            images=f"{images}-pose" if task == "pose" else images,
            where=f"scenes:{images}" + ",label=pose" * (task == "pose") + _fewer(scale),
            options=_TINY_TASK if scale == "tiny" else options,
        )


def modes_of(pretext: str) -> tuple[Mode]:
    """Training of a pretext's encoder on a task, with all its weights."""
    return ("scratch" if pretext == SCRATCH else "finetune",)


def label_figure(title: str, task: str, series: str, kind: FigureKind = "labels", **more: Any) -> Figure:
    """A figure of a task's result over the number of labels, or by ``kind``; ``more`` are fields of it."""
    return Figure(title=title, x="labels", y=METRICS[task], series=series, kind=kind, **more)


def _fewer(scale: Scale) -> str:
    return f",images={_TINY_IMAGES}" if scale == "tiny" else ""


def _config(scale: Scale, pretext: str, network: str, kind: str) -> Config:
    column = "tiny" if scale == "tiny" else _COLUMNS[kind].format(network)
    like = {SCRATCH: "rotation"} | dict.fromkeys(_MODERN, "cmc")
    config = find_recipe(f"{like.get(pretext, pretext)}-{column}")
    experiment = config.experiment
    if scale == "tiny":
        backbone = find_recipe("rotation-tiny").experiment.backbone
        experiment = replace(experiment, backbone=backbone, epochs=_TINY_EPOCHS.get(pretext, 4))
    elif network == "resnet9" and kind == "multi":
        experiment = replace(experiment, backbone=ResNet9.Config())
    if pretext in like:
        method = _method(scale, pretext)
        spec = replace(SCENES_LAB, size=experiment.views[0].spec.size)
        views = (ViewGroup(spec=spec, num_views=method.num_views),)
        probes = experiment.probes and pretext != SCRATCH
        experiment = replace(experiment, method=method, views=views, probes=probes)
        config = replace(config, recipe=f"{pretext}-{column}", paper=None)
    return replace(config, measured=None, experiment=experiment)


def _method(scale: Scale, pretext: str) -> Method.Config:
    if pretext == SCRATCH:
        return Supervised.Config()
    method = find_recipe(_MODERN[pretext]).experiment.method
    return method.small() if scale == "tiny" else method
