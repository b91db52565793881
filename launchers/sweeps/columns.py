"""``--columns``: which results of a study are measured, and the dense transfers among them.

Every run can be transferred to the detection and segmentation of the papers' tables, hours on a GPU each, so
that none is planned unless it is asked for. At the tiny scale labeled scenes stand in for all of them, and
runs have a ResNet-18.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from launchers.sweeps.task import Option, PlannedTask
from pipelines.command.errors import UserError
from pipelines.command.suggest import suggest

if TYPE_CHECKING:
    from launchers.sweeps.study import PlannedRun, Scale, Study, Value

_SCENES = "scenes:multi-0101"
_TEST_IMAGES = 300  # of 5,000 scenes at the tiny scale, which are made when they are read
_RATES = (0.02, 0.05, 0.1, 0.2, 0.5)  # Huang et al. do not state those that they cite
_SIZE = 64  # pixels of the views of a ResNet on scenes
_AP = ("AP50", "AP", "AP75")
_VOC = {metric: metric for metric in _AP}
_COCO = {
    f"{kind} {metric}": f"{mark}{metric}"
    for kind, mark in (("box", ""), ("mask", "mask_"))
    for metric in (*_AP, "APs", "APm", "APl")
}


@dataclass(frozen=True, kw_only=True)
class DenseColumn:
    """A transfer that papers report in a column of their own, or in several."""

    title: str
    """Data, and what it is done with, as papers' metrics begin here."""
    task: str
    """Task of fastssl.transfer."""
    images: str
    """Name of its images in ``--transfer-data``."""
    metrics: Mapping[str, str]
    """Names of our metrics, by the papers'."""
    tiny: str = "scenes-detection"
    """Its task at the tiny scale."""
    options: Mapping[str, Option] = dataclasses.field(default_factory=dict)
    """Options of the task."""
    variant: str = ""
    """These options in the result's name."""
    anchor: str = ""
    """Run of the study whose norms are taken; studies without it, and that run itself, lack the column."""

    def planned(self, scale: Scale, checkpoint: str = "") -> PlannedTask:
        """The transfer of a run's last weights, or of a kept checkpoint."""
        small = scale == "tiny"
        return PlannedTask(
            task=self.tiny if small else self.task,
            images="scenes" if small else self.images,
            where=_SCENES if small else "",
            options={**self.options, "test_images": _TEST_IMAGES} if small else self.options,
            checkpoint=checkpoint,
            variant=self.variant,
            anchor=self.anchor,
        )


_PLAIN = {
    "voc07": DenseColumn(title="VOC07", task="voc07-c4", images="voc07", metrics=_VOC),
    "voc0712": DenseColumn(title="VOC07+12", task="voc0712-c4", images="voc0712", metrics=_VOC),
    "coco-c4": DenseColumn(title="COCO C4", task="coco-c4", images="coco", metrics=_COCO),
    "coco-fpn": DenseColumn(title="COCO FPN", task="coco-fpn", images="coco", metrics=_COCO),
    "coco-fpn-msbreg": DenseColumn(
        title="COCO FPN (MSBReg)", task="coco-fpn-msbreg", images="coco", metrics=_COCO
    ),
    "coco-fpn-simo": DenseColumn(title="COCO FPN (SiMo)", task="coco-fpn-simo", images="coco", metrics=_COCO),
    "cityscapes": DenseColumn(
        title="CityScapes",
        task="cityscapes-deeplab",
        images="cityscapes",
        metrics={"mIoU": "mIoU"},
        tiny="scenes-segmentation",
    ),
}
# variants of a column: end of its word, its name in papers' metrics, its variant, its other fields
_CONSTANT: Mapping[str, Any] = {"options": {"norm_rescale": "constant=0.1"}}
_VARIANTS: tuple[tuple[str, str, str, Mapping[str, Any]], ...] = (
    ("rescaled", "NormRescale by a constant", "norm_rescale=constant", _CONSTANT),
    ("rescaled-by-byol-sgd", "NormRescale by BYOL-SGD", "norm_rescale=byol_sgd", {"anchor": "byol-sgd"}),
    ("searched", "searched rate", "searched_rates", {"options": {"searched_rates": _RATES}}),
)
DENSE = _PLAIN | {
    f"{word}-{end}": dataclasses.replace(
        _PLAIN[word],
        metrics={f"{metric}, {name}": ours for metric, ours in _PLAIN[word].metrics.items()},
        variant=variant,
        **fields,
    )
    for end, name, variant, fields in _VARIANTS
    for word in ("voc07", "voc0712", "coco-c4")
}
"""Dense columns by the words of ``--columns``."""


