"""Transfers of seconds, in this process: every task in its small form, on a few labeled scenes."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastssl.transfer import trainer
from fastssl.transfer.options import TransferConfig, TransferOptions
from fastssl.transfer.task import Task, find_task
from fastssl.transfer.trainer import transfer
from pipelines.dense.dense_batch import DenseBatch
from pipelines.dense.loader import DenseLoaderConfig, open_dense_loader
from pipelines.sources import Source, open_source
from pipelines.sources.scenes.labeled import LabeledScenes
from pipelines.sources.splits import Split
from pipelines.sources.subset import Subset

TRAIN, TEST = 16, 4  # images


@cache
def held(where: str, split: Split) -> Source:
    """The first scenes of a split."""
    return Subset(open_source(where, split), np.arange(TRAIN if split == "train" else TEST))


MADE_ONCE = {part: cache(getattr(LabeledScenes, part)) for part in ("read", "targets")}


def use_held_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let transfers open the first scenes alone, each made once."""
    monkeypatch.setattr("fastssl.transfer.data.open_source", held)
    for part, made in MADE_ONCE.items():
        monkeypatch.setattr(LabeledScenes, part, made)


def data_of(task: type[Task], name: str) -> str:
    """Scenes that a task can be trained on."""
    if name == "pose":
        return "scenes:single-1011,label=pose"
    return "scenes:single-1011" if task.needs_labels else "scenes:multi-1111"


def small_config(name: str, out: Path, **options: Any) -> TransferConfig:
    """The config of a task in its small form, from fresh weights."""
    task = find_task(name)
    values: dict[str, Any] = {"encoder": "scratch", "backbone": "resnet18", "width": 0.125} | {
        "data": data_of(task, name),
        "out": str(out),
        "workers": 1,
        "threads": 1,
        "log_every": 1,
        "device": "cpu",
    }
    return TransferConfig(name=name, task=task().small(), options=TransferOptions(**values | options))


@contextmanager
def stopped_before(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Inside, this process gets a SIGTERM as the batch of a training step is handed over."""

    @contextmanager
    def open_loader(config: DenseLoaderConfig) -> Iterator[Iterator[DenseBatch]]:
        def batches(loader: Iterator[DenseBatch]) -> Iterator[DenseBatch]:
            for batch in loader:
                if batch.step == step:
                    os.kill(os.getpid(), signal.SIGTERM)
                yield batch

        with open_dense_loader(config) as loader:
            yield batches(iter(loader))

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "open_dense_loader", open_loader)
        yield


def run_small(name: str, out: Path, **options: Any) -> int:
    return transfer(small_config(name, out, **options))


def weights(out: Path) -> dict[str, torch.Tensor]:
    state: dict[str, Any] = torch.load(out / "checkpoints/last.pt", weights_only=True)
    network: dict[str, torch.Tensor] = state["network"]
    return network


def rows(out: Path) -> list[dict[str, float]]:
    """metrics.jsonl without what a clock says."""
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    clocks = ("images_per_s", "data_wait", "memory_mb")
    return [
        {name: value for name, value in line.items() if not name.endswith("_seconds") and name not in clocks}
        for line in lines
    ]


def result(out: Path) -> dict[str, Any]:
    (path,) = (out / "eval").glob("*.json")
    values: dict[str, Any] = json.loads(path.read_text())
    return values


def assert_same_transfer(left: Path, right: Path) -> None:
    ours, theirs = weights(left), weights(right)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert rows(left) == rows(right)
