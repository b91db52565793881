"""A run folder that was put together by hand, and subjects that have only features."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch

from fastssl.config import Config, Machine
from fastssl.config_values import to_dict
from fastssl.evaluate.protocol import Protocol
from fastssl.evaluate.subject import Subject
from fastssl.methods import Method, MoCo, build_method
from fastssl.models import ResNet9
from fastssl.recipes import quickstart
from fastssl.run import checkpoint
from fastssl.run.folder import claim
from pipelines.sources import open_source
from pipelines.views import ViewGroup, ViewSpec
from tests.helpers.image_folder import write_colors
from tests.helpers.methods import narrow

VIEW = ViewSpec(size=16)
Part = tuple[np.ndarray, np.ndarray]  # features float32 [N, D] and labels int64 [N]


def save_checkpoint(run: Path, config: Config, name: str, step: int) -> None:
    method = build_method(
        config.experiment.method,
        config.experiment.backbone,
        seed=0,
        total_steps=10,
        num_classes=3,
    )
    encoder, whole = method.encoder.state_dict(), method.state_dict()
    state = {"config": to_dict(config), "step": step, "encoder": encoder, "method": whole}
    checkpoint.save(run / "checkpoints" / name, state)


@pytest.fixture
def run(tmp_path: Path, own_cache: Path) -> Path:
    """A run folder of an untrained encoder, whose data have a test split."""
    return write_run(tmp_path, narrow(MoCo, {"loss.num_negatives": 16}, hidden_dim=8, out_dim=4))


def write_run(tmp_path: Path, method: Method.Config, spec: ViewSpec = VIEW, **changes: Any) -> Path:
    """The run folder ``tmp_path / "run"`` of an untrained method, on images in ``tmp_path / "data"``."""
    for seed, split in enumerate(("train", "test")):
        write_colors(tmp_path / "data" / split, 12 - 6 * seed, seed=seed)
    experiment = replace(
        quickstart().experiment,
        precision="fp32",
        backbone=ResNet9.Config(width=0.125),
        method=method,
        views=(ViewGroup(spec=spec, num_views=method.num_views),),
        batch_size=4,
        **changes,
    )
    config = replace(quickstart(), experiment=experiment, machine=Machine(data=str(tmp_path / "data")))
    folder = tmp_path / "run"
    folder.mkdir()
    images = open_source(str(tmp_path / "data"), "train").index
    claim(folder, config, {"images": len(images), "fingerprint": images.fingerprint})
    save_checkpoint(folder, config, "last.pt", 9)
    save_checkpoint(folder, config, "epoch-0001.pt", 3)
    return folder


class Points:
    """A subject that has only features, and names of its classes."""

    def __init__(self, train: Part, test: Part, names: tuple[str, ...]) -> None:
        self._parts = {"train": train, "test": test}
        index = SimpleNamespace(class_names=names, objects=None)
        self.data = SimpleNamespace(train=SimpleNamespace(index=index), test=SimpleNamespace(index=index))
        self.feature_config = SimpleNamespace(spec=VIEW)

    def features(self, split: str) -> tuple[torch.Tensor, torch.Tensor]:
        points, labels = self._parts[split]
        return torch.from_numpy(points), torch.from_numpy(labels)


def measure(protocol: Protocol, train: Part, test: Part, names: tuple[str, ...] = ()) -> dict[str, Any]:
    return protocol.measure(cast(Subject, Points(train, test, names)))
