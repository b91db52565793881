"""Devices by their names; torch is told to have a GPU of Apple's, or none."""

import pytest
import torch

from fastssl.command_line import parse
from fastssl.distributed.device import choose_device
from pipelines.backends.choose import choose_pipeline
from pipelines.batch import to_device
from pipelines.command.errors import UserError
from tests.helpers.memory_source import MemorySource


def test_apples_gpu_is_taken_where_torch_offers_it_and_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    device = choose_device("mps")
    assert device == torch.device("mps")
    assert choose_pipeline("auto", MemorySource(2), device)[0] == "cpu"
    assert choose_device("auto").type != "mps"
    assert choose_device("cpu").type == "cpu"
    assert parse(["quickstart", "--device", "mps"]).machine.device == "mps"


def test_apples_gpu_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"--device mps: torch offers no Apple GPU here; use --device cpu"):
        choose_device("mps")


def test_small_tensors_arrive_on_a_device_that_is_neither_cpu_nor_cuda() -> None:
    numbers = torch.arange(3).numpy()
    assert to_device(numbers, torch.device("meta")).device.type == "meta"
    assert to_device(numbers, torch.device("cpu")).data_ptr() == numbers.ctypes.data
