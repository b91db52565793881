"""Devices by their names, with a GPU of Apple's that is injected."""

import pytest
import torch

from fastssl.command_line import parse
from fastssl.distributed.device import choose_device
from pipelines.backends.choose import choose_pipeline
from pipelines.batch import to_device
from pipelines.command.errors import UserError
from tests.helpers.memory_source import MemorySource


def test_apples_gpu_is_taken_where_torch_offers_it_and_it_is_named() -> None:
    device = choose_device("mps", has_mps=True)
    assert device == torch.device("mps")
    assert choose_pipeline("auto", MemorySource(2), device)[0] == "cpu"
    assert choose_device("auto", has_mps=True).type != "mps"
    assert choose_device("cpu", has_mps=True).type == "cpu"
    assert parse(["quickstart", "--device", "mps"]).machine.device == "mps"


def test_apples_gpu_that_is_not_there_is_one_line() -> None:
    with pytest.raises(UserError, match=r"--device mps: torch offers no Apple GPU here; use --device cpu"):
        choose_device("mps", has_mps=False)


def test_torch_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    for offered in (False, True):
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda offered=offered: offered)
        if offered:
            assert choose_device("mps").type == "mps"
        else:
            with pytest.raises(UserError):
                choose_device("mps")


def test_small_tensors_arrive_on_a_device_that_is_neither_cpu_nor_cuda() -> None:
    numbers = torch.arange(3).numpy()
    assert to_device(numbers, torch.device("meta")).device.type == "meta"
    assert to_device(numbers, torch.device("cpu")).data_ptr() == numbers.ctypes.data
