"""Parts of studies: runs from recipes, at the paper's scale or on the built-in scenes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from fastssl.config import Config, Machine, Paper
from fastssl.recipes import find_recipe
from fastssl.recipes.variant import with_changes
from launchers.studies.dense_numbers import with_dense
from launchers.sweeps.study import PlannedRun, Scale, Value, text_of
from pipelines.ops import RandomResizedCrop
from pipelines.views import ViewGroup

TINY_EPOCHS = 0.02  # of the paper's: 200 epochs become 4, a few minutes on two CPU cores
TINY_BATCH = 64


def recipe_run(
    scale: Scale,
    name: str,
    recipe: str | Config,
    values: Mapping[str, Value],
    changes: Mapping[str, Any] | None = None,
    *,
    row: str = "",
    paper: Paper | None = None,
    dense: tuple[str, str] | None = None,
    keep_every: int | None = None,
    **more: Any,
) -> PlannedRun:
    """A run of a recipe with changes.

    Args:
        scale: see ``at_scale``; the changes come afterwards.
        name: of the run.
        recipe: its name, or the config of a variant of one.
        values: of the study's axes.
        changes: fields of the experiment, ``method.loss.num_negatives`` for instance, and their values.
        row: of the table; left out, the values.
        paper: what it rebuilds; left out, what the recipe does, if nothing is changed.
        dense: table and row of detection and segmentation that stand beside it (``with_dense``).
        keep_every: epochs between two checkpoints that are kept; None: as the recipe has it.
        **more: fields of ``launchers.sweeps.study.PlannedRun``.
    """
    config = at_scale(find_recipe(recipe) if isinstance(recipe, str) else recipe, scale)
    experiment, machine = with_changes(config.experiment, changes or {}), config.machine
    same = experiment == config.experiment
    if paper is None and same:
        paper = config.paper
    if dense:
        paper = with_dense(paper, *dense)
    if keep_every is not None:
        machine = dataclasses.replace(machine, keep_every=keep_every)
    return PlannedRun(
        name=name,
        config=dataclasses.replace(
            config,
            experiment=experiment,
            machine=machine,
            paper=paper,
            measured=config.measured if same else None,
        ),
        values=values,
        row=row or ", ".join(f"{axis}={text_of(value)}" for axis, value in values.items()),
        paper=paper,
        **more,
    )


def at_scale(config: Config, scale: Scale) -> Config:
    """The config of a recipe at a scale: ``shrunk`` at the tiny one."""
    return shrunk(config) if scale == "tiny" else config


def shrunk(config: Config) -> Config:
    """A recipe for the built-in scenes: its method and switches, with a narrow ResNet-9, minutes per run.

    Sizes and rates are the quickstart recipe's, and its reasons hold: a short run needs a quick teacher, a
    short queue and, where the heads have batch norms at all, one more on the projector's output.
    """
    before = config.experiment
    experiment = dataclasses.replace(
        before,
        epochs=before.epochs * TINY_EPOCHS,
        batch_size=TINY_BATCH,
        batch_norm_group=before.batch_norm_group and TINY_BATCH // 4,
        center_fraction=1.0,
        views=tuple(_small_views(group) for group in before.views),
        backbone=before.backbone.small(),
        method=before.method.small(),
        optimizer=before.optimizer.small(),
    )
    return dataclasses.replace(
        config, recipe=f"{config.recipe}-tiny", measured=None, experiment=experiment, machine=Machine()
    )


def _small_views(group: ViewGroup) -> ViewGroup:
    """32 pixels, and crops as mild as the quickstart's."""
    crop = group.spec.crop
    if isinstance(crop, RandomResizedCrop):
        crop = dataclasses.replace(crop, scale=(max(0.25, crop.scale[0]), crop.scale[1]))
    return dataclasses.replace(group, spec=dataclasses.replace(group.spec, size=32, crop=crop))
