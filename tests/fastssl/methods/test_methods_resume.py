"""Every method: a run that was killed and resumed ends with the weights of one that nothing interrupted."""

import json
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fastssl.config import Config, Machine
from fastssl.config_values import to_dict
from fastssl.methods import METHODS, Method
from fastssl.models import ResNet9
from fastssl.train import train
from tests.helpers.methods import experiment_with
from tests.helpers.runs import assert_same_run, start, wait_for_steps, write_images

pytestmark = pytest.mark.slow  # two runs and a killed one each

EPOCHS, BATCH = 24.0, 64


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    write_images(folder, 48, seed=0)  # of three classes: two batches per epoch
    return folder


def config_of(method: type[Method], data: Path, out: Path) -> Config:
    """A run of seconds: a method's small config on tiny views."""
    config: Any = method.Config().small()
    small = experiment_with(config, epochs=EPOCHS, batch_size=BATCH, backbone=ResNet9.Config(width=0.0625))
    (group,) = small.views
    machine = Machine(
        data=str(data),
        out=str(out),
        threads=1,
        workers=2,
        log_every=1,
        monitor_every=0,
        checkpoint_minutes=0.001,
    )
    experiment = replace(small, views=(replace(group, spec=replace(group.spec, size=16)),))
    return Config(recipe="quickstart", experiment=experiment, machine=machine)


@pytest.mark.parametrize("method", METHODS)
def test_killed_and_resumed_is_the_same_to_the_bit(method: type[Method], data: Path, tmp_path: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "run"
    config = config_of(method, data, out)
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"config": to_dict(config)}))
    process = start(file, "--out", out)
    wait_for_steps(process, out, 10)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL, "the run ended before it was killed: make it longer"
    assert (out / "checkpoints/last.pt").exists()
    assert train(config) == 0
    assert train(config_of(method, data, whole)) == 0
    assert_same_run(out, whole)
