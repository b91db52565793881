"""The subject of a measurement: an encoder, labeled images, and features that are computed once."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from fastssl.classes.training_classes import with_classes
from fastssl.config import Config
from fastssl.distributed.device import choose_device
from fastssl.distributed.precision import Precision, resolve_precision
from fastssl.evaluate.data import LabeledData, labeled_data
from fastssl.evaluate.feature_cache import FeatureCache, feature_key
from fastssl.evaluate.features import FeatureConfig, Features, extract, require_finite
from fastssl.run.folder import load_encoder, run_and_checkpoint
from fastssl.run.summary import summary_if_whole
from pipelines.command.errors import UserError
from pipelines.decode.bad_images import BadImages, default_limit
from pipelines.ops import Flip
from pipelines.sources import Source
from pipelines.sources.subset import Subset
from pipelines.views import ViewSpec

Split = Literal["train", "test"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """An encoder, the labeled images it is measured on, and the settings of feature extraction."""

    encoder: nn.Module
    """[B, 3, S, S] to [B, D], on the device of ``feature_config``."""
    data: LabeledData
    """Training and test images."""
    feature_config: FeatureConfig
    """The view of an image without augmentation, device and precision."""
    optimizer: str = ""
    """Kind of the optimizer that trained the encoder; "" where it is not known."""
    method: str = ""
    """Kind of the method that trained the encoder; "" where it is not known."""
    of_paper: bool = False
    """True if the recipe reproduces a paper's row."""
    step: int = 0
    """Steps that the encoder was trained for."""
    run: Path | None = None
    """Run folder, which takes the results; None: nothing is written."""
    checkpoint: str = ""
    """Name of a kept checkpoint; "" is the run's last."""
    where: str = ""
    """The data as they were named."""
    own_data: bool = True
    """True if these are the images of the run's training, or their test split."""
    cache: FeatureCache | None = None
    """Keeps features for the next protocol and command; None: they are computed when asked for."""
    part_of: tuple[Subject, np.ndarray] | None = None
    """The subject of all training images, and the indices of those that this one has; see ``on_part``."""
    refuses_nan: bool = True
    """Refuse features that are not finite; False: while training, which ends by itself where it diverges."""
    _held: dict[str, Features] = field(default_factory=dict, init=False, repr=False)

    def features(self, split: Split, *, mirrored: bool = False) -> Features:
        """Features float32 [N, D] and labels int64 [N] of a split's images, or mirror images, on the CPU.

        Raises:
            UserError: a feature is not finite.
        """
        found = self._kept(split, mirrored)
        if found is None and split == "train" and self.part_of is not None:
            whole, indices = self.part_of
            kept = whole._kept(split, mirrored)
            found = kept and (kept[0][indices], kept[1][indices])
        if found is None:
            source, config, name = self._what(split, mirrored)
            doing = f"features: {split} images{', mirrored' * mirrored}"
            found = extract(self.encoder, source, config, doing)
            if self.cache and not self.cache.write(name, feature_key(self.digest, source, config), found):
                self._held[name] = found  # for this command's other protocols
        if self.refuses_nan:
            require_finite(found[0], f"features of {self.run or self.where}")
        return found

    def _what(self, split: Split, mirrored: bool) -> tuple[Source, FeatureConfig, str]:
        """The images that are encoded, how, and their features' name in the cache."""
        config = self.feature_config
        if mirrored:
            config = dataclasses.replace(config, spec=dataclasses.replace(config.spec, flip=Flip(p=1.0)))
        name = f"step-{self.step}-{split}{'-mirrored' * mirrored}"
        return self.data.train if split == "train" else self.data.test, config, name

    def _kept(self, split: Split, mirrored: bool) -> Features | None:
        """Features that were computed before; None where there are none."""
        if self.cache is None:
            return None
        source, config, name = self._what(split, mirrored)
        return self._held.get(name) or self.cache.read(name, feature_key(self.digest, source, config))

    def on_part(self, indices: np.ndarray) -> Subject:
        """The same with fewer training images, those at ``indices``, int64 [M].

        Features that are kept of all of them serve the part; else those of the part alone are computed.
        """
        part = dataclasses.replace(self.data, train=Subset(self.data.train, indices))
        return dataclasses.replace(self, data=part, part_of=(self, indices))

    @cached_property
    def baselines(self) -> Mapping[str, Any]:
        """kNN top-1 of the pixels and of the untrained encoder, by summary.json of the run; {} elsewhere."""
        if self.run is None or self.checkpoint or not self.own_data:
            return {}
        return {name: value for name, value in summary_if_whole(self.run).items() if isinstance(value, float)}

    @cached_property
    def digest(self) -> str:
        """``weights_digest`` of the encoder."""
        return weights_digest(self.encoder)


def weights_digest(encoder: nn.Module) -> str:
    """Hex digest of an encoder's weights and statistics."""
    digest = hashlib.blake2b(digest_size=16)
    for name, value in encoder.state_dict().items():
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.cpu().contiguous().view(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def open_subject(where: Path, data: str = "", device: str = "auto", workers: int = 0) -> Subject:
    """Open a run folder or one of its checkpoints.

    Args:
        where: run folder (its last checkpoint), or a checkpoint file.
        data: labeled images as ``--data`` names them; "": those of the training.
        device: auto, cpu or cuda.
        workers: loader threads; 0 takes every core.

    Raises:
        UserError: there is no such run, or its images are unfit (``fastssl.evaluate.data``).
    """
    config, encoder, step = load_encoder(where)
    run, checkpoint = run_and_checkpoint(where)
    experiment, machine = config.experiment, config.machine
    subject = subject_on_images(
        encoder,
        experiment.evaluation_view,
        data or machine.data,
        device,
        workers,
        precision=experiment.precision,
        max_bad_images=machine.max_bad_images,
    )
    return dataclasses.replace(
        subject,
        optimizer=experiment.optimizer.kind,
        method=experiment.method.kind,
        of_paper=config.paper is not None,
        step=step,
        run=run,
        checkpoint=checkpoint,
        own_data=_are_own(config, run, subject.data, subject.where),
        cache=FeatureCache(run / "features"),
    )


def subject_on_images(
    encoder: nn.Module,
    spec: ViewSpec,
    data: str,
    device: str,
    workers: int,
    *,
    precision: Precision = "auto",
    max_bad_images: int | None = None,
) -> Subject:
    """An encoder of no run, moved to a device, and the labeled images that ``data`` names."""
    labeled, chosen = labeled_data(data), choose_device(device)
    if max_bad_images is None:
        max_bad_images = default_limit(len(labeled.train.index) + len(labeled.test.index))
    return Subject(
        encoder=encoder.to(chosen).to(memory_format=torch.channels_last),
        data=labeled,
        feature_config=FeatureConfig(
            spec=spec,
            device=chosen,
            bad_images=BadImages(None, max_bad_images),
            precision=resolve_precision(precision, chosen)[0],
            workers=workers,
        ),
        where=data,
        own_data=False,
    )


def _are_own(config: Config, run: Path, data: LabeledData, where: str) -> bool:
    """True if images are those of the run's training, by the fingerprint in its folder.

    Where it holds none (a checkpoint by itself), their name decides.
    """
    try:
        recorded = json.loads((run / "config.json").read_text())["data"]["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return where == config.machine.data
    experiment = config.experiment
    try:
        ours = with_classes(data.split, experiment.class_share, experiment.taxonomy, experiment.seed)
    except UserError:
        return False  # classes that the run's mapping does not know
    return bool(ours.index.fingerprint == recorded)