def with_columns(study: Study, words: Sequence[str]) -> Study:
    """The study with the results of these columns alone; without words as it is.

    Args:
        study: its evaluations and tasks are columns under their own names, ``linear``, ``linear@cifar100``.
        words: of columns, each may be several with commas between.

    Raises:
        UserError: there is no such column.
    """
    chosen = tuple(dict.fromkeys(word for each in words for word in each.split(",") if word))
    if not chosen:
        return study
    own = (name for run in study.runs for name in _own_columns(run))
    names = {run.name for run in study.runs}
    dense = (word for word, column in DENSE.items() if not column.anchor or column.anchor in names)
    known = tuple(dict.fromkeys((*own, *dense)))
    for word in chosen:
        if word not in known:
            hint = suggest(word, known, form=" ({})")
            raise UserError(f"--columns {word}{hint}: {study.name} has the columns {', '.join(known)}")
    runs = tuple(_with_columns(run, chosen, study.scale) for run in study.runs)
    return dataclasses.replace(study, runs=runs)


def _own_columns(run: PlannedRun) -> list[str]:
    return [*run.evaluations, *run.transfer, *(task.task for task in run.tasks)]


def _with_columns(run: PlannedRun, chosen: Sequence[str], scale: Scale) -> PlannedRun:
    kept = (f"epoch-{epoch:04d}" for epoch in run.checkpoints)
    columns = [DENSE[word] for word in chosen if word in DENSE and DENSE[word].anchor != run.name]
    dense = [column.planned(scale, each) for each in ("", *kept) for column in columns]
    tasks = [*(task for task in run.tasks if task.task in chosen), *dense]
    if dense and scale == "tiny":
        run = _on_resnet(run)
    return dataclasses.replace(
        run,
        evaluations=tuple(each for each in run.evaluations if each in chosen),
        transfer=tuple(each for each in run.transfer if each in chosen),
        tasks=tuple({task.result: task for task in tasks}.values()),
    )


def _on_resnet(run: PlannedRun) -> PlannedRun:
    """A tiny run with a ResNet-18 in place of the ResNet-9, which detectors are not built on.

    Its views have 64 pixels, which the stem makes 16.
    """
    from fastssl.models import ResNet, ResNet9  # they load torch, which a report does without

    before = run.config.experiment
    if not isinstance(before.backbone, ResNet9.Config):
        return run
    backbone = ResNet.Config(
        depth=18, width=before.backbone.width, zero_init_residual=before.backbone.zero_init_residual
    )
    views = tuple(
        dataclasses.replace(group, spec=dataclasses.replace(group.spec, size=_SIZE)) for group in before.views
    )
    experiment = dataclasses.replace(before, backbone=backbone, views=views)
    return dataclasses.replace(
        run,
        config=dataclasses.replace(run.config, experiment=experiment),
        values={axis: _resnet18(value) for axis, value in run.values.items()},
        row=run.row.replace("resnet9", "resnet18"),
    )


def _resnet18(value: Value) -> Value:
    return value.replace("resnet9", "resnet18") if isinstance(value, str) else value


def dense_metric(result: str) -> str | None:
    """A paper's name of a result, ``VOC07 AP50`` of ``voc07_c4.AP50@voc07``; None where no column has it."""
    head, _, data = result.partition("@")
    name, *options = head.split("+")
    protocol, _, metric = name.partition(".")
    task, images = protocol.replace("_", "-"), re.sub("-[0-9a-f]{8}$", "", data)
    for column in DENSE.values():
        if column.task == task and column.images == images and column.variant == "+".join(options):
            known = {ours: theirs for theirs, ours in column.metrics.items()}
            return f"{column.title} {known.get(metric, metric)}"
    return None
