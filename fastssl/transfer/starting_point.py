"""Starting point of a transfer: a pre-trained encoder, or one of fresh weights."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from fastssl.config import Config
from fastssl.config_file import named_config
from fastssl.evaluate.features import require_finite
from fastssl.evaluate.foreign_subject import foreign_folder
from fastssl.evaluate.subject import weights_digest
from fastssl.fields import of_kind
from fastssl.foreign.encoder import foreign_encoder
from fastssl.foreign.layouts import chosen_layout
from fastssl.models import Backbone, ResNet, ResNet9
from fastssl.models.backbone import build_backbone
from fastssl.models.lab_halves import LabHalves
from fastssl.run.folder import load_encoder, run_and_checkpoint
from fastssl.transfer.options import SCRATCH, TransferOptions
from pipelines.command.errors import UserError
from pipelines.command.options import user_path
from pipelines.views import ViewSpec, evaluation_spec


@dataclass(frozen=True, kw_only=True, eq=False)
class StartingPoint:
    """An encoder, and what results tell of it."""

    encoder: Backbone
    """On the CPU, in evaluation mode."""
    view: ViewSpec
    """The view of a test image that the encoder knows: its size, color space and normalization."""
    about: dict[str, Any]
    """Facts that decide a training: ``from_scratch``, ``architecture``, ``digest`` of pre-trained weights."""
    where: str
    """The encoder as it was named."""
    step: int = 0
    """Steps that it was pre-trained for."""
    run: Path | None = None
    """Run folder that takes the result too; None for fresh weights."""
    checkpoint: str = ""
    """Name of a kept checkpoint; "" is the run's last."""


def open_starting_point(options: TransferOptions, *, fresh: bool, seed: int) -> StartingPoint:
    """Load an encoder, or draw its weights.

    Args:
        fresh: draw weights, whatever encoder is named.
        seed: random seed of weights that are drawn.

    Raises:
        UserError: there is no such run, file, recipe or backbone, or weights are not finite.
    """
    if options.weights is not None:
        return _foreign(options.weights, options.layout, fresh, seed)
    if options.encoder == SCRATCH:
        return _scratch(options, seed)
    where = user_path(options.encoder)
    config, encoder, step = load_encoder(where)
    if fresh:
        return _fresh(config, options.encoder, seed)
    for value in encoder.state_dict().values():
        require_finite(value, f"weights of {where}")
    run, checkpoint = run_and_checkpoint(where)
    return StartingPoint(
        encoder=cast(Backbone, encoder),
        view=config.experiment.evaluation_view,
        about=_about(config.experiment.backbone, encoder),
        where=options.encoder,
        step=step,
        run=run,
        checkpoint=checkpoint,
    )


def _foreign(path: Path, layout: str, fresh: bool, seed: int) -> StartingPoint:
    found = foreign_encoder(path, chosen_layout(layout))
    if fresh:
        return _drawn(found.backbone, found.spec, str(path), seed)
    about = _about(found.backbone, found.encoder)
    return StartingPoint(
        encoder=found.encoder,
        view=found.spec,
        about=about,
        where=str(path),
        run=foreign_folder(path, found, about["digest"]),
    )


def _scratch(options: TransferOptions, seed: int) -> StartingPoint:
    if options.like:
        return _fresh(named_config(options.like), SCRATCH, seed, halves=options.halves)
    backbone: Any = of_kind(ResNet.Config(), "backbone", options.backbone)
    if options.width != 1 and not isinstance(backbone, ResNet.Config | ResNet9.Config):
        raise UserError(f"--width {options.width:g}: a {backbone.label} has one width: leave it out")
    if options.width != 1:
        backbone = dataclasses.replace(backbone, width=options.width)
    return _drawn(backbone, evaluation_spec(ViewSpec(), 1.0), SCRATCH, seed)


def _fresh(config: Config, where: str, seed: int, *, halves: bool = False) -> StartingPoint:
    """Fresh weights in the backbone of a run or recipe, whole where its method halves it, unless asked."""
    experiment = config.experiment
    return _drawn(experiment.backbone, experiment.evaluation_view, where, seed, halves=halves)


def _drawn(
    backbone: Backbone.Config, view: ViewSpec, where: str, seed: int, *, halves: bool = False
) -> StartingPoint:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        encoder = LabHalves(backbone) if halves else build_backbone(backbone)
    about = _about(backbone, None) | ({"halves": True} if halves else {})
    return StartingPoint(encoder=encoder.eval(), view=view, about=about, where=where)


def _about(backbone: Backbone.Config, encoder: torch.nn.Module | None) -> dict[str, Any]:
    return {
        "from_scratch": encoder is None,
        "architecture": {"kind": backbone.kind, "label": backbone.label, **dataclasses.asdict(backbone)},
        "digest": "" if encoder is None else weights_digest(encoder),
    }
